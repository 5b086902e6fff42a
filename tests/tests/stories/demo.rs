//! `weir demo` tells its whole story and is content with it.

use std::process::Command;

use weir_tests::broker::{Output, program};

#[test]
fn the_demo_runs_to_its_end_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let told = Output::of(
        Command::new(program()).arg("demo").current_dir(folder.path()).env("TMPDIR", folder.path()),
    );
    assert!(told.status.success(), "{told:?}");
    for figure in ["10,000", "403"] {
        assert!(told.stdout.contains(figure), "{figure} is not in {}", told.stdout);
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

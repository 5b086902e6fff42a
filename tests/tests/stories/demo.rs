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

    let total = |row: &str| total(&told.stdout, row);
    let (over, no_key) = (total("refused: daily-limit"), total("refused: no-key"));
    assert_eq!(total("flights sent"), 10_000);
    assert_eq!(total("accepted") + over + no_key, total("flights sent"));
    assert_eq!(total("flights read back"), total("accepted"));
    assert_eq!(total("mails"), total("notices"));
    assert!(0 < total("notices") && total("notices") <= over, "{}", told.stdout);

    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The last figure of the table's row that begins so.
fn total(told: &str, row: &str) -> u64 {
    let line = told
        .lines()
        .find(|line| line.starts_with(row))
        .unwrap_or_else(|| panic!("no {row} in {told}"));
    line.split_whitespace().last().unwrap().replace(',', "").parse().unwrap()
}

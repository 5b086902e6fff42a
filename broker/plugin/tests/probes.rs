//! The probes' assembled components stand next to their text, for every crate's tests; here they
//! are held together. `UPDATE_EXPECT=1 cargo test -p weir-plugin-host --test probes` assembles them.

use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/probes")
}

/// A probe's whole text: most are a piece that goes into the shell, `world.wat`.
fn whole(piece: &str, shell: &str) -> String {
    let own =
        piece.lines().any(|line| line.starts_with("(component") || line.starts_with("(module"));
    if own { piece.to_owned() } else { shell.replace(";; PROBE", piece) }
}

#[test]
fn each_probe_is_assembled_from_its_text() {
    let shell = fs::read_to_string(folder().join("world.wat")).expect("the shell");
    let mut stale = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(folder()).expect("the probes") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ext| ext != "wat") || path.ends_with("world.wat") {
            continue;
        }
        seen += 1;
        let piece = fs::read_to_string(&path).expect("a probe's text");
        let wasm = wat::parse_str(whole(&piece, &shell))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let assembled = path.with_extension("wasm");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&assembled, &wasm).expect("write the assembled probe");
        } else if fs::read(&assembled).ok().as_ref() != Some(&wasm) {
            stale.push(path);
        }
    }
    assert!(20 < seen, "the probes are gone from {}", folder().display());
    assert!(stale.is_empty(), "run again with UPDATE_EXPECT=1: {stale:?}");
}

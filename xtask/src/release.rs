//! The release build that benchmarks and counts stand on.

use std::path::PathBuf;
use std::process::Command;

use crate::root;

/// Builds `what`, `--bins` or a `--bin`, and gives the folder of the programs. With the features that the
/// whole workspace selects, so that what one build has compiled serves the other.
pub fn build(what: &[&str]) -> Result<PathBuf, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--workspace"]).args(what).current_dir(root());
    // `cargo run` tells this program what it is. To build scripts that look there (ring's does), that
    // is another build than one from a shell: minutes, each time the two take turns.
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            cargo.env_remove(name);
        }
    }
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("the release build failed: {status}")),
        Err(error) => return Err(format!("cargo cannot be started: {error}")),
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(target.unwrap_or_else(|| root().join("target")).join("release"))
}

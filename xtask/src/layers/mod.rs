//! Holds the house's walls by reading sources as text: who may depend on whom (`crates`), where
//! the heavy guests live (`rooms`), and which way calls go inside a crate (`modules`).

mod crates;
mod modules;
mod rooms;
mod source;

use std::path::{Path, PathBuf};

use modules::Module;

/// Chores, tests and benchmarks look at the house from outside: they may name any guest.
const WITHOUT_ROOMS: &[&str] = &["tests", "bench", "xtask"];

/// Checks the workspace at `root`; the error lists every violation, one sentence a line.
pub fn run(root: &Path) -> Result<(), String> {
    let workspace = read(&root.join("Cargo.toml"))?;
    let mut found = Vec::new();
    for member in members(&workspace) {
        let manifest = format!("{member}/Cargo.toml");
        found.extend(crates::check(&manifest, &read(&root.join(&manifest))?));
        let modules = modules_of(root, member)?;
        found.extend(modules::check(&modules));
        if !WITHOUT_ROOMS.contains(&member) {
            found.extend(
                modules.iter().flat_map(|module| rooms::check(&module.file, &module.words)),
            );
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}

/// The quoted lines of the workspace's `members` list.
fn members(workspace: &str) -> impl Iterator<Item = &str> {
    workspace
        .lines()
        .skip_while(|line| !line.starts_with("members = ["))
        .skip(1)
        .take_while(|line| !line.starts_with(']'))
        .map(|line| line.trim().trim_matches([',', '"']))
}

fn modules_of(root: &Path, member: &str) -> Result<Vec<Module>, String> {
    let src = root.join(member).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files)?;
    // A crate with a library and a program: the program is one more user of the library.
    let has_library = files.iter().any(|file| *file == src.join("lib.rs"));
    files.retain(|file| !(has_library && *file == src.join("main.rs")));
    files.sort();
    let module = |file: PathBuf| {
        let below_src = slashes(file.strip_prefix(&src).expect("found below it"));
        Ok(Module {
            file: format!("{member}/src/{below_src}"),
            path: modules::module_path(&below_src),
            words: source::words(&read(&file)?),
        })
    };
    files.into_iter().map(module).collect()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let unreadable = |e: std::io::Error| format!("{} cannot be read: {e}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn slashes(path: &Path) -> String {
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_from_the_workspace() {
        let workspace = "[workspace]\nmembers = [\n  \"a\",\n  \"b/c\",\n]\nexclude = [\"d\"]";
        assert_eq!(members(workspace).collect::<Vec<_>>(), ["a", "b/c"]);
    }
}

//! Inside a crate: `mod` lines stand in the order of the road, and a module uses only modules
//! declared after it. What the file with the `mod` lines defines itself is open to all below it.

use super::source::Word;

/// One file of a crate: its path for sentences, its module path (empty for lib.rs), its words.
pub struct Module {
    pub file: String,
    pub path: Vec<String>,
    pub words: Vec<Word>,
}

/// The module path of a file below `src/`: `a/b.rs` and `a/b/mod.rs` are both `a::b`.
pub fn module_path(below_src: &str) -> Vec<String> {
    let mut path: Vec<String> =
        below_src.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
        path.pop();
    }
    path
}

/// What the modules of one crate say against the order of their `mod` lines.
pub fn check(modules: &[Module]) -> Vec<String> {
    let mut found = Vec::new();
    for user in modules {
        for used in used_paths(user) {
            // Where the two paths part, siblings meet: their parent's `mod` lines decide.
            let shared = user.path.iter().zip(&used.path).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(to)) = (user.path.get(shared), used.path.get(shared)) else {
                continue;
            };
            let Some(parent) = modules.iter().find(|module| module.path == user.path[..shared])
            else {
                continue;
            };
            let order = declared(&parent.words);
            let place = |name: &String| order.iter().position(|declared| declared == name);
            if let (Some(here), Some(there)) = (place(from), place(to))
                && there < here
            {
                found.push(format!(
                    "{}:{}: {from} uses {to}, which is declared before it in {}; call downward, and let answers be return values",
                    user.file, used.line, parent.file
                ));
            }
        }
    }
    found.dedup();
    found
}

/// The names of the `mod name;` lines, in order.
fn declared(words: &[Word]) -> Vec<String> {
    words
        .windows(3)
        .filter(|three| three[0].text == "mod" && three[2].text == ";")
        .map(|three| three[1].text.clone())
        .collect()
}

struct Used {
    line: usize,
    path: Vec<String>,
}

/// Every path that begins with `crate::` or `super::`, from the crate's root, groups taken apart.
fn used_paths(module: &Module) -> Vec<Used> {
    let mut used = Vec::new();
    let mut at = 0;
    while at + 1 < module.words.len() {
        let (word, next) = (&module.words[at], &module.words[at + 1].text);
        let root = match word.text.as_str() {
            "crate" if next == "::" => Some(Vec::new()),
            "super" if next == "::" => module.path.split_last().map(|(_, parent)| parent.to_vec()),
            _ => None,
        };
        match root {
            Some(root) => at = read_tree(&module.words, at + 2, root, &mut used),
            None => at += 1,
        }
    }
    used
}

/// Reads the rest of a path behind a `::`, adds its leaves to `used`, and says where it ends.
fn read_tree(words: &[Word], mut at: usize, mut path: Vec<String>, used: &mut Vec<Used>) -> usize {
    while let Some(word) = words.get(at) {
        match word.text.as_str() {
            "{" => {
                at += 1;
                while words.get(at).is_some_and(|word| word.text != "}") {
                    at = read_tree(words, at, path.clone(), used);
                    if words.get(at).is_some_and(|word| word.text != "}") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "super" => _ = path.pop(),
            name => path.push(name.to_owned()),
        }
        at += 1;
        if words.get(at).is_none_or(|next| next.text != "::") {
            used.push(Used { line: word.line, path });
            return skip_alias(words, at);
        }
        at += 1;
    }
    at
}

/// Behind the `as name` of an import, if there is one.
fn skip_alias(words: &[Word], at: usize) -> usize {
    if words.get(at).is_some_and(|word| word.text == "as") { at + 2 } else { at }
}

#[cfg(test)]
mod tests {
    use super::super::source::words;
    use super::*;

    fn check_crate(files: &[(&str, &str)], expected: &[&str]) {
        let modules: Vec<Module> = files
            .iter()
            .map(|(file, source)| Module {
                file: (*file).to_owned(),
                path: module_path(file),
                words: words(source),
            })
            .collect();
        let found = check(&modules);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (sentence, part) in found.iter().zip(expected) {
            assert!(sentence.starts_with(part), "{sentence} does not say {part}");
        }
    }

    const ROOT: (&str, &str) = (
        "lib.rs",
        "pub mod desk; mod router; pub mod log; pub struct Fault; fn f() { crate::log::g() }",
    );

    #[test]
    fn the_road_goes_down() {
        check_crate(
            &[
                ROOT,
                ("desk.rs", "use crate::router::R; use crate::Fault; fn f() { crate::log::x() }"),
            ],
            &[],
        );
        check_crate(&[ROOT, ("log.rs", "use crate::log::Own; use crate::Fault;")], &[]);
    }

    #[test]
    fn a_way_back_up_is_found_in_every_spelling() {
        let up = &["log.rs:1: log uses router"][..];
        check_crate(&[ROOT, ("log.rs", "use crate::router::R;")], up);
        check_crate(&[ROOT, ("log.rs", "use super::router;")], up);
        check_crate(&[ROOT, ("log.rs", "use crate::{Fault, router::{self, R as Q}};")], up);
        check_crate(&[ROOT, ("log.rs", "fn f() -> crate::router::R {}")], up);
        check_crate(
            &[ROOT, ("log/mod.rs", ""), ("log/a.rs", "use super::super::router::R;")],
            &["log/a.rs:1: log uses router"],
        );
        check_crate(
            &[ROOT, ("log.rs", "use crate::{desk::D, router::R};")],
            &["log.rs:1: log uses desk", "log.rs:1: log uses router"],
        );
    }

    #[test]
    fn the_rule_holds_inside_a_folder() {
        let folder = ("log/mod.rs", "mod writer; mod reader; pub struct E;");
        check_crate(&[ROOT, folder, ("log/writer.rs", "use super::reader::R; use super::E;")], &[]);
        check_crate(
            &[ROOT, folder, ("log/reader.rs", "use super::{E, writer};")],
            &["log/reader.rs:1: reader uses writer"],
        );
        check_crate(
            &[ROOT, folder, ("log/reader.rs", "use crate::log::writer::W;")],
            &["log/reader.rs:1: reader uses writer"],
        );
    }

    #[test]
    fn tests_may_look_anywhere() {
        check_crate(&[ROOT, ("log.rs", "#[cfg(test)] mod tests { use crate::desk::D; }")], &[]);
        check_crate(
            &[
                ("lib.rs", "mod a; #[cfg(test)] mod probe; mod b;"),
                ("probe.rs", "use crate::a::A;"),
            ],
            &[],
        );
    }
}

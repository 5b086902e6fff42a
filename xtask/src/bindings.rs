//! Generates the bindings of the templates in C and Go from wit/, so that a newcomer needs no
//! generator. (Rust's, Python's and JavaScript's are made by their own tools in each build.)
//!
//! Go's come without the module they usually stand on: `gen/wit_runtime` and `gen/wit_types` of the
//! template are that, written for `weir plugin wrap`, and a build fetches nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

use crate::root;

/// What C's bindings end with: a hook for an object file that says what world it is of. `weir plugin
/// wrap` knows the world.
const C_OBJECT_HOOK: &str = "\n// Ensure that the *_component_type.o object is linked in\n";

/// What Go's bindings import, and what takes its place.
const GO_IMPORTS: [(&str, &str); 5] = [
    ("\"go.bytecodealliance.org/pkg/wit/runtime\"", "\"plugin/gen/wit_runtime\""),
    ("\"go.bytecodealliance.org/pkg/wit/types\"", "\"plugin/gen/wit_types\""),
    ("\"wit_component/export_wit_world\"", "\"plugin/rule\""),
    ("export_wit_world.", "rule."),
    ("\"wit_component/", "\"plugin/gen/"),
];

/// Generates them; with `check`, changes nothing and fails where one is not current.
pub fn run(check: bool) -> Result<(), String> {
    for (file, text) in c()?.into_iter().chain(go()?) {
        let path = root().join("plugins/templates").join(&file);
        if !check {
            let folder = path.parent().expect("a file lies in a folder");
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&path, text))
                .map_err(|e| format!("{}: {e}", path.display()))?;
        } else if fs::read_to_string(&path).ok() != Some(text) {
            return Err(format!(
                "plugins/templates/{} is not what wit/ says; run `cargo xtask codegen`",
                file.display()
            ));
        }
    }
    Ok(())
}

type Texts = BTreeMap<PathBuf, String>;

fn c() -> Result<Texts, String> {
    let options = wit_bindgen_c::Opts { no_object_file: true, ..Default::default() };
    let mut texts = Texts::new();
    for (name, text) in generate(options.build().as_mut())? {
        let text = text.split_once(C_OBJECT_HOOK).map_or(text.as_str(), |(before, _)| before);
        texts.insert(PathBuf::from("c/gen").join(name), text.trim_end().to_owned() + "\n");
    }
    Ok(texts)
}

fn go() -> Result<Texts, String> {
    let mut texts = Texts::new();
    // Not formatted, since gofmt is not everywhere.
    let options =
        wit_bindgen_go::Opts { format: wit_bindgen_go::Format::False, ..Default::default() };
    for (name, text) in generate(options.build().as_mut())? {
        // The module's own, and a package for types of the world itself, of which there are none.
        if name == "go.mod" || name.starts_with("wit_world/") {
            continue;
        }
        let name = if name == "wit_exports.go" { "main/main.go" } else { &name };
        let text = GO_IMPORTS.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours));
        texts.insert(PathBuf::from("go/gen").join(name), text);
    }
    Ok(texts)
}

fn wrong(error: impl std::fmt::Display) -> String {
    format!("wit/: {error:#}")
}

fn generate(generator: &mut dyn WorldGenerator) -> Result<Vec<(String, String)>, String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("wit")).map_err(wrong)?;
    let world = resolve.select_world(&[package], Some("filter")).map_err(wrong)?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files).map_err(wrong)?;
    files
        .iter()
        .map(|(name, bytes)| {
            let text = String::from_utf8(bytes.to_vec()).map_err(|e| format!("{name}: {e}"))?;
            Ok((name.to_owned(), text))
        })
        .collect()
}

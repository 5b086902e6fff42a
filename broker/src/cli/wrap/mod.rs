//! `weir plugin wrap`: makes a component of a core module, so that C, Go and Rust need no further tool.
//!
//! Promises: the component imports nothing but the contract, or the command fails and writes
//! nothing. A module that does not say what world it is of becomes one of weir:plugin/filter; what
//! it imports of WASI preview 1 is answered inside of the component (`preview1.wat`).
//! Not here: whether a broker takes it; that is looked at when it is pushed.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::Resolve;

use super::Failure;
use super::output::Output;
use super::template::CONTRACT;
use crate::table::bytes;

/// The stand-in for WASI preview 1; preview1.wat says what it does.
const PREVIEW1: &[u8] = include_bytes!("preview1.wasm");

/// Make a component of a core module that C, Go or Rust compiled.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  weir plugin wrap build/core.wasm -o night-ban.wasm

The templates of `weir plugin new` call it from their build.sh. Components that componentize-py or
componentize-qjs make are whole already.")]
pub struct Wrap {
    /// The core module that the compiler made.
    #[arg(value_name = "CORE.wasm")]
    core: PathBuf,
    /// The component to write.
    #[arg(short, long, value_name = "FILE.wasm")]
    output: PathBuf,
}

impl Wrap {
    /// Does it.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let Self { core, output: file } = self;
        let module = std::fs::read(&core).map_err(|error| {
            Failure::new(format!("cannot read {}: {error}; check the path", core.display()))
        })?;
        let component =
            component(module).map_err(|why| Failure::new(format!("{}: {why}", core.display())))?;
        write(&file, &component)?;
        let wrapped = json!({ "file": file.display().to_string(), "bytes": component.len() });
        output.answer(&wrapped, |_| {
            format!("{} ({})\n", file.display(), bytes(component.len() as u64))
        })
    }
}

/// Whole or not at all: a build must not leave half of a component where the last one was.
fn write(file: &Path, component: &[u8]) -> Result<(), Failure> {
    let unwritable = |error: std::io::Error| {
        Failure::new(format!("cannot write {}: {error}; name another file", file.display()))
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let draft = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    let mut draft = draft.map_err(unwritable)?;
    std::io::Write::write_all(&mut draft, component).map_err(unwritable)?;
    draft.persist(file).map(|_| ()).map_err(|error| unwritable(error.error))
}

fn component(mut module: Vec<u8>) -> Result<Vec<u8>, String> {
    if !module.starts_with(b"\0asm") {
        return Err("this is no WebAssembly; give the core module that your compiler made".into());
    }
    if module.get(4..8) != Some(&[1, 0, 0, 0]) {
        return Err("this is a component already; push it as it is".into());
    }
    let (described, _) = metadata::decode(&module).map_err(damaged)?;
    if described.is_none() {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("plugin.wit", CONTRACT).expect("the contract is WIT");
        let world = resolve.select_world(&[package], Some("filter")).expect("it has this world");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .map_err(damaged)?;
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| {
            encoder.adapter("wasi_snapshot_preview1", PREVIEW1)?;
            encoder.encode()
        })
        .map_err(|e| {
            format!("it does not fit the world weir:plugin/filter: {e:#}; build it against wit/plugin.wit of this weir")
        })
}

fn damaged(error: impl std::fmt::Display) -> String {
    format!("this is no whole core module: {error:#}; build it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that accepts everything, as a compiler would leave it, with these imports.
    fn core(imports: &str) -> Vec<u8> {
        let module = format!(
            r#"(module {imports}
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 8)
                (func (export "configure") (param i32 i32) (result i32) i32.const 0)
                (func (export "process") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32) i32.const 0))"#
        );
        wat::parse_str(module).expect("a module")
    }

    #[test]
    fn the_stand_in_is_its_text_assembled() {
        let text = wat::parse_str(include_str!("preview1.wat")).expect("it assembles");
        assert!(
            text == PREVIEW1,
            "assemble preview1.wat anew, for example with `wasm-tools parse`"
        );
    }

    #[test]
    fn a_module_becomes_a_component_of_the_contract_and_nothing_else() {
        let wasi = r#"(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))"#;
        let log = r#"(import "weir:plugin/context@VERSION" "now" (func (result i64)))"#
            .replace("VERSION", contract_version());
        for imports in ["", wasi, &log] {
            let made = component(core(imports)).expect(imports);
            let names = imports_of(&made);
            assert!(names.iter().all(|name| name.starts_with("weir:plugin/")), "{names:?}");
        }
    }

    #[test]
    fn what_cannot_be_wrapped_says_so() {
        let whole = component(core("")).expect("fits");
        for (module, says) in [
            (b"(module)".to_vec(), "no WebAssembly"),
            (whole, "a component already"),
            (core("")[..20].to_vec(), "build it again"),
            (wat::parse_str("(module)").expect("a module"), "does not fit the world"),
            (core(r#"(import "env" "foo" (func))"#), "env"),
        ] {
            let why = component(module).expect_err(says);
            assert!(why.contains(says), "{why}");
        }
    }

    fn contract_version() -> &'static str {
        let (_, version) = CONTRACT.split_once("package weir:plugin@").expect("a package");
        version.split_once(';').expect("a line").0
    }

    fn imports_of(component: &[u8]) -> Vec<String> {
        let wit_component::DecodedWasm::Component(resolve, world) =
            wit_component::decode(component).expect("a component")
        else {
            panic!("a WIT package")
        };
        let imports = resolve.worlds[world].imports.iter();
        imports
            .filter(|(_, item)| !matches!(item, wit_parser::WorldItem::Type { .. }))
            .map(|(key, _)| resolve.name_world_key(key))
            .collect()
    }
}

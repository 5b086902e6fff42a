//! Looks at uploaded bytes before anything is compiled: is this a component we can run?
//!
//! Promises: takes milliseconds where compiling takes seconds, never panics on any bytes, and each
//! refusal says how to rebuild. Only names are looked at here; types are checked when it is linked.

use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload, TypeBounds};

/// `\0asm`, with which every binary begins.
const WASM_MAGIC: &[u8] = b"\0asm";
/// With which native code begins, wasmtime's precompiled `.cwasm` too.
const ELF_MAGIC: &[u8] = b"\x7fELF";
/// What a guest may import from us.
const OWN_PREFIX: &str = "weir:plugin/";
/// What it may import from WASI 0.2; all of it is inert.
const WASI_PREFIXES: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
/// What it must export.
const EXPORTS: [&str; 2] = ["configure", "process"];
/// Characters of a foreign name that an answer repeats.
const SHOWN_CHARS_MAX: usize = 120;

/// Why bytes are not a plugin. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Over the limit for components.
    #[error(
        "the component has {bytes} bytes, over the limit of {max}; strip debug information (for example `wasm-tools strip`) or build for size"
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// No wasm at all.
    #[error(
        "this is no WebAssembly component: it does not begin with \\0asm; push the .wasm that your build makes"
    )]
    NotWasm,
    /// WebAssembly text.
    #[error(
        "this is WebAssembly text; assemble it first (for example `wasm-tools parse`) and push the .wasm"
    )]
    Text,
    /// Native code.
    #[error(
        "this is native code (a precompiled .cwasm?); push the component it was made from, the broker compiles it itself"
    )]
    Native,
    /// A core module.
    #[error(
        "this is a core module, not a component; wrap it with `weir plugin wrap MODULE.wasm -o PLUGIN.wasm`"
    )]
    CoreModule,
    /// Imports something a plugin does not get.
    #[error("it imports {import:?}, which a plugin does not get: {advice}")]
    Import {
        /// The import's name.
        import: String,
        /// How to build without it.
        advice: &'static str,
    },
    /// A component of another world.
    #[error(
        "it does not export {export:?} and so is not of the world weir:plugin/filter; build it against wit/plugin.wit, world `filter`"
    )]
    WrongWorld {
        /// The missing export.
        export: &'static str,
    },
    /// Exports or imports of the right names and wrong types.
    #[error(
        "it does not fit the world weir:plugin/filter of this broker ({reason}); build it against this broker's wit/plugin.wit"
    )]
    WrongTypes {
        /// What does not fit.
        reason: String,
    },
    /// Damaged, or made with a feature that is off here.
    #[error("it does not compile: {reason}")]
    Invalid {
        /// What the compiler says.
        reason: String,
    },
    /// Built for the asynchronous component model.
    #[error(
        "it is built for the asynchronous component model, which is off here; build it with synchronous bindings (componentize-qjs: `--sync`)"
    )]
    Async,
}

/// Refuses what is clearly no plugin.
pub(crate) fn check(wasm: &[u8], bytes_max: u64) -> Result<(), CompileError> {
    let bytes = wasm.len() as u64;
    if bytes_max < bytes {
        return Err(CompileError::TooLarge { bytes, max: bytes_max });
    }
    if wasm.starts_with(ELF_MAGIC) {
        return Err(CompileError::Native);
    }
    if !wasm.starts_with(WASM_MAGIC) {
        let is_text = wasm.trim_ascii_start().starts_with(b"(");
        return Err(if is_text { CompileError::Text } else { CompileError::NotWasm });
    }
    let mut missing = EXPORTS.to_vec();
    // Modules and components inside this one have imports of their own, which are its affair.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(CompileError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let import = import.map_err(invalid)?;
                    // The world's `use types.{event}`: a name for a type brings no power.
                    if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                        check_import(import.name.name)?;
                    }
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let name = export.map_err(invalid)?.name.name;
                    missing.retain(|wanted| *wanted != name);
                }
            }
            _ => {}
        }
    }
    match missing.first() {
        Some(export) => Err(CompileError::WrongWorld { export }),
        None => Ok(()),
    }
}

/// What the compiler says, as an answer.
pub(crate) fn invalid(reason: impl std::fmt::Display) -> CompileError {
    let reason = reason.to_string();
    if reason.contains("component model async feature") {
        return CompileError::Async;
    }
    let line = reason.lines().next().unwrap_or_default();
    CompileError::Invalid { reason: line.chars().take(SHOWN_CHARS_MAX * 2).collect() }
}

fn check_import(name: &str) -> Result<(), CompileError> {
    let is_wasi_02 = |prefix: &&str| name.starts_with(*prefix) && name.contains("@0.2.");
    if name.starts_with(OWN_PREFIX) || WASI_PREFIXES.iter().any(is_wasi_02) {
        return Ok(());
    }
    let advice = if name.starts_with("wasi:http/") {
        "rules have no network; build without it (componentize-js: `-d http -d fetch-event`)"
    } else if name.starts_with("wasi:") && (name.contains("@0.3") || name.contains("async")) {
        "this broker links WASI 0.2 only; build for 0.2 with synchronous bindings (componentize-qjs: `--sync`)"
    } else if name.starts_with("wasi:") {
        "of WASI only cli, clocks, filesystem, io, random and sockets of version 0.2 are linked, all inert; build without it"
    } else if name.starts_with("wasi_snapshot_preview1") || name == "env" {
        "it was wrapped without an adapter; wrap the core module with `weir plugin wrap`, which brings one"
    } else {
        "a plugin imports only weir:plugin/* and WASI 0.2; build it against wit/plugin.wit, world `filter`"
    };
    Err(CompileError::Import { import: name.chars().take(SHOWN_CHARS_MAX).collect(), advice })
}

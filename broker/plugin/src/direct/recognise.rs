//! Whether a component can be called directly: it is one core module, and the wiring around it is
//! what its names say.
//!
//! A component may wire anything to anything: its `get` to our `set`, its `process` to another
//! function. So the wiring is not read but made again. The core module is taken out, a component is
//! made of it by the encoder that `weir plugin wrap` uses, and the two have to be the same but for names
//! and notes. Then the module's names mean what the canonical ABI's mangling says they do, and there is
//! nothing else in the component. It is made for the contract's world; if that is not it, for the world
//! that the component itself declares, whose types have to be looked at still.
//!
//! Promises: no says only that the component runtime calls it, as it calls every component; what this
//! takes lies with the compiler's child, within its limits.

use std::panic::catch_unwind;

use wasmparser::{Parser, Payload};
use wit_component::{
    ComponentEncoder, DecodedWasm, StringEncoding, decode, embed_component_metadata,
};
use wit_parser::{Resolve, WorldId};

use super::imports::interface;
use super::{INITIALIZE, MEMORY, POST, REALLOC};

/// Every version of the contract, the present one first.
const CONTRACTS: [&str; 3] = [
    include_str!("../../../../wit/plugin.wit"),
    include_str!("../../../../wit/published/0.1.1.wit"),
    include_str!("../../../../wit/published/0.1.0.wit"),
];

/// What wit-bindgen's guests export beside [`REALLOC`], so that linkers keep it.
const KEPT_REALLOC: &str = "cabi_realloc_wit_bindgen_";

/// A core module that can be called in its component's place.
pub(crate) struct Found<'a> {
    pub(crate) module: &'a [u8],
    /// Whether the component is of the contract's world, to the type.
    pub(crate) is_of_contract: bool,
}

/// The core module that can be called in the component's place.
pub(crate) fn core_module_of(component: &[u8]) -> Option<Found<'_>> {
    // These are tools for what people build, and this is an upload: what they do not take is called
    // through the component runtime, a panic included.
    catch_unwind(|| {
        let module = first_module(component)?;
        if !speaks_for_itself(module)? {
            return None;
        }
        let parts = parts(component)?;
        let is_of = |(resolve, world)| made_again(module, &resolve, world).as_ref() == Some(&parts);
        if CONTRACTS.iter().filter_map(|contract| world_of(contract)).any(is_of) {
            return Some(Found { module, is_of_contract: true });
        }
        let DecodedWasm::Component(resolve, world) = decode(component).ok()? else { return None };
        is_of((resolve, world)).then_some(Found { module, is_of_contract: false })
    })
    .ok()?
}

/// The world of a rule, as a version of the contract has it.
fn world_of(contract: &str) -> Option<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("plugin.wit", contract).ok()?;
    let world = resolve.select_world(&[package], Some("filter")).ok()?;
    Some((resolve, world))
}

fn first_module(component: &[u8]) -> Option<&[u8]> {
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::ModuleSection { unchecked_range, .. } = payload.ok()? {
            return component.get(unchecked_range);
        }
    }
    None
}

/// It imports from the contract alone, and has what we call by the names that we call it by.
fn speaks_for_itself(module: &[u8]) -> Option<bool> {
    let mut missing = vec![MEMORY, REALLOC, "configure", "process"];
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    interface(import.ok()?.module)?;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let name = export.ok()?.name;
                    if means_more_than_we_know(name) {
                        return Some(false);
                    }
                    missing.retain(|wanted| *wanted != name);
                }
            }
            _ => {}
        }
    }
    Some(missing.is_empty())
}

/// Names that an encoder may give a meaning of its own: another allocator, another start. Those of
/// linkers, with two underscores, mean nothing to it.
fn means_more_than_we_know(name: &str) -> bool {
    let of_the_abi = name.starts_with("cabi_")
        && name != REALLOC
        && !name.starts_with(KEPT_REALLOC)
        && !name.starts_with(POST);
    let of_the_start = name.starts_with('_') && !name.starts_with("__") && name != INITIALIZE;
    of_the_abi || of_the_start
}

/// The parts of the component that our encoder makes of the module.
fn made_again(module: &[u8], resolve: &Resolve, world: WorldId) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut described = module.to_vec();
    embed_component_metadata(&mut described, resolve, world, StringEncoding::UTF8, false).ok()?;
    let mut encoder = ComponentEncoder::default();
    parts(&encoder.validate(true).module(&described).ok()?.encode().ok()?)
}

/// What a component is made of, at all depths, without its custom sections: names, and notes on who
/// made it.
fn parts(component: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    /// No section has these numbers.
    const MODULE: u8 = 255;
    const COMPONENT: u8 = 254;
    const END: u8 = 253;
    let mut parts = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            Payload::CustomSection(_) | Payload::Version { .. } | Payload::CodeSectionEntry(_) => {}
            Payload::ModuleSection { .. } => parts.push((MODULE, Vec::new())),
            Payload::ComponentSection { .. } => parts.push((COMPONENT, Vec::new())),
            Payload::End(_) => parts.push((END, Vec::new())),
            other => {
                let (id, range) = other.as_section()?;
                parts.push((id, component.get(range)?.to_vec()));
            }
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_the_contract_is_known() {
        let published = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/published");
        for file in std::fs::read_dir(published).expect("the published versions") {
            let path = file.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("WIT");
            assert!(CONTRACTS.contains(&text.as_str()), "{} is missing here", path.display());
        }
        assert!(CONTRACTS.iter().all(|contract| world_of(contract).is_some()));
    }
}

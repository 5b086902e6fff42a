//! Native code made from a component, and the only place that trusts it.
//!
//! ```text
//! in a file:  | "weirart2" 8 B | sha256 of the rest 32 B | kind u8 | what wasmtime serialized ... |
//! kind:       'c' a component, 'm' its core module, which is called in its place
//! ```
//! Promises: an [`Artefact`] was made by an engine of ours, in this process or in a child that
//! wrote it where only the broker's user writes. There is no other way to get one, so loading one
//! is sound.

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Module, bail};

const MAGIC: &[u8; 8] = b"weirart2";
/// The form of the file, for its name: what an earlier weir left is not taken for damaged.
pub(crate) const FORM: u8 = 2;
const SHA256_BYTES: usize = 32;
const COMPONENT: u8 = b'c';
const MODULE: u8 = b'm';

/// A compiled component. Loads only under the engine settings it was compiled for.
pub struct Artefact(Vec<u8>);

/// What is in one.
pub(crate) enum Code {
    Component(Component),
    /// Called in its component's place.
    Module(Module),
}

impl Artefact {
    /// From the compiler's hands.
    pub(crate) fn of(code: &Code) -> wasmtime::Result<Self> {
        let (kind, mut serialized) = match code {
            Code::Component(component) => (COMPONENT, component.serialize()?),
            Code::Module(module) => (MODULE, module.serialize()?),
        };
        serialized.insert(0, kind);
        Ok(Self(serialized))
    }

    /// Bytes of native code and tables.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    /// For a file.
    pub(crate) fn seal(&self) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(MAGIC.len() + SHA256_BYTES + self.0.len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&Sha256::digest(&self.0));
        sealed.extend_from_slice(&self.0);
        sealed
    }

    /// From a file that only this user could have written (the caller has made sure); `None` if it
    /// is damaged.
    pub(crate) fn unseal(mut sealed: Vec<u8>) -> Option<Self> {
        let (magic, rest) = sealed.split_first_chunk::<{ MAGIC.len() }>()?;
        let (sha256, artefact) = rest.split_first_chunk::<SHA256_BYTES>()?;
        if magic != MAGIC || Sha256::digest(artefact)[..] != sha256[..] {
            return None;
        }
        sealed.drain(..MAGIC.len() + SHA256_BYTES);
        Some(Self(sealed))
    }

    /// What is in it. An error means other engine settings: compile it again.
    #[expect(unsafe_code, reason = "loading native code is what this file is for; proof below")]
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Code> {
        let Some((kind, serialized)) = self.0.split_first() else { bail!("it is empty") };
        // SAFETY: wasmtime asks that the bytes come from its own serializer, unaltered, since it
        // runs them. An `Artefact` is made in two places. `of` takes them from the serializer.
        // `unseal` takes them from a file of the artefact cache, a folder that is checked to
        // belong to this user and to be closed to all others (0700), so that whoever could forge
        // a file there could as well replace the broker; the checksum, taken when the file was
        // written, catches what a disk may do to it. No upload is ever taken for an artefact.
        // Bytes of another wasmtime or other settings are refused by wasmtime itself, and so is a
        // module where a component is expected.
        let code = unsafe {
            match *kind {
                COMPONENT => Code::Component(Component::deserialize(engine, serialized)?),
                MODULE => Code::Module(Module::deserialize(engine, serialized)?),
                kind => bail!("there is no kind {kind}"),
            }
        };
        Ok(code)
    }
}

impl std::fmt::Debug for Artefact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Artefact({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_artefact_opens_only_undamaged() {
        let sealed = Artefact(vec![7; 100]).seal();
        assert_eq!(Artefact::unseal(sealed.clone()).expect("as it was").0, vec![7; 100]);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(Artefact::unseal(damaged).is_none(), "byte {at}");
            assert!(Artefact::unseal(sealed[..at].to_vec()).is_none(), "cut at {at}");
        }
    }
}

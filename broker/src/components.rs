//! The plugins' components on disk, each under its own digest.
//!
//! Promises: what `get` returns is what was put, or an error; a file is there whole or not at all.
//! Not here: which plugin a component belongs to (the catalog knows), and compiled code (a cache).

use std::fs;
use std::io;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use weir_wire::ids::Digest;

use crate::home::private_file;

/// Why a component cannot be had or kept. The operator acts; each text says how.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// Nothing under this digest.
    #[error("component {digest} is not in {}; push its plugin again", folder.display())]
    Missing {
        /// Which.
        digest: Digest,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The bytes are no longer those that were put.
    #[error("{} is damaged: its sha256 is {actual}; delete it, push its plugin again and restart the broker", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is in it.
        actual: Digest,
    },
    /// The file system says no.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A folder of components. The broker that holds the data directory is its only writer.
pub struct ComponentStore {
    folder: PathBuf,
}

impl ComponentStore {
    /// Opens the folder, and makes it if it is not there.
    pub fn open(folder: PathBuf) -> Result<Self, ComponentError> {
        fs::create_dir_all(&folder).and_then(|()| private_file::sync_folder_of(&folder)).map_err(
            |source| ComponentError::Io { verb: "create", path: folder.clone(), source },
        )?;
        Ok(Self { folder })
    }

    /// The folder as it is, for reading.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The name of a component.
    pub fn digest(component: &[u8]) -> Digest {
        Digest(Sha256::digest(component).into())
    }

    /// Keeps a component for good, and names it.
    pub fn put(&self, component: &[u8]) -> Result<Digest, ComponentError> {
        let digest = Self::digest(component);
        let path = self.path(&digest);
        private_file::write(&path, component).map_err(|source| ComponentError::Io {
            verb: "write",
            path,
            source,
        })?;
        Ok(digest)
    }

    /// The component with this digest, verified.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, ComponentError> {
        let path = self.path(digest);
        let component = match fs::read(&path) {
            Ok(component) => component,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(ComponentError::Missing {
                    digest: *digest,
                    folder: self.folder.clone(),
                });
            }
            Err(source) => return Err(ComponentError::Io { verb: "read", path, source }),
        };
        let actual = Self::digest(&component);
        if actual == *digest {
            Ok(component)
        } else {
            Err(ComponentError::Damaged { path, actual })
        }
    }

    /// Forgets a component; one that is not there is forgotten already.
    pub fn remove(&self, digest: &Digest) -> Result<(), ComponentError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ComponentError::Io { verb: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_comes_back_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = ComponentStore::open(folder.path().join("components")).unwrap();
        let digest = store.put(b"wasm").unwrap();
        assert_eq!(store.put(b"wasm").unwrap(), digest, "the same bytes are the same component");
        assert_eq!(
            ComponentStore::open(folder.path().join("components")).unwrap().get(&digest).unwrap(),
            b"wasm"
        );
        store.remove(&digest).unwrap();
        store.remove(&digest).unwrap();
        assert!(store.get(&digest).unwrap_err().to_string().contains("push its plugin again"));
    }

    #[test]
    fn damage_is_never_served() {
        let folder = tempfile::tempdir().unwrap();
        let store = ComponentStore::open(folder.path().to_owned()).unwrap();
        let digest = store.put(b"wasm").unwrap();
        fs::write(folder.path().join(format!("{digest}.wasm")), "wasn").unwrap();
        assert!(store.get(&digest).unwrap_err().to_string().contains("is damaged: its sha256 is "));
    }
}

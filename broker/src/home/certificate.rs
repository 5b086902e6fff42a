//! What the broker shows to clients: a certificate of its own making, for this machine only.
//!
//! Promises: made once and kept; the key is in a file that only the broker's user may read. Not
//! here: certificates by an authority; without one the broker serves loopback alone.

use std::fs;
use std::path::Path;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use weir_wire::ids::Digest;

use super::{HomeError, private_file};

/// The names under which clients of this machine reach it.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate and its key.
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// The certificate first, then those that signed it.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The private key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// The sha256 of the certificate: what people compare.
    pub fn fingerprint(&self) -> Digest {
        Digest(Sha256::digest(&self.chain[0]).into())
    }

    /// Reads `cert.pem` and `key.pem` in this folder, or makes them.
    pub(super) fn read_or_make(folder: &Path) -> Result<Self, HomeError> {
        let (certificate_path, key_path) = (folder.join("cert.pem"), folder.join("key.pem"));
        let damaged = |path: &Path, why| HomeError::Damaged {
            path: path.to_owned(),
            why,
            delete: folder.to_owned(),
        };
        let Some(certificate) = private_file::read(&certificate_path)? else {
            make(folder)?;
            return Self::read_or_make(folder);
        };
        let key = private_file::read_secret(&key_path)?
            .ok_or_else(|| damaged(&key_path, "is missing beside its certificate"))?;

        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| damaged(&certificate_path, "holds no certificate"))?;
        if chain.is_empty() {
            return Err(damaged(&certificate_path, "holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| damaged(&key_path, "holds no private key"))?;
        let signing = any_supported_type(&key).map_err(|_| damaged(&key_path, "holds no private key"))?;
        CertifiedKey::new(chain.clone(), signing)
            .keys_match()
            .map_err(|_| damaged(&key_path, "does not belong to its certificate"))?;
        Ok(Self { chain, key })
    }
}

/// The key goes first: a certificate on the disk means that its key is there too.
fn make(folder: &Path) -> Result<(), HomeError> {
    fs::create_dir_all(folder).map_err(HomeError::io("create", folder))?;
    let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))
        .map_err(|e| HomeError::Certificate(e.to_string()))?;
    let write = |name: &str, pem: String| {
        let path = folder.join(name);
        private_file::write(&path, pem.as_bytes()).map_err(HomeError::io("write", &path))
    };
    write("key.pem", made.signing_key.serialize_pem())?;
    write("cert.pem", made.cert.pem())?;
    private_file::sync_folder_of(folder).map_err(HomeError::io("sync", folder))
}

//! What the broker shows to clients: a certificate of its own making, for this machine only.
//!
//! Promises: made once and kept; the key is in a file that only the broker's user may read. Not
//! here: certificates by an authority; without one the broker serves loopback alone.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
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

impl Clone for Certificate {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Certificate {
    /// The certificate first, then those that signed it; and its key.
    pub fn into_parts(self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain, self.key)
    }

    /// The sha256 of the certificate: what people compare.
    pub fn fingerprint(&self) -> Digest {
        Digest(Sha256::digest(&self.chain[0]).into())
    }

    /// Reads `cert.pem` and `key.pem` in this folder, or makes them.
    pub fn read_or_make(folder: &Path) -> Result<Self, HomeError> {
        let (chain_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
        if !chain_file.exists() {
            make(folder)?;
        }
        let own = Self::read(&chain_file, &key_file)?;
        match own.is_as_it_was_made() {
            true => Ok(own),
            false => Err(HomeError::NoPair {
                path: chain_file,
                why: "is damaged: it does not verify by its own key",
            }),
        }
    }

    /// Whether clients that trust this certificate and no other would be let in by it: the damage of
    /// a bit leaves a certificate that can be read, shown, and never verified.
    fn is_as_it_was_made(&self) -> bool {
        let mut roots = RootCertStore::empty();
        let name = ServerName::try_from(NAMES[0]);
        let (Ok(()), Ok(name)) = (roots.add(self.chain[0].clone()), name) else { return false };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
        verifier.is_ok_and(|verifier| {
            let now = UnixTime::now();
            verifier.verify_server_cert(&self.chain[0], &[], &name, &[], now).is_ok()
        })
    }

    /// Reads a chain and its key from PEM files; the key's may be read by the broker's user alone.
    pub fn read(chain_file: &Path, key_file: &Path) -> Result<Self, HomeError> {
        let no_pair = |path: &Path, why| HomeError::NoPair { path: path.to_owned(), why };
        let no_chain = || no_pair(chain_file, "holds no certificate");
        let no_key = || no_pair(key_file, "holds no private key");

        let chain =
            private_file::read(chain_file)?.ok_or_else(|| no_pair(chain_file, "is missing"))?;
        let key = private_file::read_secret(key_file)?
            .ok_or_else(|| no_pair(key_file, "is missing beside its certificate"))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| no_chain())?;
        if chain.is_empty() {
            return Err(no_chain());
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| no_key())?;
        let signing = any_supported_type(&key).map_err(|_| no_key())?;
        CertifiedKey::new(chain.clone(), signing)
            .keys_match()
            .map_err(|_| no_pair(key_file, "does not belong to its certificate"))?;
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

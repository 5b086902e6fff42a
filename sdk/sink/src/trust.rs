//! Whose certificates are trusted, and how a refused one is told from a lost connection.

use std::error::Error;
use std::io;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Bytes of a CA file at most: the bundle of a whole system has a quarter of it.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

/// Why nobody could be trusted. The sentence names the file and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTrust(String);

/// The certificates of those who may vouch for a server: the ones in `ca_file` and no others, or
/// without one those the machine trusts.
///
/// # Errors
/// [`InvalidTrust`] when there are none.
pub fn trusted_certificates(
    ca_file: Option<&Path>,
) -> Result<Vec<CertificateDer<'static>>, InvalidTrust> {
    let Some(ca_file) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let sentence = "this machine trusts nobody: install its CA certificates (the package \
                            is often called ca-certificates), or name a CA file";
            return Err(InvalidTrust(sentence.to_owned()));
        }
        return Ok(found.certs);
    };
    let cannot = |why: &dyn std::fmt::Display| {
        InvalidTrust(format!("cannot use the CA file {}: {why}", ca_file.display()))
    };
    let bytes = std::fs::metadata(ca_file).map_err(|error| cannot(&error))?.len();
    if CA_FILE_BYTES_MAX < bytes {
        return Err(cannot(&format!("its {bytes} bytes are too many")));
    }
    let pem = std::fs::read(ca_file).map_err(|error| cannot(&error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(cannot(&"there is no certificate in it; it has to be PEM")),
        Err(error) => Err(cannot(&error)),
    }
}

/// What TLS said, if it was TLS that failed: the certificate is not trusted or of another name, or
/// the other side speaks no TLS. Trying again would not help.
pub fn why_tls_failed(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls.to_string());
        }
        // An io::Error gives what is in it away as no source: it gives that one's source.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_ca_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        for (text, says) in
            [("", "no certificate in it"), ("-----BEGIN CERTIFICATE-----\n%", "ca.pem")]
        {
            std::fs::write(&file, text).unwrap();
            let error = trusted_certificates(Some(&file)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_tls_said_is_found_however_deep() {
        let tls = rustls::Error::HandshakeNotComplete;
        let wrapped = io::Error::other(io::Error::other(tls.clone()));
        assert_eq!(why_tls_failed(&wrapped), Some(tls.to_string()));
        assert_eq!(why_tls_failed(&io::Error::other("lost")), None);
    }
}

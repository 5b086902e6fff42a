//! Where the broker is and how it knows us, read from the context file that `weir serve` writes.
//!
//! ```text
//! DIR/client.toml (0600)
//!   broker = "127.0.0.1:4433"
//!   admin = "http://127.0.0.1:4480"
//!   ca_certificate = "tls/cert.pem"     relative to the file
//!   token_file = "admin.token"          relative to the file
//! ```
//! Promises: errors name the file and say what to do; the token's value has no way into text.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use crate::error::ClientError;

/// The environment variable that names the context file.
const CONTEXT_VARIABLE: &str = "WEIR_CONTEXT";
/// Where a broker started in this folder writes it.
const CONTEXT_DEFAULT: &str = "./weir-data/client.toml";
/// Certificates of a fresh broker carry this name.
const SERVER_NAME_DEFAULT: &str = "localhost";
/// Bytes of a context, token or certificate file at most: each has a few hundred to a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A bearer token. It has no `Display` and no `Serialize`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes over a token's text; white space around it is not part of it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text, for the one frame and the one header that carry it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Everything needed to reach one broker.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The data door: QUIC.
    pub broker: SocketAddr,
    /// The admin door: `http://host:port`.
    pub admin: String,
    /// Who may have signed the broker's certificate (or the certificate itself), PEM.
    pub ca_certificate: Vec<u8>,
    /// Who we are.
    pub token: Secret,
    /// The name the broker's certificate has to carry: a host name or an IP address.
    pub server_name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextFile {
    broker: SocketAddr,
    admin: String,
    ca_certificate: PathBuf,
    token_file: PathBuf,
    server_name: Option<String>,
}

/// The context file to use when none was named: `$WEIR_CONTEXT`, else `./weir-data/client.toml`.
pub fn default_context() -> PathBuf {
    let named = std::env::var_os(CONTEXT_VARIABLE).filter(|path| !path.is_empty());
    named.map_or_else(|| CONTEXT_DEFAULT.into(), PathBuf::from)
}

impl ClientConfig {
    /// Reads a context file and the two files it names.
    ///
    /// # Errors
    /// [`ClientError::Config`] names the file that is missing or wrong.
    pub fn from_context(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let text = read_text(path, "is a broker running with that data directory?")?;
        let file: ContextFile = toml::from_str(&text).map_err(|error| {
            let reason = error.message();
            config(format!("the context file {} is not valid: {reason}", path.display()))
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let hint = "the context file names it; was the data directory moved in part?";
        let token = read_text(&folder.join(file.token_file), hint)?;
        let ca_certificate = read_text(&folder.join(file.ca_certificate), hint)?.into_bytes();
        Ok(Self {
            broker: file.broker,
            admin: file.admin,
            ca_certificate,
            token: Secret::new(&token),
            server_name: file.server_name.unwrap_or_else(|| SERVER_NAME_DEFAULT.to_owned()),
        })
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

fn read_text(path: &Path, hint: &str) -> Result<String, ClientError> {
    let cannot =
        |why: &dyn fmt::Display| config(format!("cannot read {}: {why}; {hint}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if FILE_BYTES_MAX < bytes {
        return Err(cannot(&format!("its {bytes} bytes are too many for such a file")));
    }
    std::fs::read_to_string(path).map_err(|error| cannot(&error))
}

fn config(sentence: String) -> ClientError {
    ClientError::Config(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

    fn context(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tls")).unwrap();
        std::fs::write(folder.path().join("tls/cert.pem"), "PEM").unwrap();
        std::fs::write(folder.path().join("admin.token"), format!("{TOKEN}\n")).unwrap();
        std::fs::write(folder.path().join("client.toml"), text).unwrap();
        folder
    }

    const GOOD: &str = r#"
        broker = "127.0.0.1:4433"
        admin = "http://127.0.0.1:4480"
        ca_certificate = "tls/cert.pem"
        token_file = "admin.token"
    "#;

    #[test]
    fn a_context_file_is_read_with_the_files_beside_it() {
        let folder = context(GOOD);
        let config = ClientConfig::from_context(folder.path().join("client.toml")).unwrap();
        assert_eq!(config.broker, "127.0.0.1:4433".parse().unwrap());
        assert_eq!(config.admin, "http://127.0.0.1:4480");
        assert_eq!(config.ca_certificate, b"PEM");
        assert_eq!(config.token.reveal(), TOKEN);
        assert_eq!(config.server_name, "localhost");
    }

    #[test]
    fn the_token_is_in_no_debug_text() {
        let folder = context(GOOD);
        let config = ClientConfig::from_context(folder.path().join("client.toml")).unwrap();
        let text = format!("{config:?} {:?}", config.token);
        assert!(text.contains("hidden") && !text.contains("c0ffee"), "{text}");
    }

    #[test]
    fn a_wrong_context_is_one_clear_sentence() {
        let without_token = GOOD.replace("admin.token", "nowhere.token");
        for (text, says) in [
            (without_token.as_str(), "nowhere.token"),
            ("broker = 7", "client.toml is not valid"),
            ("", "client.toml is not valid: missing field `broker`"),
        ] {
            let folder = context(text);
            let error = ClientConfig::from_context(folder.path().join("client.toml")).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        let missing = ClientConfig::from_context("/nowhere/client.toml").unwrap_err().to_string();
        assert!(
            missing.contains("/nowhere/client.toml") && missing.contains("running"),
            "{missing}"
        );
    }
}

//! Passwords and signing keys: from a file or the environment, never from a command line, which
//! every process of the machine can read.

use std::fmt;
use std::path::Path;

/// Bytes of a file with a secret at most: each has some dozens.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A secret's text. It has no `Display` and no `Serialize`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why there is no secret. The sentence names the file or variable and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSecret(String);

impl Secret {
    /// Takes over a text; white space around it is not part of it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The secret in `file`, or else in the environment variable `variable`; `None` if neither is
    /// there.
    ///
    /// # Errors
    /// [`InvalidSecret`] for a file that cannot be read, is too large or empty.
    pub fn find(file: Option<&Path>, variable: &str) -> Result<Option<Self>, InvalidSecret> {
        let Some(file) = file else {
            let text = std::env::var(variable).ok().map(|text| Self::new(&text));
            return Ok(text.filter(|secret| !secret.0.is_empty()));
        };
        let cannot = |why: &dyn fmt::Display| {
            InvalidSecret(format!(
                "cannot use {}: {why}; it has to hold the secret",
                file.display()
            ))
        };
        let bytes = std::fs::metadata(file).map_err(|error| cannot(&error))?.len();
        if FILE_BYTES_MAX < bytes {
            return Err(cannot(&format!("its {bytes} bytes are too many for a secret")));
        }
        let secret = Self::new(&std::fs::read_to_string(file).map_err(|error| cannot(&error))?);
        if secret.0.is_empty() {
            return Err(cannot(&"it is empty"));
        }
        Ok(Some(secret))
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_files_text_and_in_no_debug_text() {
        let folder = tempfile::tempdir().unwrap();
        let (good, empty) = (folder.path().join("good"), folder.path().join("empty"));
        std::fs::write(&good, "hunter2\n").unwrap();
        std::fs::write(&empty, "\n").unwrap();
        let secret = Secret::find(Some(&good), "WEIR_NO_SUCH_VARIABLE").unwrap().unwrap();
        assert_eq!(secret.reveal(), "hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
        assert_eq!(Secret::find(None, "WEIR_NO_SUCH_VARIABLE"), Ok(None));
        for (file, says) in [(empty, "it is empty"), (folder.path().join("none"), "none")] {
            let error = Secret::find(Some(&file), "WEIR_NO_SUCH_VARIABLE").unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}

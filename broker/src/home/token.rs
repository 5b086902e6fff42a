//! The admin token. Its value stands in one file; in memory there is only its hash, so that no
//! log, error or dump can show it.

use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{HomeError, private_file};

/// Random bytes of a token: nobody guesses 256 bits.
const RANDOM_BYTES: usize = 32;
/// Characters of a token that an operator chose, at least and at most.
const CHARACTERS_MIN: usize = 32;
const CHARACTERS_MAX: usize = 512;

/// A token to compare with.
#[derive(Clone)]
pub struct Token {
    sha256: [u8; 32],
}

impl Token {
    /// The token with this value.
    pub fn new(value: &str) -> Self {
        Self { sha256: Sha256::digest(value).into() }
    }

    /// Whether this is the token, in a time that tells nothing about it.
    pub fn matches(&self, presented: &str) -> bool {
        self.sha256.ct_eq(&Self::new(presented).sha256).into()
    }

    /// Reads the token in this file, or makes one.
    pub(super) fn read_or_make(path: &Path) -> Result<Self, HomeError> {
        let Some(text) = private_file::read_secret(path)? else {
            return Self::make(path);
        };
        let value = text.trim();
        let is_token = (CHARACTERS_MIN..=CHARACTERS_MAX).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token {
            return Err(HomeError::Damaged {
                path: path.to_owned(),
                why: "is no token of 32 to 512 visible characters",
            });
        }
        Ok(Self::new(value))
    }

    fn make(path: &Path) -> Result<Self, HomeError> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random)
            .map_err(|e| HomeError::io("make the token", path)(std::io::Error::other(e)))?;
        let value = hex::encode(random);
        private_file::write(path, value.as_bytes()).map_err(HomeError::io("write", path))?;
        Ok(Self::new(&value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_matches() {
        let token = Token::new("secret");
        assert!(token.matches("secret"));
        for wrong in ["", "secre", "secrets", "Secret", " secret"] {
            assert!(!token.matches(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let folder = tempfile::tempdir().unwrap();
        let values = ["a", "b"].map(|name| {
            let path = folder.path().join(name);
            Token::read_or_make(&path).unwrap();
            std::fs::read_to_string(path).unwrap()
        });
        assert_eq!(values.each_ref().map(String::len), [64, 64]);
        assert_ne!(values[0], values[1]);
    }
}

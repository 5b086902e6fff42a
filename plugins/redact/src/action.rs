//! What is done to a thing that is to be hidden.

use hmac::{Hmac, Mac};
use parts::json::{self, Kind, RawValue};
use serde_json::Value;
use sha2::Sha256;

/// What is done, the weakest first: where two paths meet, the strongest stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// A keyed hash takes its place, so that equal things can still be told to be equal.
    Hash,
    /// This takes its place: as JSON, and as bytes if it is a text.
    Replace { json: String, text: Option<String> },
    /// Nothing takes its place.
    Remove,
}

/// The key of the hashes.
pub struct Secret(pub Hmac<Sha256>);

impl Action {
    /// Puts this in the place.
    pub fn replace(value: &Value) -> Action {
        Action::Replace { json: value.to_string(), text: value.as_str().map(str::to_owned) }
    }

    /// Whether it can be done to bytes that are no JSON.
    pub fn is_text(&self) -> bool {
        !matches!(self, Action::Replace { text: None, .. })
    }

    /// What takes the place of a piece of JSON; `None` if it goes with its name.
    pub fn on_json(&self, piece: &RawValue, secret: Option<&Secret>) -> Option<String> {
        match self {
            Action::Remove => None,
            Action::Replace { json, .. } => Some(json.clone()),
            // Of a string the text, so that its hash is that of the same key or header.
            Action::Hash if Kind::of(piece) == Kind::String => {
                let text =
                    json::text(piece).map_or(piece.get().as_bytes().to_vec(), String::into_bytes);
                Some(format!(r#""{}""#, hash(&text, secret)))
            }
            Action::Hash => Some(format!(r#""{}""#, hash(piece.get().as_bytes(), secret))),
        }
    }

    /// What takes the place of bytes; `None` if nothing does.
    pub fn on_bytes(&self, bytes: &[u8], secret: Option<&Secret>) -> Option<Vec<u8>> {
        match self {
            Action::Remove => None,
            Action::Replace { text, .. } => Some(text.clone().unwrap_or_default().into_bytes()),
            Action::Hash => Some(hash(bytes, secret).into_bytes()),
        }
    }
}

/// HMAC-SHA-256 in hex. A config without a secret has no hashes.
fn hash(bytes: &[u8], secret: Option<&Secret>) -> String {
    let Some(Secret(keyed)) = secret else { return String::new() };
    let digest = keyed.clone().chain_update(bytes).finalize().into_bytes();
    digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect()
}

fn hex_digit(of: u8) -> char {
    char::from_digit(of.into(), 16).unwrap_or('0')
}

//! What an event is about: found where the configuration says, named in the state and to people.

use std::borrow::Cow;

use serde_json::Value;
use sha2::{Digest, Sha256};
use weir_plugin::Event;

use crate::config::KeySource;
use crate::day::Day;

/// Longer keys are refused, so that a publisher's key can never make a notice that does not fit.
const KEY_BYTES_MAX: usize = 4096;

/// Keys up to here stand in the state as they are; longer ones as their SHA-256. It must be a
/// cryptographic one: publishers choose keys, and two with one hash would share a limit.
const PLAIN_BYTES_MAX: usize = 128;

/// What of a key a message shows: a message takes 512 bytes.
const SHORT_CHARS: usize = 48;

/// A key that can be counted.
pub struct Key(Vec<u8>);

impl Key {
    /// The key of an event, or what was looked for and not found.
    pub fn of(event: &Event, source: &KeySource) -> Result<Key, String> {
        let key = match source {
            KeySource::Event => event.key.clone().ok_or_else(|| {
                "The event has no key; publish it with the key that its daily limit is counted by".to_string()
            })?,
            KeySource::Pointer(pointer) => found_at(pointer, &event.value)?.into_bytes(),
        };
        match key.len() {
            0..=KEY_BYTES_MAX => Ok(Key(key)),
            long => Err(format!(
                "The key is {long} bytes long; keys of up to {KEY_BYTES_MAX} bytes are counted"
            )),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text; what is no UTF-8 in it becomes U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// As one line of text for a message, cut where it is long.
    pub fn short(&self) -> String {
        let text = self.text();
        let mut chars =
            text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
        let mut short: String = chars.by_ref().take(SHORT_CHARS).collect();
        if chars.next().is_some() {
            short.push('…');
        }
        short
    }

    /// Its state key for a day.
    ///
    /// ```text
    /// | form u8: 'k' plain, 'h' hashed | day u64 BE | the key, or its SHA-256 ... |
    /// ```
    pub fn cell(&self, day: Day) -> Vec<u8> {
        let (form, name): (u8, Cow<'_, [u8]>) = if self.0.len() <= PLAIN_BYTES_MAX {
            (b'k', Cow::Borrowed(&self.0))
        } else {
            (b'h', Cow::Owned(Sha256::digest(&self.0).to_vec()))
        };
        [&[form], day.to_be_bytes().as_slice(), &name].concat()
    }
}

fn found_at(pointer: &str, value: &[u8]) -> Result<String, String> {
    let json: Value = serde_json::from_slice(value)
        .map_err(|_| format!("The value is not JSON, so {pointer} was not looked for"))?;
    match json.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(flag)) => Ok(flag.to_string()),
        None => Err(format!("There is nothing at {pointer}; a daily limit is counted by it")),
        Some(Value::Null) => {
            Err(format!("There is null at {pointer}; a daily limit is counted by it"))
        }
        Some(Value::Array(_) | Value::Object(_)) => Err(format!(
            "What is at {pointer} must be a string, a number or a bool to be counted by"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_keys_are_short_and_each_its_own() {
        let day = Day::of(0);
        let cell = |key: &[u8], day| Key(key.to_vec()).cell(day);
        assert_eq!(cell(b"N1", day), b"k\0\0\0\0\0\0\0\0N1");
        let cells = [
            cell(b"", day),
            cell(b"N1", Day::of(u64::MAX)),
            cell(&[b'x'; PLAIN_BYTES_MAX], day),
            cell(&[b'x'; PLAIN_BYTES_MAX + 1], day),
            cell(&[b'x'; PLAIN_BYTES_MAX + 2], day),
            cell(&Sha256::digest([b'x'; PLAIN_BYTES_MAX + 1]), day),
        ];
        for (i, cell) in cells.iter().enumerate() {
            assert!(cell.len() <= 256);
            assert!(!cells[..i].contains(cell));
        }
    }

    #[test]
    fn a_message_shows_a_key_in_one_short_line() {
        for (key, short) in [
            (b"N14228".to_vec(), "N14228".to_string()),
            (vec![0xff, b'a'], "\u{fffd}a".into()),
            (b"a\nb\x1b[31m".to_vec(), "a\u{fffd}b\u{fffd}[31m".into()),
            (vec![b'x'; SHORT_CHARS], "x".repeat(SHORT_CHARS)),
            (vec![b'x'; SHORT_CHARS + 1], "x".repeat(SHORT_CHARS) + "…"),
        ] {
            assert_eq!(Key(key).short(), short);
        }
    }
}

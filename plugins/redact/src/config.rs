//! The binding's configuration, checked whole before the first event.

use hmac::{Hmac, KeyInit};
use parts::config::Fields;
use parts::json::Path;
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::action::{Action, Secret};
use crate::tree::Tree;

/// What the operator wrote.
pub struct Config {
    pub fields: Tree,
    /// By name.
    pub headers: Vec<(String, Action)>,
    pub key: Option<Action>,
    pub not_json: NotJson,
    pub secret: Option<Secret>,
}

/// What becomes of a value that is not JSON, while fields are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotJson {
    Reject,
    Accept,
}

/// Each field and header of a list is looked for in each event.
const NAMED_MAX: usize = 64;

/// A secret shorter than this can be guessed; SHA-256 uses 64 bytes at most as they are.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

const EXAMPLE: &str = r#"{"fields":{"/user/email":"hash","/card":"remove","/name":{"replace":"***"}},"hash_key":"HEX"}"#;

impl Config {
    /// Reads the JSON; an error is one sentence that says what to write.
    pub fn parse(json: &str) -> Result<Config, String> {
        let known = ["fields", "headers", "key", "not_json", "hash_key"];
        let mut fields = Fields::parse(json, &known, r#"{"fields":{"/card":"remove"}}"#)?;
        let secret = fields.take("hash_key").map(|field| secret(&field)).transpose()?;
        let mut tree = Tree::default();
        for (path, said) in object("fields", fields.take("fields"))? {
            let action = action("fields", &path, &said)?;
            let path = Path::parse(&path).ok_or_else(|| {
                format!(
                    r#""fields" must be named by JSON pointers of up to {} bytes that begin with "/", as "/user/email" or "/passengers/*/name" (with ~0 for ~ and ~1 for / in a name), and "{path}" is none"#,
                    Path::BYTES_MAX
                )
            })?;
            tree.add(path.names(), action);
        }
        let headers = object("headers", fields.take("headers"))?
            .into_iter()
            .map(|(name, said)| action("headers", &name, &said).map(|action| (name, action)))
            .collect::<Result<Vec<_>, _>>()?;
        let key = fields.take("key").map(|said| action("key", "key", &said)).transpose()?;
        if key
            .iter()
            .chain(headers.iter().map(|(_, action)| action))
            .any(|action| !action.is_text())
        {
            return Err(r#""headers" and "key" are bytes and no JSON; replace them by a text, as {"replace":"***"}"#.into());
        }
        let all = || tree.actions().chain(headers.iter().map(|(_, action)| action)).chain(&key);
        if all().next().is_none() {
            return Err(format!(
                r#"nothing is named that is to be redacted; write "fields", "headers" or "key", as in {EXAMPLE}"#
            ));
        }
        if secret.is_none() && all().any(|action| *action == Action::Hash) {
            return Err(r#""hash_key" is missing; write the secret that "hash" is keyed with, as hex of 16 to 64 random bytes"#.into());
        }
        let not_json = match fields.word("not_json", &["reject", "accept"])? {
            "accept" => NotJson::Accept,
            _ => NotJson::Reject,
        };
        Ok(Config { fields: tree, headers, key, not_json, secret })
    }
}

fn object(name: &str, field: Option<Value>) -> Result<Map<String, Value>, String> {
    match field {
        None => Ok(Map::new()),
        Some(Value::Object(named)) if named.len() <= NAMED_MAX => Ok(named),
        Some(_) => Err(format!(
            r#""{name}" must be an object of up to {NAMED_MAX} names, each with what to do, as in {EXAMPLE}"#
        )),
    }
}

fn action(list: &str, name: &str, said: &Value) -> Result<Action, String> {
    let replacement = || match said {
        Value::Object(fields) if fields.len() == 1 => fields.get("replace"),
        _ => None,
    };
    match said.as_str() {
        Some("remove") => Ok(Action::Remove),
        Some("hash") => Ok(Action::Hash),
        _ => replacement().map(Action::replace).ok_or_else(|| {
            format!(r#"in "{list}", "{name}" must have "remove", "hash" or {{"replace":…}}, as in {EXAMPLE}"#)
        }),
    }
}

fn secret(field: &Value) -> Result<Secret, String> {
    field
        .as_str()
        .and_then(bytes_of_hex)
        .filter(|bytes| SECRET_BYTES.contains(&bytes.len()))
        .and_then(|bytes| Hmac::<Sha256>::new_from_slice(&bytes).ok())
        .map(Secret)
        // Without what was written: a secret has no place in an error.
        .ok_or_else(|| r#""hash_key" must be hex of 16 to 64 bytes, 32 to 128 digits"#.into())
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_refused_in_a_sentence_that_says_what_to_write() {
        let long = format!(r#"{{"fields":{{"/{}":"remove"}}}}"#, "x".repeat(300));
        for (json, says) in [
            ("{}", "nothing is named"),
            (r#"{"fields":{}}"#, "nothing is named"),
            (r#"{"fields":["/a"]}"#, r#""fields" must be an object"#),
            (r#"{"fields":{"a":"remove"}}"#, "must be named by JSON pointers"),
            (r#"{"fields":{"":"remove"}}"#, "must be named by JSON pointers"),
            (&long, "of up to 256 bytes"),
            (r#"{"fields":{"/a":"mask"}}"#, r#""/a" must have "remove", "hash" or"#),
            (r#"{"fields":{"/a":{"replace":1,"with":2}}}"#, r#""/a" must have"#),
            (r#"{"fields":{"/a":"hash"}}"#, r#""hash_key" is missing"#),
            (r#"{"fields":{"/a":"hash"},"hash_key":"00"}"#, "hex of 16 to 64 bytes"),
            (r#"{"key":"hash","hash_key":"+0+0+0+0+0+0+0+0+0+0+0+0+0+0+0+0"}"#, "hex of 16"),
            (r#"{"headers":{"a":{"replace":1}}}"#, "replace them by a text"),
            (r#"{"key":"keep"}"#, r#""key" must have "remove""#),
            (r#"{"key":"remove","not_json":"drop"}"#, r#""not_json" must be "reject" or"#),
        ] {
            let error = Config::parse(json).err().expect(json);
            assert!(error.contains(says), "{json} gave: {error}");
        }
    }

    #[test]
    fn a_secret_is_in_no_error() {
        let secret = "0123456789abcdef";
        let error = Config::parse(&format!(r#"{{"key":"hash","hash_key":"{secret}"}}"#)).err();
        assert!(error.is_some_and(|error| !error.contains(secret)));
    }
}

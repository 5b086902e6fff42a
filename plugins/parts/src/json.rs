//! Places in a JSON value, as ranges of its own bytes: what is found is what was written, to the
//! last digit and blank.
//!
//! serde_json checks the syntax and gives the pieces ([`RawValue`]); a level is read only if a path
//! leads into it, so that a look at one field builds no tree. Names may repeat in an object: a
//! look takes the last one, as most readers do; who must see all of them walks [`Entry`]s.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

pub use serde_json::value::RawValue;

/// A JSON pointer (RFC 6901) that begins with `/`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    names: Vec<String>,
}

impl Path {
    /// A pointer is shown in refusals, which take 512 bytes.
    pub const BYTES_MAX: usize = 256;

    /// Reads a pointer; `None` if it does not begin with `/`, is too long, or has a `~` without 0
    /// or 1 behind it.
    pub fn parse(text: &str) -> Option<Path> {
        if text.len() > Path::BYTES_MAX
            || !text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
        {
            return None;
        }
        let names = text.strip_prefix('/')?.split('/');
        let names = names.map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
        Some(Path { text: text.to_owned(), names })
    }

    /// The names and indexes that it goes through, unescaped.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What lies there in a value.
    pub fn find<'a>(&self, root: &'a RawValue) -> Option<&'a RawValue> {
        let mut at = root;
        for name in &self.names {
            at = match Kind::of(at) {
                Kind::Object => {
                    let members = members(at);
                    members.iter().rev().find(|member| member.is_named(name))?.value
                }
                Kind::Array => elements(at).get(index(name)?).copied()?,
                _ => return None,
            };
        }
        Some(at)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An index as RFC 6901 writes it: without leading zeros.
fn index(name: &str) -> Option<usize> {
    let plain = name == "0" || !name.starts_with(['0', '+']);
    if plain { name.parse().ok() } else { None }
}

/// What a piece of JSON is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "JSON's own words")]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// By the first byte, which is enough for what is known to be JSON.
    pub fn of(piece: &RawValue) -> Kind {
        match piece.get().as_bytes().first() {
            Some(b'n') | None => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            Some(_) => Kind::Number,
        }
    }
}

/// Checks a value whole; the error says what is wrong and where.
pub fn parse(value: &[u8]) -> Result<&RawValue, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The name with its quotes, as written.
    pub name: &'a RawValue,
    /// What it has.
    pub value: &'a RawValue,
}

impl Entry<'_> {
    /// Whether this is its name, however it is escaped.
    pub fn is_named(&self, name: &str) -> bool {
        match self.plain_name() {
            Some(plain) => plain == name,
            None => text(self.name).is_some_and(|own| own == name),
        }
    }

    /// The name without its quotes, if nothing in it is escaped.
    pub fn plain_name(&self) -> Option<&str> {
        let inner = self.name.get().strip_prefix('"')?.strip_suffix('"')?;
        (!inner.contains('\\')).then_some(inner)
    }
}

/// The members of an object, in their order; none of anything else.
pub fn members(object: &RawValue) -> Vec<Entry<'_>> {
    serde_json::from_str(object.get()).map_or(Vec::new(), |Members(members)| members)
}

/// The elements of an array, in their order; none of anything else.
pub fn elements(array: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(array.get()).unwrap_or_default()
}

/// The text of a string, unescaped; `None` for anything else, and for half a surrogate pair.
pub fn text(piece: &RawValue) -> Option<String> {
    serde_json::from_str(piece.get()).ok()
}

/// Where a piece lies in the bytes that it was found in.
pub fn range(piece: &RawValue, within: &[u8]) -> Range<usize> {
    let start = piece.get().as_ptr().addr() - within.as_ptr().addr();
    start..start + piece.get().len()
}

struct Members<'a>(Vec<Entry<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    members.push(Entry { name, value });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_finds_what_was_written() {
        let value = br#" { "a/b" : [ 0, {"\u0063":1.50} ], "m~n": 2, "": {"": 3},
            "twice": 1, "twice": 2, "01": [7] } "#;
        let root = parse(value).expect("JSON");
        for (path, found) in [
            ("/a~1b/0", Some("0")),
            ("/a~1b/1/c", Some("1.50")),
            ("/a~1b/01", None),
            ("/a~1b/2", None),
            ("/a~1b/-", None),
            ("/a~1b/+1", None),
            ("/m~0n", Some("2")),
            ("//", Some("3")),
            ("/twice", Some("2")),
            ("/01", Some("[7]")),
            ("/m~0n/x", None),
            ("/none", None),
        ] {
            let found_there = Path::parse(path).expect(path).find(root);
            assert_eq!(found_there.map(RawValue::get), found, "{path}");
            if let Some(piece) = found_there {
                assert_eq!(&value[range(piece, value)], piece.get().as_bytes());
            }
        }
        for wrong in ["", "a", "/a~", "/a~2", &format!("/{}", "x".repeat(256))] {
            assert_eq!(Path::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_json_says_where() {
        for (value, says) in [
            (&b"{\"a\":1,}"[..], "line 1 column 8"),
            (b"user=ann", "line 1 column 1"),
            (b"", "EOF"),
            (b"1 2", "trailing characters"),
            (b"\"\xff\"", "line 1 column"),
        ] {
            let error = parse(value).expect_err("no JSON");
            assert!(error.contains(says), "{error}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_ok(), "depth costs no stack");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(value in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(root) = parse(&value) {
                prop_assert!(range(root, &value).end <= value.len());
            }
        }
    }
}

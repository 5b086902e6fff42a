//! JSON pointers (RFC 6901): where in an event's JSON its key or its timestamp stands.
//!
//! Promises: finding checks the whole text, allocates nothing for what is not asked for, and gives
//! the value as it stands in the text. Of a name that stands twice, the last counts.
//! Not here: what the value found means.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Names of an event's fields that a sentence lists at most: enough to see the typing error.
const FIELDS_LISTED_MAX: usize = 20;

/// A place in a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

impl Pointer {
    /// The value at this place, as it stands in `json`; `None` where there is nothing.
    /// An error if `json` is not one whole JSON value.
    pub fn find<'j>(&self, json: &'j str) -> Result<Option<&'j RawValue>, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let found = At(&self.tokens).deserialize(&mut reader)?;
        reader.end()?;
        Ok(found)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self { text: String::new(), tokens: Vec::new() });
        }
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("a JSON pointer begins with a slash; did you mean /{text}?"));
        };
        let tokens = path.split('/').map(unescape).collect::<Option<_>>().ok_or(
            "in a JSON pointer, write ~ as ~0 and a / inside a name as ~1 (RFC 6901)".to_owned(),
        )?;
        Ok(Self { text: text.to_owned(), tokens })
    }
}

/// Whether `json` is one whole JSON value.
pub fn check(json: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<IgnoredAny>(json).map(|_| ())
}

/// The fields of the object `json` as pointers, for a sentence about a pointer that found nothing.
pub fn fields(json: &str) -> String {
    let Ok(object) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json)
    else {
        return "none, since it is no object".to_owned();
    };
    let escape =
        |name: &String| printable(&format!("/{}", name.replace('~', "~0").replace('/', "~1")));
    let mut names: Vec<String> = object.keys().take(FIELDS_LISTED_MAX).map(escape).collect();
    match object.len() {
        0 => return "none".to_owned(),
        all if all > FIELDS_LISTED_MAX => names.push("…".to_owned()),
        _ => {}
    }
    names.join(" ")
}

/// The same text on one line, and without a word to the terminal: control characters, and those that
/// turn the direction of what follows, are written as `\u{1b}`.
pub fn printable(text: &str) -> String {
    let turns = |letter| {
        matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
    };
    let escaped =
        |letter: char| (letter.is_control() || turns(letter)).then(|| letter.escape_unicode());
    text.chars().fold(String::with_capacity(text.len()), |mut out, letter| {
        match escaped(letter) {
            Some(escape) => out.extend(escape),
            None => out.push(letter),
        }
        out
    })
}

/// One token with `~1` and `~0` read; `None` for any other use of `~`.
fn unescape(token: &str) -> Option<String> {
    let mut name = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(letter) = rest.next() {
        name.push(match letter {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(name)
}

/// Reads one value and keeps what stands at these tokens.
struct At<'t>(&'t [String]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(reader).map(Some),
            [token, rest @ ..] => reader.deserialize_any(Inside { token, rest }),
        }
    }
}

/// Looks for one token inside a value; a value that is neither object nor array has nothing inside.
struct Inside<'t> {
    token: &'t str,
    rest: &'t [String],
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(NameIs(self.token))? {
            if is_it {
                found = map.next_value_seed(At(self.rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let wanted = array_index(self.token);
        let mut found = None;
        for index in 0.. {
            if wanted == Some(index) {
                match list.next_element_seed(At(self.rest))? {
                    Some(inner) => found = inner,
                    None => break,
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// RFC 6901: digits, no leading zero. `-` is the place behind the last element: nothing is there.
fn array_index(token: &str) -> Option<usize> {
    let is_plain = token == "0" || !token.starts_with('0');
    let digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    (is_plain && digits).then(|| token.parse().ok()).flatten()
}

/// Compares a member's name without keeping it.
struct NameIs<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for NameIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for NameIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pointer: &str, json: &str) -> String {
        let pointer: Pointer = pointer.parse().expect(pointer);
        match pointer.find(json) {
            Ok(Some(value)) => value.get().to_owned(),
            Ok(None) => "nothing".to_owned(),
            Err(_) => "not JSON".to_owned(),
        }
    }

    /// The table of RFC 6901, section 5, and what it leaves open.
    #[test]
    fn pointers_find_what_the_rfc_says() {
        let document = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        for (pointer, value) in [
            ("", document),
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", r#""bar""#),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
            ("/foo/2", "nothing"),
            ("/foo/-", "nothing"),
            ("/foo/00", "nothing"),
            ("/foo/0/x", "nothing"),
            ("/nowhere", "nothing"),
        ] {
            assert_eq!(find(pointer, document), value, "{pointer:?}");
        }
    }

    #[test]
    fn values_stand_as_they_were_written() {
        assert_eq!(find("/a/b", r#"{"a":{"b":1.50e3},"x":[{}]}"#), "1.50e3");
        assert_eq!(find("/a", r#"{"a":null}"#), "null");
        assert_eq!(find("/a", r#"{"a":1,"b":2,"a":3}"#), "3");
        assert_eq!(find("/a", "[1]"), "nothing");
        assert_eq!(find("/a", "7"), "nothing");
    }

    #[test]
    fn the_whole_text_is_checked() {
        for text in [r#"{"a":1"#, r#"{"a":1}}"#, r#"{"b":tru,"a":1}"#, "", r#"{"a":1} x"#] {
            assert_eq!(find("/a", text), "not JSON", "{text}");
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pointer_that_is_none_says_what_one_looks_like() {
        assert_eq!(
            "tailnum".parse::<Pointer>(),
            Err("a JSON pointer begins with a slash; did you mean /tailnum?".to_owned())
        );
        assert!("/a~2".parse::<Pointer>().is_err());
        assert!("/a~".parse::<Pointer>().is_err());
    }

    #[test]
    fn fields_are_listed_as_pointers() {
        assert_eq!(fields(r#"{"a/b":1,"c":{}}"#), "/a~1b /c");
        // Found by `fuzz/`: a sentence of two lines.
        assert_eq!(fields(r#"{"a\nb":1,"\u001b[2J":1}"#), "/\\u{1b}[2J /a\\u{a}b");
        assert_eq!(fields("[1]"), "none, since it is no object");
        assert_eq!(fields("{}"), "none");
    }
}

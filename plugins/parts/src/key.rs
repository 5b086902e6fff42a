//! What an event is about: found where the config says, named in the state and to people.

use std::borrow::Cow;
use std::ops::Deref;

use sha2::{Digest, Sha256};
use weir_plugin::{Event, context};

use crate::json::{self, Kind, Path, RawValue};
use crate::number::Number;
use crate::text;

/// Where a key is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The event's own key.
    Event,
    /// The principal who published.
    Publisher,
    /// The last header of this name.
    Header(String),
    /// A JSON pointer into the value.
    Pointer(Path),
}

/// A header's name is shown in refusals, which take 512 bytes.
const HEADER_BYTES_MAX: usize = 256;

impl Source {
    /// Reads `event`, `publisher`, `header:NAME` or a JSON pointer.
    pub fn parse(text: &str) -> Option<Source> {
        match text {
            "event" => Some(Source::Event),
            "publisher" => Some(Source::Publisher),
            _ => match text.strip_prefix("header:") {
                Some(name) if (1..=HEADER_BYTES_MAX).contains(&name.len()) => {
                    Some(Source::Header(name.into()))
                }
                Some(_) => None,
                None => Path::parse(text).map(Source::Pointer),
            },
        }
    }

    /// What is there, as bytes; or what was looked for and not found, for the publisher.
    pub fn find<'a>(&self, event: &'a Event, purpose: &Purpose) -> Result<Cow<'a, [u8]>, String> {
        let found = match self {
            Source::Event => event.key.as_deref().map(Cow::Borrowed).ok_or_else(|| {
                format!("The event has no key; publish it with the key that {}", purpose.by)
            })?,
            Source::Publisher => Cow::Owned(context::publisher().into_bytes()),
            Source::Header(name) => {
                let header = event.header(name).ok_or_else(|| {
                    let name = text::short(name.as_bytes());
                    format!(
                        "The event has no header {name}; publish it with the one that {}",
                        purpose.by
                    )
                })?;
                Cow::Borrowed(header)
            }
            Source::Pointer(path) => {
                Cow::Owned(found_at(path, &event.value, purpose)?.into_bytes())
            }
        };
        purpose.short_enough(found)
    }
}

/// How a rule speaks of what it does by a key.
#[derive(Debug)]
pub struct Purpose {
    /// Behind "the key that": `its daily limit is counted by`.
    pub by: &'static str,
    /// Behind "there is nothing at /x;": `a daily limit is counted by it`.
    pub by_it: &'static str,
    /// Behind "keys of up to 4096 bytes are", and "to be … by": `counted`.
    pub done: &'static str,
}

impl Purpose {
    /// What was found, if it can be a key.
    fn short_enough<'a>(&self, found: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>, String> {
        match found.len() {
            0..=KEY_BYTES_MAX => Ok(found),
            long => Err(format!(
                "The key is {long} bytes long; keys of up to {KEY_BYTES_MAX} bytes are {}",
                self.done
            )),
        }
    }
}

/// Longer keys are refused, so that a publisher's key can never make a side event that does not
/// fit.
pub const KEY_BYTES_MAX: usize = 4096;

/// Keys up to here stand in the state as they are; longer ones as their SHA-256. It must be a
/// cryptographic one: publishers choose keys, and two with one hash would share what is kept.
pub const PLAIN_BYTES_MAX: usize = 128;

/// A key that something can be kept by. One that the event has itself is not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<'a>(Cow<'a, [u8]>);

impl<'a> Key<'a> {
    /// The key of an event, or what was looked for and not found.
    pub fn of(event: &'a Event, source: &Source, purpose: &Purpose) -> Result<Key<'a>, String> {
        source.find(event, purpose).map(Key)
    }

    /// A key of these bytes, or why they are none.
    pub fn new(bytes: impl Into<Cow<'a, [u8]>>, purpose: &Purpose) -> Result<Key<'a>, String> {
        purpose.short_enough(bytes.into()).map(Key)
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
        text::short(&self.0)
    }

    /// Its state key, behind `place`, which has one length in all of a rule's keys.
    ///
    /// ```text
    /// | form u8: 'k' plain, 'h' hashed | place ... | the key, or its SHA-256 ... |
    /// ```
    #[inline]
    pub fn cell(&self, place: &[u8]) -> Cell {
        if self.0.len() <= PLAIN_BYTES_MAX {
            Cell::of(b'k', place, &self.0)
        } else {
            Cell::of(b'h', place, &Sha256::digest(&self.0))
        }
    }
}

/// A state key. One is made for each event, so that the usual ones lie on the stack; a larger place
/// there would cost more than it saves, as clearing and moving it are paid by the byte.
#[derive(Debug)]
pub enum Cell {
    /// Its bytes, and how many they are.
    Short([u8; SHORT_BYTES_MAX], usize),
    /// One that is longer.
    Long(Vec<u8>),
}

/// A day and a UUID as text fit.
const SHORT_BYTES_MAX: usize = 48;

impl Cell {
    #[inline]
    fn of(form: u8, place: &[u8], name: &[u8]) -> Cell {
        let (named_at, len) = (1 + place.len(), 1 + place.len() + name.len());
        if SHORT_BYTES_MAX < len {
            return Cell::Long([&[form], place, name].concat());
        }
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes[0] = form;
        bytes[1..named_at].copy_from_slice(place);
        bytes[named_at..len].copy_from_slice(name);
        Cell::Short(bytes, len)
    }
}

impl Deref for Cell {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Cell::Short(bytes, len) => &bytes[..*len],
            Cell::Long(bytes) => bytes,
        }
    }
}

fn found_at(path: &Path, value: &[u8], purpose: &Purpose) -> Result<String, String> {
    let root = json::parse(value)
        .map_err(|_| format!("The value is not JSON, so {path} was not looked for"))?;
    match path.find(root) {
        None => Err(format!("There is nothing at {path}; {}", purpose.by_it)),
        Some(piece) if Kind::of(piece) == Kind::Null => {
            Err(format!("There is null at {path}; {}", purpose.by_it))
        }
        Some(piece) => scalar(piece).ok_or_else(|| {
            format!(
                "What is at {path} must be a string, a number or a bool to be {} by",
                purpose.done
            )
        }),
    }
}

/// The text of a string, a number or a bool: equal ones have one text, however they are written.
pub fn scalar(piece: &RawValue) -> Option<String> {
    match Kind::of(piece) {
        Kind::String => json::text(piece),
        Kind::Bool => Some(piece.get().to_owned()),
        Kind::Number => Number::parse(piece.get()).map(|number| number.to_string()),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_plugin::fake;

    const PURPOSE: Purpose =
        Purpose { by: "it is counted by", by_it: "it is counted by that", done: "counted" };

    #[test]
    fn state_keys_are_short_and_each_its_own() {
        let cell = |key: &[u8], place: u64| {
            Key::new(key, &PURPOSE).expect("a key").cell(&place.to_be_bytes()).to_vec()
        };
        assert_eq!(cell(b"N1", 0), b"k\0\0\0\0\0\0\0\0N1");
        let cells = [
            cell(b"", 0),
            cell(b"N1", u64::MAX),
            cell(&[b'x'; PLAIN_BYTES_MAX], 0),
            cell(&[b'x'; PLAIN_BYTES_MAX + 1], 0),
            cell(&[b'x'; PLAIN_BYTES_MAX + 2], 0),
            cell(&Sha256::digest([b'x'; PLAIN_BYTES_MAX + 1]), 0),
        ];
        for (i, cell) in cells.iter().enumerate() {
            assert!(cell.len() <= 256);
            assert!(!cells[..i].contains(cell));
        }
    }

    #[test]
    fn each_source_finds_its_key_or_says_what_it_looked_for() {
        let value = r#"{"id":"ann","n":1.0,"yes":true,"no":null,"list":[],"half":"\ud800"}"#;
        let event = || Event::new(value).key("own").with_header("user", "bob");
        let mut host = fake::Host { publisher: "client:web".into(), ..fake::Host::default() };
        for (source, event, found) in [
            ("event", event(), Ok("own")),
            ("publisher", event(), Ok("client:web")),
            ("header:user", event(), Ok("bob")),
            ("/id", event(), Ok("ann")),
            ("/n", event(), Ok("1")),
            ("/yes", event(), Ok("true")),
            ("event", Event::new(value), Err("publish it with the key that it is counted by")),
            ("header:User", event(), Err("The event has no header User; publish it with the one")),
            ("/no", event(), Err("There is null at /no; it is counted by that")),
            ("/none", event(), Err("There is nothing at /none; it is counted by that")),
            ("/list", event(), Err("must be a string, a number or a bool to be counted by")),
            ("/half", event(), Err("must be a string, a number or a bool to be counted by")),
            ("/id", Event::new("id=ann"), Err("The value is not JSON, so /id was not looked for")),
            ("event", Event::new("").key([7; 4097]), Err("keys of up to 4096 bytes are counted")),
        ] {
            let source_parsed = Source::parse(source).expect(source);
            match (host.run(|| Key::of(&event, &source_parsed, &PURPOSE)), found) {
                (Ok(key), Ok(found)) => assert_eq!(key.text(), found, "{source}"),
                (Err(why), Err(says)) => assert!(why.contains(says), "{source} gave: {why}"),
                (found, _) => panic!("{source} gave: {found:?}"),
            }
        }
        for wrong in ["", "user", "header:", "/~"] {
            assert_eq!(Source::parse(wrong), None, "{wrong}");
        }
    }
}

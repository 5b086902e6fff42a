//! A binding's config: a JSON object with known fields, each error a sentence for the operator.

use serde_json::{Map, Value};

use crate::json::Path;
use crate::key::Source;

/// The fields of a config, all of which the rule knows.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

/// The longest time that a config may name: a year, and a day for leap years.
const DURATION_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1000;

/// Where an operator can look for what a duration is.
const DURATION_FORM: &str =
    r#"must be a duration from "1ms" to "366d": a whole number with ms, s, m, h or d, as "10m""#;

impl Fields {
    /// Reads a whole config; `least` is the shortest one that the rule takes.
    pub fn parse(json: &str, known: &[&str], least: &str) -> Result<Fields, String> {
        match serde_json::from_str(json) {
            Ok(Value::Object(fields)) => Fields::of(fields, known),
            Ok(_) => Err(format!("write the config as a JSON object, at least {least}")),
            Err(error) => Err(format!("the config is not JSON ({error}); write at least {least}")),
        }
    }

    /// Takes an object inside a config.
    pub fn of(fields: Map<String, Value>, known: &[&str]) -> Result<Fields, String> {
        match fields.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Fields(fields)),
            Some(name) => {
                Err(format!(r#"there is no field "{name}"; write {}"#, alternatives(known)))
            }
        }
    }

    /// A field, if it is there.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Takes a field out.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A whole number of at least 1 that must be there. `example` shows it in a config.
    pub fn count(&self, name: &str, most: u64, example: &str) -> Result<u64, String> {
        match self.get(name).map(Value::as_u64) {
            None => Err(format!(r#""{name}" is missing; write it, as in {example}"#)),
            Some(Some(count)) if (1..=most).contains(&count) => Ok(count),
            Some(_) => {
                Err(format!(r#""{name}" must be a whole number from 1 to {most}, as in {example}"#))
            }
        }
    }

    /// A duration in milliseconds that must be there.
    pub fn duration_ms(&self, name: &str, example: &str) -> Result<u64, String> {
        let Some(field) = self.get(name) else {
            return Err(format!(r#""{name}" is missing; write it, as in {example}"#));
        };
        field
            .as_str()
            .and_then(duration_ms)
            .ok_or_else(|| format!(r#""{name}" {DURATION_FORM}, as in {example}"#))
    }

    /// One word of a few; the first one if the field is not there.
    pub fn word<'a>(&self, name: &str, words: &[&'a str]) -> Result<&'a str, String> {
        let said = match self.get(name) {
            None => return words.first().copied().ok_or_else(|| format!("no words for {name}")),
            Some(field) => field.as_str(),
        };
        words
            .iter()
            .find(|word| said == Some(**word))
            .copied()
            .ok_or_else(|| format!(r#""{name}" must be {}"#, alternatives(words)))
    }

    /// Where a key is found; the event's own key if the field is not there.
    pub fn source(&self, name: &str) -> Result<Source, String> {
        match self.get(name) {
            None => Ok(Source::Event),
            Some(field) => source(name, field),
        }
    }
}

/// Where a key is found, from a value of the field `name`.
pub fn source(name: &str, field: &Value) -> Result<Source, String> {
    field.as_str().and_then(Source::parse).ok_or_else(|| {
        format!(
            r#""{name}" must be "event" (its own key), "publisher", "header:NAME" or a JSON pointer of up to {} bytes, as "/user/id" (with ~0 for ~ and ~1 for / in a name)"#,
            Path::BYTES_MAX
        )
    })
}

/// A duration as `10m`, in milliseconds.
fn duration_ms(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    (1..=DURATION_MS_MAX).contains(&ms).then_some(ms)
}

/// A duration for people, in its largest whole unit.
pub fn duration(ms: u64) -> String {
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms != 0 && ms.is_multiple_of(unit_ms) {
            return format!("{} {unit}", ms / unit_ms);
        }
    }
    format!("{ms} ms")
}

/// `"a", "b" or "c"`.
pub fn alternatives(words: &[&str]) -> String {
    let mut list = String::new();
    for (place, word) in words.iter().enumerate() {
        list += match place {
            0 => "",
            _ if place + 1 == words.len() => " or ",
            _ => ", ",
        };
        list += &format!(r#""{word}""#);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_with_a_unit() {
        for (text, ms) in [
            ("1ms", Some(1)),
            ("90s", Some(90_000)),
            ("10m", Some(600_000)),
            ("24h", Some(86_400_000)),
            ("366d", Some(DURATION_MS_MAX)),
            ("367d", None),
            ("0s", None),
            ("10", None),
            ("m", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("1h30m", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
        for (ms, text) in [(1, "1 ms"), (1500, "1500 ms"), (60_000, "1 m"), (0, "0 ms")] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn what_is_wrong_is_refused_in_a_sentence_that_says_what_to_write() {
        let least = r#"{"n":1}"#;
        let parse = |json| Fields::parse(json, &["n", "per", "how", "key"], least);
        for (json, says) in [
            ("", r#"write at least {"n":1}"#),
            ("[]", r#"as a JSON object, at least {"n":1}"#),
            (r#"{"x":1}"#, r#"there is no field "x"; write "n", "per", "how" or "key""#),
        ] {
            let error = parse(json).expect_err(json);
            assert!(error.contains(says), "{json} gave: {error}");
        }
        for (json, says) in [
            ("{}", r#""n" is missing"#),
            (r#"{"n":0}"#, r#""n" must be a whole number from 1 to 9"#),
            (r#"{"n":10}"#, r#""n" must be a whole number from 1 to 9"#),
            (r#"{"n":1.5}"#, r#""n" must be a whole number from 1 to 9"#),
            (r#"{"n":1}"#, r#""per" is missing"#),
            (r#"{"n":1,"per":60}"#, r#""per" must be a duration"#),
            (r#"{"n":1,"per":"1m","how":"c"}"#, r#""how" must be "a" or "b""#),
            (r#"{"n":1,"per":"1m","how":null}"#, r#""how" must be "a" or "b""#),
            (r#"{"n":1,"per":"1m","key":"user"}"#, r#""key" must be "event""#),
            (r#"{"n":1,"per":"1m","key":"header:"}"#, r#""key" must be "event""#),
            (r#"{"n":1,"per":"1m","key":"/a~b"}"#, "~0 for ~"),
        ] {
            let fields = parse(json).expect(json);
            let error = fields
                .count("n", 9, least)
                .and_then(|_| fields.duration_ms("per", least))
                .and_then(|_| fields.word("how", &["a", "b"]))
                .and_then(|_| fields.source("key"))
                .expect_err(json);
            assert!(error.contains(says), "{json} gave: {error}");
        }
    }
}

//! The binding's configuration, checked whole before the first event.

use parts::config::Fields;
use parts::json::Path;
use serde_json::Value;

/// What the operator wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Events admitted per key and day: at least 1, and below the bits of the notice flag.
    pub limit: i64,
    pub key: KeySource,
    pub time: TimeSource,
    /// The topic of the side events, if they are wanted.
    pub notice: Option<String>,
}

/// Where an event's key is found.
#[derive(Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The event's own key.
    Event,
    /// A JSON pointer (RFC 6901) into the value.
    Pointer(String),
}

/// Which clock makes the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// The partition time.
    Broker,
    /// The event's own timestamp.
    Event,
}

/// More than this many events of one key a day is no limit that anyone counts by. Far below the
/// flag in the counter's bit 62.
const LIMIT_MAX: i64 = 1_000_000_000_000;

impl Config {
    /// Reads the JSON; an error is one sentence that says what to write.
    pub fn parse(json: &str) -> Result<Config, String> {
        const KNOWN: [&str; 4] = ["limit", "key", "time", "notice"];
        let fields = Fields::parse(json, &KNOWN, r#"{"limit":10}"#)?;
        Ok(Config {
            limit: limit(fields.get("limit"))?,
            key: key(fields.get("key"))?,
            time: time(fields.get("time"))?,
            notice: notice(fields.get("notice"))?,
        })
    }
}

fn limit(field: Option<&Value>) -> Result<i64, String> {
    match field.map(Value::as_i64) {
        Some(Some(limit @ 1..=LIMIT_MAX)) => Ok(limit),
        Some(_) => Err(format!(
            r#""limit" must be a whole number from 1 to {LIMIT_MAX}, as in {{"limit":10}}"#
        )),
        None => {
            Err(r#""limit" is missing; write the events per key and day, as in {"limit":10}"#
                .into())
        }
    }
}

fn key(field: Option<&Value>) -> Result<KeySource, String> {
    match field.map(Value::as_str) {
        None | Some(Some("event")) => Ok(KeySource::Event),
        Some(Some(pointer)) if Path::parse(pointer).is_some() => {
            Ok(KeySource::Pointer(pointer.into()))
        }
        Some(_) => Err(format!(
            r#""key" must be "event" or a JSON pointer of up to {} bytes that begins with "/", as "/user/id" (with ~0 for ~ and ~1 for / in a name)"#,
            Path::BYTES_MAX
        )),
    }
}

fn time(field: Option<&Value>) -> Result<TimeSource, String> {
    match field.map(Value::as_str) {
        None | Some(Some("broker")) => Ok(TimeSource::Broker),
        Some(Some("event")) => Ok(TimeSource::Event),
        Some(_) => Err(r#""time" must be "broker" (when the broker took the event) or "event" (its own timestamp)"#.into()),
    }
}

fn notice(field: Option<&Value>) -> Result<Option<String>, String> {
    match field.map(Value::as_str) {
        None => Ok(None),
        Some(Some(topic)) if !topic.is_empty() => Ok(Some(topic.into())),
        Some(_) => {
            Err(r#""notice" must be the name of a topic, as "notices"; leave it out for none"#
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let least =
            Config { limit: 10, key: KeySource::Event, time: TimeSource::Broker, notice: None };
        assert_eq!(Config::parse(r#"{"limit":10}"#), Ok(least));
        let most = Config {
            limit: 2,
            key: KeySource::Pointer("/a~1b/c".into()),
            time: TimeSource::Event,
            notice: Some("notices".into()),
        };
        let json = r#"{"limit":2,"key":"/a~1b/c","time":"event","notice":"notices"}"#;
        assert_eq!(Config::parse(json), Ok(most));
    }

    #[test]
    fn what_is_wrong_is_refused_in_a_sentence_that_says_what_to_write() {
        for (json, says) in [
            ("", r#"write at least {"limit":10}"#),
            ("null", "write the config as a JSON object"),
            ("[10]", "write the config as a JSON object"),
            ("{}", r#""limit" is missing"#),
            (r#"{"limit":0}"#, r#""limit" must be a whole number from 1"#),
            (r#"{"limit":-1}"#, r#""limit" must be a whole number from 1"#),
            (r#"{"limit":1.5}"#, r#""limit" must be a whole number from 1"#),
            (r#"{"limit":"10"}"#, r#""limit" must be a whole number from 1"#),
            (r#"{"limit":null}"#, r#""limit" must be a whole number from 1"#),
            (r#"{"limit":9223372036854775807}"#, "to 1000000000000"),
            (r#"{"limit":1,"key":"tailnum"}"#, r#"begins with "/""#),
            (r#"{"limit":1,"key":""}"#, r#"begins with "/""#),
            (r#"{"limit":1,"key":"/a~b"}"#, "~0 for ~"),
            (r#"{"limit":1,"key":["/a"]}"#, r#""key" must be "event" or"#),
            (r#"{"limit":1,"key":null}"#, r#""key" must be "event" or"#),
            (r#"{"limit":1,"time":"utc"}"#, r#""time" must be "broker""#),
            (r#"{"limit":1,"notice":""}"#, r#""notice" must be the name of a topic"#),
            (r#"{"limit":1,"notice":true}"#, r#""notice" must be the name of a topic"#),
            (r#"{"limit":1,"Notice":"n"}"#, r#"there is no field "Notice""#),
        ] {
            let error = Config::parse(json).expect_err(json);
            assert!(error.contains(says), "{json} gave: {error}");
        }
    }
}

//! The binding's configuration, checked whole before the first event.

use parts::config::{self, Fields};
use parts::key::Source;
use serde_json::Value;

/// What the operator wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// What makes two events the same; all of it must agree.
    pub by: Vec<By>,
    pub window_ms: u64,
    /// Whether a duplicate begins the window anew.
    pub slides: bool,
    pub duplicate: Duplicate,
    pub missing: Missing,
}

/// One thing that two events are compared by.
#[derive(Debug, PartialEq, Eq)]
pub enum By {
    /// All bytes of the value.
    Value,
    /// What is found there; and the words of the config that say where, as part of the state key.
    Found(Source, String),
}

/// What becomes of a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicate {
    Drop,
    Reject,
}

/// What becomes of an event in which something to compare by is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Reject,
    Accept,
}

/// More fields than these name a whole value; `"value"` is for that.
const BY_MAX: usize = 8;

const EXAMPLE: &str = r#"{"by":"/id","window":"10m"}"#;

impl Config {
    /// Reads the JSON; an error is one sentence that says what to write.
    pub fn parse(json: &str) -> Result<Config, String> {
        let known = ["by", "window", "slides", "duplicate", "missing"];
        let fields = Fields::parse(json, &known, EXAMPLE)?;
        let by = match fields.get("by") {
            None => {
                return Err(format!(
                    r#""by" is missing; write what makes two events the same, as in {EXAMPLE}"#
                ));
            }
            Some(Value::Array(list)) if (1..=BY_MAX).contains(&list.len()) => {
                list.iter().map(by).collect::<Result<_, _>>()?
            }
            Some(Value::Array(_)) => {
                return Err(format!(
                    r#""by" must name from 1 to {BY_MAX} things, as ["publisher","/id"]"#
                ));
            }
            Some(one) => vec![by(one)?],
        };
        Ok(Config {
            by,
            window_ms: fields.duration_ms("window", EXAMPLE)?,
            slides: match fields.get("slides").map(Value::as_bool) {
                None => false,
                Some(Some(slides)) => slides,
                Some(None) => {
                    return Err(
                        r#""slides" must be true (each duplicate begins the window anew) or false"#
                            .into(),
                    );
                }
            },
            duplicate: match fields.word("duplicate", &["drop", "reject"])? {
                "reject" => Duplicate::Reject,
                _ => Duplicate::Drop,
            },
            missing: match fields.word("missing", &["reject", "accept"])? {
                "accept" => Missing::Accept,
                _ => Missing::Reject,
            },
        })
    }
}

fn by(field: &Value) -> Result<By, String> {
    let words = field.as_str().unwrap_or_default();
    if words == "value" {
        return Ok(By::Value);
    }
    match config::source("by", field) {
        Ok(source) => Ok(By::Found(source, words.to_owned())),
        Err(why) => Err(format!(r#"{why}, or "value" for all bytes of it, or a list of these"#)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let found = |words: &str| By::Found(Source::parse(words).expect(words), words.into());
        let least = Config {
            by: vec![found("/id")],
            window_ms: 600_000,
            slides: false,
            duplicate: Duplicate::Drop,
            missing: Missing::Reject,
        };
        assert_eq!(Config::parse(EXAMPLE), Ok(least));
        let most = Config {
            by: vec![found("publisher"), By::Value],
            window_ms: 1,
            slides: true,
            duplicate: Duplicate::Reject,
            missing: Missing::Accept,
        };
        let json = r#"{"by":["publisher","value"],"window":"1ms","slides":true,"duplicate":"reject","missing":"accept"}"#;
        assert_eq!(Config::parse(json), Ok(most));
    }

    #[test]
    fn what_is_wrong_is_refused_in_a_sentence_that_says_what_to_write() {
        for (json, says) in [
            ("{}", r#""by" is missing"#),
            (r#"{"by":"/id"}"#, r#""window" is missing"#),
            (r#"{"by":"id","window":"1s"}"#, r#""by" must be "event""#),
            (r#"{"by":"id","window":"1s"}"#, r#"or "value" for all bytes"#),
            (r#"{"by":7,"window":"1s"}"#, r#""by" must be "event""#),
            (r#"{"by":[],"window":"1s"}"#, r#""by" must name from 1 to 8 things"#),
            (r#"{"by":"/id","window":"soon"}"#, r#""window" must be a duration"#),
            (r#"{"by":"/id","window":"1s","slides":1}"#, r#""slides" must be true"#),
            (r#"{"by":"/id","window":"1s","duplicate":"no"}"#, r#""duplicate" must be "drop" or"#),
            (r#"{"by":"/id","window":"1s","missing":"no"}"#, r#""missing" must be "reject" or"#),
        ] {
            let error = Config::parse(json).expect_err(json);
            assert!(error.contains(says), "{json} gave: {error}");
        }
    }
}

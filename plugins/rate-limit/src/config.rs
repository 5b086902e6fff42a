//! The binding's configuration, checked whole before the first event.

use parts::config::{self, Fields};
use parts::json::Path;
use parts::key::Source;

use crate::bucket::Bucket;

/// What the operator wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    pub bucket: Bucket,
    pub key: Source,
    pub time: TimeSource,
    /// Where an event says what it costs; none: each costs 1.
    pub cost: Option<Path>,
}

/// Which clock fills the buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// The partition time.
    Broker,
    /// The event's own timestamp, as far as it is not of the future.
    Event,
}

/// Far more than a partition judges in a year; small enough that a bucket's time fits a u128.
const COUNT_MAX: u64 = 1_000_000_000;

const EXAMPLE: &str = r#"{"rate":10,"per":"1s","burst":20}"#;

impl Config {
    /// Reads the JSON; an error is one sentence that says what to write.
    pub fn parse(json: &str) -> Result<Config, String> {
        let known = ["rate", "per", "burst", "key", "time", "cost"];
        let fields = Fields::parse(json, &known, r#"{"rate":10,"per":"1s"}"#)?;
        let rate = fields.count("rate", COUNT_MAX, EXAMPLE)?;
        let burst = match fields.get("burst") {
            None => rate,
            Some(_) => fields.count("burst", COUNT_MAX, EXAMPLE)?,
        };
        let per_ms = fields.duration_ms("per", EXAMPLE)?;
        let cost = match fields.get("cost") {
            None => None,
            Some(field) => Some(field.as_str().and_then(Path::parse).ok_or(
                r#""cost" must be a JSON pointer to a whole number in the value, as "/seats"; leave it out if each event costs 1"#,
            )?),
        };
        Ok(Config {
            bucket: Bucket { rate, per_ms, burst },
            key: fields.source("key")?,
            time: match fields.word("time", &["broker", "event"])? {
                "event" => TimeSource::Event,
                _ => TimeSource::Broker,
            },
            cost,
        })
    }
}

impl std::fmt::Display for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Bucket { rate, per_ms, burst } = self.bucket;
        write!(f, "{rate} per {} (burst {burst})", config::duration(per_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let least = Config {
            bucket: Bucket { rate: 10, per_ms: 1000, burst: 10 },
            key: Source::Event,
            time: TimeSource::Broker,
            cost: None,
        };
        assert_eq!(Config::parse(r#"{"rate":10,"per":"1s"}"#), Ok(least));
        let most = Config {
            bucket: Bucket { rate: 5, per_ms: 3_600_000, burst: 7 },
            key: Source::Header("tenant".into()),
            time: TimeSource::Event,
            cost: Path::parse("/seats"),
        };
        let json = r#"{"rate":5,"per":"1h","burst":7,"key":"header:tenant","time":"event","cost":"/seats"}"#;
        assert_eq!(Config::parse(json), Ok(most));
    }

    #[test]
    fn what_is_wrong_is_refused_in_a_sentence_that_says_what_to_write() {
        for (json, says) in [
            ("{}", r#""rate" is missing"#),
            (r#"{"rate":10}"#, r#""per" is missing"#),
            (r#"{"rate":0.5,"per":"1s"}"#, r#""rate" must be a whole number from 1"#),
            (r#"{"rate":1,"per":"1s","burst":0}"#, r#""burst" must be a whole number from 1"#),
            (r#"{"rate":1,"per":1}"#, r#""per" must be a duration"#),
            (r#"{"rate":1,"per":"1s","key":"user"}"#, r#""key" must be "event""#),
            (r#"{"rate":1,"per":"1s","time":"utc"}"#, r#""time" must be "broker" or "event""#),
            (r#"{"rate":1,"per":"1s","cost":2}"#, r#""cost" must be a JSON pointer"#),
            (r#"{"rate":1,"per":"1s","limit":2}"#, r#"there is no field "limit""#),
        ] {
            let error = Config::parse(json).expect_err(json);
            assert!(error.contains(says), "{json} gave: {error}");
        }
    }
}

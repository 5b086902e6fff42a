//! The binding's configuration, checked whole before the first event.

use parts::config::{self, Fields};
use parts::key::Source;
use serde_json::Value;

use crate::condition::Condition;
use crate::template::Template;

/// What the operator wrote.
pub struct Config {
    pub rules: Vec<Rule>,
    pub matches: Matches,
}

/// How many of the rules that hold are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matches {
    First,
    All,
}

/// What to do when all conditions hold.
pub struct Rule {
    pub when: Vec<Condition>,
    pub emit: Option<Emit>,
    pub drops: bool,
}

/// A side event.
pub struct Emit {
    pub topic: String,
    pub key: Source,
    /// None: the event's own value.
    pub value: Option<Template>,
}

/// An event has 16 side events at most, unless its binding allows more.
const RULES_MAX: usize = 16;

/// Each is one look at the value, for each event.
const CONDITIONS_MAX: usize = 16;

/// What a topic's name may have.
const TOPIC_BYTES_MAX: usize = 249;

const EXAMPLE: &str =
    r#"{"rules":[{"when":{"at":"/status","equals":"cancelled"},"emit":"cancellations"}]}"#;

impl Config {
    /// Reads the JSON; an error is one sentence that says what to write.
    pub fn parse(json: &str) -> Result<Config, String> {
        let mut fields = Fields::parse(json, &["rules", "match"], EXAMPLE)?;
        let matches = match fields.word("match", &["first", "all"])? {
            "all" => Matches::All,
            _ => Matches::First,
        };
        let rules = match fields.take("rules") {
            Some(Value::Array(rules)) if (1..=RULES_MAX).contains(&rules.len()) => rules,
            Some(_) => {
                return Err(format!(
                    r#""rules" must be a list of 1 to {RULES_MAX} rules, as in {EXAMPLE}"#
                ));
            }
            None => return Err(format!(r#""rules" is missing; write them, as in {EXAMPLE}"#)),
        };
        let rules = rules
            .into_iter()
            .enumerate()
            .map(|(index, said)| rule(said).map_err(|why| format!("in rule {}: {why}", index + 1)))
            .collect::<Result<_, _>>()?;
        Ok(Config { rules, matches })
    }
}

fn rule(said: Value) -> Result<Rule, String> {
    let Value::Object(said) = said else {
        return Err(format!("write it as an object, as in {EXAMPLE}"));
    };
    let mut fields = Fields::of(said, &["when", "emit", "key", "value", "drop"])?;
    let when = match fields.take("when") {
        None => Vec::new(),
        Some(Value::Array(list)) if list.len() <= CONDITIONS_MAX => {
            list.into_iter().map(Condition::parse).collect::<Result<_, _>>()?
        }
        Some(Value::Array(_)) => {
            return Err(format!(r#""when" takes up to {CONDITIONS_MAX} conditions"#));
        }
        Some(one) => vec![Condition::parse(one)?],
    };
    let drops = match fields.get("drop").map(Value::as_bool) {
        None => false,
        Some(Some(drops)) => drops,
        Some(None) => {
            return Err(r#""drop" must be true (the event itself is not stored) or false"#.into());
        }
    };
    let key = match fields.take("key") {
        None => None,
        Some(field) => Some(config::source("key", &field)?),
    };
    let value = fields.take("value").map(|said| Template::parse(&said)).transpose()?;
    let emit = match fields.get("emit").map(Value::as_str) {
        None if key.is_some() || value.is_some() => {
            return Err(
                r#""key" and "value" are those of a side event; write "emit" with its topic"#
                    .into(),
            );
        }
        None => None,
        Some(Some(topic)) if (1..=TOPIC_BYTES_MAX).contains(&topic.len()) => {
            Some(Emit { topic: topic.into(), key: key.unwrap_or(Source::Event), value })
        }
        Some(_) => return Err(r#""emit" must be the name of a topic, as "cancellations""#.into()),
    };
    if emit.is_none() && !drops {
        return Err(r#"it does nothing; write "emit" with a topic, or "drop":true"#.into());
    }
    Ok(Rule { when, emit, drops })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_refused_in_a_sentence_that_says_what_to_write() {
        for (json, says) in [
            ("{}", r#""rules" is missing"#),
            (r#"{"rules":[]}"#, "a list of 1 to 16 rules"),
            (r#"{"rules":[1]}"#, "in rule 1: write it as an object"),
            (r#"{"rules":[{}]}"#, "in rule 1: it does nothing"),
            (r#"{"rules":[{"drop":true},{"emit":""}]}"#, "in rule 2: \"emit\" must be the name"),
            (r#"{"rules":[{"drop":1}]}"#, r#""drop" must be true"#),
            (r#"{"rules":[{"drop":true,"key":"/a"}]}"#, r#"write "emit""#),
            (r#"{"rules":[{"emit":"t","key":"a"}]}"#, r#""key" must be "event""#),
            (r#"{"rules":[{"emit":"t","to":"a"}]}"#, r#"there is no field "to""#),
            (r#"{"rules":[{"emit":"t"}],"match":"any"}"#, r#""match" must be "first" or "all""#),
            (
                r#"{"rules":[{"emit":"t","when":{"at":"a","exists":true}}]}"#,
                r#""at" must be a JSON pointer"#,
            ),
            (r#"{"rules":[{"emit":"t","when":{"at":"/a"}}]}"#, "no comparison"),
            (
                r#"{"rules":[{"emit":"t","when":{"at":"/a","equals":[1]}}]}"#,
                r#""equals" must be a text"#,
            ),
            (
                r#"{"rules":[{"emit":"t","when":{"at":"/a","one_of":"a"}}]}"#,
                r#""one_of" must be a list"#,
            ),
            (r#"{"rules":[{"emit":"t","when":{"at":"/a",">":"a"}}]}"#, r#"">" must be a number"#),
            (
                r#"{"rules":[{"emit":"t","when":{"at":"/a","exists":1}}]}"#,
                r#""exists" must be true or false"#,
            ),
            (r#"{"rules":[{"emit":"t","value":{"$from":"a"}}]}"#, r#""$from" must be"#),
            (r#"{"rules":[{"emit":"t","value":{"$from":"/a","x":1}}]}"#, "alone"),
        ] {
            let error = Config::parse(json).err().expect(json);
            assert!(error.contains(says), "{json} gave: {error}");
        }
    }
}

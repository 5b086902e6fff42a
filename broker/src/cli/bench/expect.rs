//! `--expect FILE`: what should become of the events, one line of JSON for each, in order.
//!
//! ```text
//! {"line":1,"verdict":"accept"}
//! {"line":2,"verdict":"reject","code":"daily-limit","emitted":[{"topic":"notices"}]}
//! {}
//! ```
//! What a line names has to be so, what it leaves out may be anything. An object within is compared
//! in the same way; a list needs as many elements, each compared in the same way. Pure.

use serde::Serialize;
use serde_json::Value;

/// Differences shown at most: more are one mistake.
const DIFFERENCES_SHOWN_MAX: usize = 20;
/// What two runs need not have in common: nobody can expect it.
const TIMED: &str = "ns";

/// What is not as expected.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// One sentence each; of many events the first ones.
    pub shown: Vec<String>,
    /// Events that differ, missing and surplus ones included.
    pub events: u64,
}

/// The expectations of a file's text; the error completes the sentence "FILE line N …".
pub fn read(text: &str) -> Result<Vec<Value>, (usize, String)> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| match serde_json::from_str(line) {
            Ok(Value::Object(fields)) if fields.contains_key(TIMED) => {
                Err((number, format!("expects {TIMED:?}, which no two runs share; leave it out")))
            }
            Ok(expected @ Value::Object(_)) => Ok(expected),
            Ok(_) => Err((number, "is no JSON object".to_owned())),
            Err(error) => Err((number, format!("is not valid JSON ({error})"))),
        })
        .collect()
}

/// Compares what became of the events with what should have.
pub fn compare(expected: &[Value], got: &[Value]) -> Differences {
    let mut differences = Differences::default();
    for at in 0..expected.len().max(got.len()) {
        let mut found = Vec::new();
        match (expected.get(at), got.get(at)) {
            (Some(expected), Some(got)) => {
                differs(expected, got, &format!("line {}", line_of(got, at)), &mut found);
            }
            (Some(_), None) => found.push(format!("event {}: expected, and not there", at + 1)),
            (None, Some(got)) => {
                found.push(format!("line {}: there, and not expected", line_of(got, at)));
            }
            (None, None) => {}
        }
        differences.events += u64::from(!found.is_empty());
        let room = DIFFERENCES_SHOWN_MAX.saturating_sub(differences.shown.len());
        differences.shown.extend(found.into_iter().take(room));
    }
    differences
}

fn line_of(got: &Value, at: usize) -> u64 {
    got.get("line").and_then(Value::as_u64).unwrap_or(at as u64 + 1)
}

/// Adds a sentence for each place below `path` at which `got` is not as expected.
fn differs(expected: &Value, got: &Value, path: &str, found: &mut Vec<String>) {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            // By name, however JSON's fields are kept here.
            let mut fields: Vec<_> = expected.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            for (name, expected) in fields {
                // What is not said of an event is null of it.
                let got = got.get(name).unwrap_or(&Value::Null);
                differs(expected, got, &format!("{path} {name}"), found);
            }
        }
        (Value::Array(wanted), Value::Array(had)) if wanted.len() == had.len() => {
            for (at, (wanted, had)) in wanted.iter().zip(had).enumerate() {
                differs(wanted, had, &format!("{path}[{at}]"), found);
            }
        }
        (expected, got) if expected == got => {}
        (expected, got) => found.push(format!("{path}: expected {expected}, got {got}")),
    }
}

/// The part of an event's line that belongs into a file of expectations: what is the same in every
/// run, on every machine and for every build of the same rule.
pub fn lasting(got: &Value) -> String {
    const LASTING: [&str; 8] =
        ["line", "verdict", "code", "message", "retry_after_ms", "event", "state", "emitted"];
    // A fault's message names the digest, and that is another one for every build.
    let is_fault = got["verdict"] == "fault";
    let names = LASTING.iter().filter(|name| !(is_fault && **name == "message"));
    let fields: Vec<String> = names
        .filter_map(|name| Some(format!("{}:{}", Value::from(*name), got.get(*name)?)))
        .collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check(expected: Value, got: Value, said: Expect) {
        let list = |value: Value| value.as_array().cloned().unwrap();
        let differences = compare(&list(expected), &list(got));
        said.assert_eq(&format!("{}: {}", differences.events, differences.shown.join(" | ")));
    }

    #[test]
    fn what_is_named_has_to_be_so() {
        let got = json!([
            { "line": 1, "verdict": "accept", "emitted": [{ "topic": "n", "event": { "key": "k" } }] },
            { "line": 3, "verdict": "reject", "code": "no" },
        ]);
        check(json!([{}, {}]), got.clone(), expect!["0: "]);
        check(got.clone(), got.clone(), expect!["0: "]);
        check(
            json!([{ "emitted": [{ "topic": "n" }] }, { "code": "no" }]),
            got.clone(),
            expect!["0: "],
        );
        check(
            json!([{ "emitted": [{ "event": { "key": "j" } }], "code": "no" }, { "verdict": "accept" }]),
            got.clone(),
            expect![[
                r#"2: line 1 code: expected "no", got null | line 1 emitted[0] event key: expected "j", got "k" | line 3 verdict: expected "accept", got "reject""#
            ]],
        );
        check(
            json!([{ "emitted": [] }]),
            got.clone(),
            expect![[
                r#"2: line 1 emitted: expected [], got [{"event":{"key":"k"},"topic":"n"}] | line 3: there, and not expected"#
            ]],
        );
        check(json!([{}, {}, {}]), got, expect!["1: event 3: expected, and not there"]);
    }

    #[test]
    fn what_lasts_is_as_expected_again() {
        let got = json!({ "line": 4, "verdict": "fault", "code": "plugin-trap", "message": "p@1 (ab)",
                          "state": [], "emitted": [], "fuel": 7, "ns": 8 });
        let lasting = lasting(&got);
        expect![[r#"{"line":4,"verdict":"fault","code":"plugin-trap","state":[],"emitted":[]}"#]]
            .assert_eq(&lasting);
        assert_eq!(compare(&read(&lasting).unwrap(), &[got]), Differences::default());
    }

    #[test]
    fn a_bad_line_is_named() {
        let said = |text| read(text).unwrap_err();
        assert_eq!(said("{}\n[]"), (2, "is no JSON object".to_owned()));
        assert_eq!(said("{\"ns\":1}").0, 1);
        assert_eq!(read("{}\n\n{\"code\":\"no\"}\n").unwrap().len(), 2);
    }

    #[test]
    fn of_many_differences_the_first_are_shown() {
        let expected: Vec<Value> = vec![json!({ "code": "no" }); 30];
        let got = vec![json!({ "line": 1 }); 30];
        let differences = compare(&expected, &got);
        assert_eq!((differences.events, differences.shown.len()), (30, DIFFERENCES_SHOWN_MAX));
    }
}

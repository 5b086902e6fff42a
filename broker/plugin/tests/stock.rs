//! The rules that weir brings along, as they are committed: each component says what its sources
//! and its README say, within the default limits.

mod rig;

use std::path::Path;

use rig::{Base, Outcome, event, host, judge_all};
use weir_plugin_host::{BindError, BindingSettings, FaultCause, StageVerdict, WasmStage};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PluginName, TopicName};
use weir_wire::record_batch::Event;

fn try_stage(name: &str, config: &str, limits: Limits) -> Result<WasmStage, BindError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(name);
    let component = std::fs::read(folder.join(name).with_extension("wasm")).expect("committed");
    let artefact = host().compile(&component).expect("compiles");
    let name = PluginName::parse(name).expect("a name");
    let plugin = host().load(name, Digest([0; 32]), &artefact).expect("loads");
    let emit = vec![TopicName::parse("cancellations").expect("a name")];
    plugin.stage(BindingSettings { config: config.to_owned(), emit, limits })
}

/// What each event hears, a line each: `accept`, `drop`, the new value, or the code with the time
/// to wait and the message.
fn told(outcome: &Outcome) -> String {
    let mut lines = String::new();
    for verdict in &outcome.verdicts {
        lines += &match verdict.as_ref().expect("no fault") {
            StageVerdict::Accept => "accept".to_owned(),
            StageVerdict::Drop => "drop".to_owned(),
            StageVerdict::Replace(event) => {
                let value = event.value.as_ref().expect("a value");
                format!("= {}", String::from_utf8_lossy(value))
            }
            StageVerdict::Reject(no) => {
                let retry = no.retry_after_ms.map_or(String::new(), |ms| format!(" {ms}"));
                format!("{}{retry}: {}", no.code, no.message)
            }
        };
        lines.push('\n');
    }
    lines
}

fn check(name: &str, config: &str, values: &[&str], expected: &[&str]) -> Outcome {
    let mut stage = try_stage(name, config, Limits::default()).expect("takes its config");
    let events: Vec<Event> =
        values.iter().map(|value| event("ann", value.as_bytes().to_vec(), 7)).collect();
    let outcome = judge_all(&mut stage, &Base::default(), 1_000, &events);
    assert_eq!(told(&outcome), expected.iter().map(|line| format!("{line}\n")).collect::<String>());
    outcome
}

#[test]
fn rate_limit_is_what_its_sources_say() {
    let outcome = check(
        "rate-limit",
        r#"{"rate":3,"per":"1s","burst":2,"cost":"/n"}"#,
        &[r#"{"n":1}"#, r#"{"n":1.0}"#, r#"{"n":1}"#, r#"{"n":3}"#, "{}"],
        &[
            "accept",
            "accept",
            "rate-limit 334: ann has used its 3 per 1 s (burst 2); it passes in 334 ms",
            "over-burst: The event costs 3, and 2 is the most that passes at once; send it in smaller parts",
            "no-cost: At /n there must be what the event costs: a whole number from 0",
        ],
    );
    assert_eq!((outcome.changes.len(), &outcome.changes[0].key[..]), (1, b"kann".as_slice()));
}

#[test]
fn json_schema_is_what_its_sources_say() {
    let config = r##"{"schema":{"type":"object","required":["id"],"additionalProperties":false,
        "properties":{"id":{"type":"string","pattern":"^[A-Z]{2}[0-9]+$"},"at":{"format":"date"},
        "list":{"items":{"$ref":"#/$defs/age"}}},"$defs":{"age":{"type":"integer","minimum":0}}}}"##;
    check(
        "json-schema",
        config,
        &[
            r#"{"id":"UA1","at":"2013-01-01","list":[1,2]}"#,
            r#"{"id":"ua1"}"#,
            r#"{"id":"UA1","list":[1,-1]}"#,
            r#"{"id""#,
        ],
        &[
            "accept",
            r#"json-schema: At /id: value does not match "^[A-Z]{2}[0-9]+$" (schema: /properties/id/pattern)"#,
            "json-schema: At /list/1: value is less than the minimum of 0 (schema: /$defs/age/minimum)",
            "not-json: The value is not JSON: EOF while parsing an object at line 1 column 5; send one JSON value per event",
        ],
    );
}

#[test]
fn redact_is_what_its_sources_say() {
    check(
        "redact",
        r#"{"fields":{"/card":"remove","/who/*/name":{"replace":"***"},"/mail":"hash"},"hash_key":"000102030405060708090a0b0c0d0e0f"}"#,
        &[
            r#"{"n": 1.50, "card":{"no":1}, "who":[{"name":"Ann", "age":7}]}"#,
            r#"{"mail":"ann@example.com"}"#,
            r#"{"n": 1.50}"#,
            "card=1",
        ],
        &[
            r#"= {"n": 1.50, "who":[{"name":"***", "age":7}]}"#,
            r#"= {"mail":"078e42de7cd8ec90dd41918db0ecb1728c1a1c4ce1097c28c360656eb2ab0911"}"#,
            "accept",
            "not-json: The value is not JSON, so nothing could be redacted (expected value at line 1 column 1); send JSON",
        ],
    );
}

#[test]
fn dedup_is_what_its_sources_say() {
    check(
        "dedup",
        r#"{"by":["/id","event"],"window":"10m","duplicate":"reject"}"#,
        &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1.0}"#, "{}"],
        &[
            "accept",
            "accept",
            "duplicate 600000: The same passed within the last 10 m; send it again after 600000 ms if it is meant to be twice",
            "no-key: There is nothing at /id; duplicates are found by it",
        ],
    );
    check(
        "dedup",
        r#"{"by":"value","window":"1ms"}"#,
        &["a", "b", "a"],
        &["accept", "accept", "drop"],
    );
}

#[test]
fn route_is_what_its_sources_say() {
    let outcome = check(
        "route",
        r#"{"rules":[{"when":{"at":"/n",">=":2},"emit":"cancellations","key":"publisher","value":{"n":{"$from":"/n"}}},{"when":{"at":"/n","exists":false},"drop":true}]}"#,
        &[r#"{"n":1}"#, r#"{"n":2.50}"#, "{}"],
        &["accept", "accept", "drop"],
    );
    let [sent] = &outcome.side_events[..] else { panic!("one side event") };
    assert_eq!(sent.topic.as_str(), "cancellations");
    assert_eq!(sent.event.value.as_deref(), Some(br#"{"n":2.50}"#.as_slice()));
    assert_eq!(sent.event.key.as_deref(), Some(b"client:web".as_slice()));
}

#[test]
fn each_refuses_a_config_that_is_none_in_its_own_words() {
    for (name, says) in [
        ("daily-limit", r#""limit" is missing"#),
        ("rate-limit", r#""rate" is missing"#),
        ("json-schema", r#""schema" is missing"#),
        ("redact", "nothing is named"),
        ("dedup", r#""by" is missing"#),
        ("route", r#""rules" is missing"#),
    ] {
        let error = try_stage(name, "{}", Limits::default()).expect_err("refused");
        assert!(error.to_string().contains(says), "{name} gave: {error}");
    }
    let config = r##"{"schema":{"$ref":"https://example.com/schema.json"}}"##;
    let error = try_stage("json-schema", config, Limits::default()).expect_err("refused");
    assert!(error.to_string().contains("nothing is fetched"), "{error}");
}

/// What real events cost is far below what they may: fuel is the same on every machine.
#[test]
fn real_events_take_less_than_a_tenth_of_the_default_fuel() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/flights-10k.jsonl");
    let sample = std::fs::read_to_string(sample).expect("part of the project");
    let flights: Vec<Event> =
        sample.lines().take(500).map(|line| event("ann", line.as_bytes().to_vec(), 7)).collect();
    for (name, config) in FLIGHT_CONFIGS {
        let limits = Limits { fuel: Limits::default().fuel / 10, ..Limits::default() };
        let mut stage = try_stage(name, config, limits).expect("takes its config");
        let outcome = judge_all(&mut stage, &Base::default(), 1, &flights);
        assert!(outcome.verdicts.iter().all(Result::is_ok), "{name}: {}", outcome.signs());
        assert!(stage.counters().memory_bytes < Limits::default().memory_bytes / 10, "{name}");
    }
}

/// What each README gives the cost of.
const FLIGHT_CONFIGS: [(&str, &str); 6] = [
    ("daily-limit", r#"{"limit":100,"key":"/tailnum"}"#),
    ("rate-limit", r#"{"rate":1000,"per":"1s","key":"/tailnum"}"#),
    (
        "json-schema",
        r#"{"schema":{"type":"object","required":["tailnum","carrier","flight","origin","dest","distance","dep_delay","time"],"additionalProperties":false,"properties":{"tailnum":{"type":["string","null"],"pattern":"^N[0-9A-Z]{1,5}$"},"carrier":{"type":"string","minLength":2,"maxLength":2},"flight":{"type":"integer","minimum":1,"maximum":9999},"origin":{"enum":["EWR","JFK","LGA"]},"dest":{"type":"string","pattern":"^[A-Z]{3}$"},"distance":{"type":"integer","exclusiveMinimum":0},"dep_delay":{"type":["integer","null"]},"time":{"type":"string","format":"date-time"}}}}"#,
    ),
    (
        "redact",
        r#"{"fields":{"/tailnum":"hash","/dep_delay":"remove","/carrier":{"replace":"**"}},"hash_key":"000102030405060708090a0b0c0d0e0f"}"#,
    ),
    ("dedup", r#"{"by":["/tailnum","/time"],"window":"10m"}"#),
    (
        "route",
        r#"{"rules":[{"when":{"at":"/dep_delay",">=":60},"emit":"cancellations","key":"/tailnum","value":{"late":{"$from":"/dep_delay"},"flight":{"$from":"/flight"}}}]}"#,
    ),
];

/// A value that takes more than its fuel is a fault and no verdict, whatever the rule.
#[test]
fn a_huge_value_ends_with_its_fuel() {
    let value = format!("[{}1]", "1,".repeat(400_000));
    for (name, config) in [
        ("json-schema", r#"{"schema":{"uniqueItems":true}}"#),
        ("redact", r#"{"fields":{"/*/x":"remove"}}"#),
        ("dedup", r#"{"by":"/0","window":"1s"}"#),
    ] {
        let mut stage = try_stage(name, config, Limits { fuel: 1_000_000, ..Limits::default() })
            .expect("takes its config");
        let outcome = judge_all(
            &mut stage,
            &Base::default(),
            1,
            &[event("k", value.clone(), 1), event("k", "[]", 1)],
        );
        assert_eq!(outcome.cause(), FaultCause::Timeout, "{name}");
        assert!(outcome.verdicts[1].is_ok(), "{name}: the next event gets a fresh instance");
    }
}

//! The rule's promises, as sentences: what an operator configures, what is stored.

use proptest::prelude::*;
use redact::Redact;
use serde_json::{Map, Value, json};
use weir_plugin::{Event, Filter, Verdict, fake};

const SECRET: &str = "000102030405060708090a0b0c0d0e0f";
/// HMAC-SHA-256 of `ann@example.com` under that secret, by OpenSSL.
const ANN: &str = "078e42de7cd8ec90dd41918db0ecb1728c1a1c4ce1097c28c360656eb2ab0911";
/// The same of `42`.
const FORTY_TWO: &str = "6174f5393f8fe29f35687cff7bdab8ea27899f4ef092e0a7a78a0357ab816d3a";

fn rule(config: &str) -> Redact {
    Redact::configure(config).map_err(|why| format!("{config}: {why}")).expect("a config")
}

fn judge(config: &str, event: Event) -> Verdict {
    fake::Host::default().judge(&mut rule(config), event)
}

/// The value that is stored for `value`.
fn stored(config: &str, value: &str) -> String {
    match judge(config, Event::new(value).key("k").with_header("h", "v").timestamp_ms(7)) {
        Verdict::Accept => value.to_owned(),
        Verdict::Replace(event) => {
            let untouched = Event::new(event.value.clone()).key("k").with_header("h", "v");
            assert_eq!(event, untouched.timestamp_ms(7));
            String::from_utf8(event.value).expect("UTF-8")
        }
        other => panic!("{value}: {other:?}"),
    }
}

#[test]
fn what_is_not_named_keeps_its_bytes() {
    let remove = |paths: &[&str]| {
        let fields: Map<_, _> =
            paths.iter().map(|path| ((*path).into(), "remove".into())).collect();
        json!({ "fields": fields }).to_string()
    };
    for (config, value, new) in [
        (
            remove(&["/b"]),
            r#" { "a" : 1.50 , "b" : 2, "c":1e5 } "#,
            r#" { "a" : 1.50 , "c":1e5 } "#,
        ),
        (remove(&["/a"]), r#"{ "a":1, "b":2 }"#, r#"{ "b":2 }"#),
        (remove(&["/c"]), r#"{"a":1, "b":2 , "c":3 }"#, r#"{"a":1, "b":2 }"#),
        (remove(&["/a", "/b"]), r#"{"a":1,"b":2,"c":3}"#, r#"{"c":3}"#),
        (remove(&["/b", "/c"]), r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1}"#),
        (remove(&["/a", "/c"]), r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2}"#),
        (remove(&["/*"]), r#"{ "a":1,"b":2 }"#, r#"{  }"#),
        (remove(&["/a/1"]), r#"{"a":[1, 2, 3]}"#, r#"{"a":[1, 3]}"#),
        (remove(&["/a/*/x"]), r#"{"a":[{"x":1},{"y":1,"x":2},3]}"#, r#"{"a":[{},{"y":1},3]}"#),
        (
            remove(&["/a/*/x"]),
            r#"{"a":{"p":{"x":1},"q":{"y":1}}}"#,
            r#"{"a":{"p":{},"q":{"y":1}}}"#,
        ),
        (remove(&["/twice"]), r#"{"twice":1,"a":0,"twice":2}"#, r#"{"a":0}"#),
        (remove(&["/card"]), r#"{"c\u0061rd":1,"z":0}"#, r#"{"z":0}"#),
        (remove(&["/a~1b"]), r#"{"a/b":1}"#, r#"{}"#),
        (
            remove(&["/none", "/a/b/c"]),
            r#"{"a":{"b":12345678901234567890123}}"#,
            r#"{"a":{"b":12345678901234567890123}}"#,
        ),
        (
            r#"{"fields":{"/n":{"replace":"***"},"/o":{"replace":{"x":null}}}}"#.into(),
            r#"{ "n" : "Ann", "o":[1] }"#,
            r#"{ "n" : "***", "o":{"x":null} }"#,
        ),
        (
            r#"{"fields":{"/a":{"replace":0},"/a/b":"remove","/*":"remove"}}"#.into(),
            r#"{"a":{"b":1}}"#,
            "{}",
        ),
        (
            r#"{"fields":{"/a":{"replace":0},"/a/b":"remove"}}"#.into(),
            r#"{"a":{"b":1}}"#,
            r#"{"a":0}"#,
        ),
    ] {
        assert_eq!(stored(&config, value), new, "{config} on {value}");
    }
}

#[test]
fn equal_things_have_one_hash_wherever_they_stand() {
    let config = format!(
        r#"{{"fields":{{"/mail":"hash","/n":"hash"}},"headers":{{"mail":"hash"}},"key":"hash","hash_key":"{SECRET}"}}"#
    );
    let value = r#"{"mail":"ann\u0040example.com","n":42}"#;
    let event = Event::new(value).key("ann@example.com").with_header("mail", "ann@example.com");
    let new = Event::new(format!(r#"{{"mail":"{ANN}","n":"{FORTY_TWO}"}}"#));
    let new = new.key(ANN).with_header("mail", ANN);
    assert_eq!(judge(&config, event), Verdict::Replace(new));
}

#[test]
fn headers_and_keys_are_redacted_by_their_names() {
    let config = r#"{"headers":{"token":"remove","user":{"replace":"someone"}},"key":"remove"}"#;
    let event = Event::new("no JSON")
        .key("ann")
        .with_header("token", "1")
        .with_header("user", "ann")
        .with_header("Token", "2")
        .with_header("token", "3");
    let new = Event::new("no JSON").with_header("user", "someone").with_header("Token", "2");
    assert_eq!(judge(config, event), Verdict::Replace(new));
    assert_eq!(judge(config, Event::new("no JSON").with_header("a", "b")), Verdict::Accept);
}

#[test]
fn where_nothing_is_found_the_event_passes_as_it_came() {
    let config = r#"{"fields":{"/card":"remove"}}"#;
    for value in [r#" {"a":1} "#, "[1]", "1", ""] {
        assert_eq!(judge(config, Event::new(value)), Verdict::Accept, "{value}");
    }
}

#[test]
fn what_is_no_json_is_refused_unless_it_may_pass() {
    let config = r#"{"fields":{"/card":"remove"},"not_json":"accept"}"#;
    assert_eq!(judge(config, Event::new("card=1")), Verdict::Accept);
    let config = r#"{"fields":{"/card":"remove"}}"#;
    for value in [b"{\"card\":1".as_slice(), b"\xff", &[b'"'; 3]] {
        let verdict = judge(config, Event::new(value));
        let no = verdict.rejection().expect("refused");
        assert_eq!(no.code, "not-json");
        assert!(
            no.message.contains("at line 1 column") && no.message.len() <= 512,
            "{}",
            no.message
        );
    }
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    assert_eq!(
        judge(r#"{"fields":{"/*/*":"remove"}}"#, Event::new("[[[]]]")),
        Verdict::Replace(Event::new("[[]]"))
    );
    assert_eq!(stored(r#"{"fields":{"/0/x":"remove"}}"#, &deep), deep, "depth costs no stack");
}

/// The same on a tree of values, by the definition.
fn model(value: &mut Value, paths: &[(Vec<String>, bool)]) {
    let leads = |name: &str| -> Vec<(Vec<String>, bool)> {
        let on = paths.iter().filter(|(path, _)| path[0] == "*" || path[0] == name);
        on.map(|(path, removes)| (path[1..].to_vec(), *removes)).collect()
    };
    // Whether it stays.
    let visit = |value: &mut Value, on: Vec<(Vec<String>, bool)>| {
        let here: Vec<bool> =
            on.iter().filter(|(path, _)| path.is_empty()).map(|(_, r)| *r).collect();
        if here.contains(&true) {
            return false;
        }
        if here.is_empty() {
            model(value, &on)
        } else {
            *value = "***".into()
        }
        true
    };
    match value {
        Value::Object(members) => {
            let old = std::mem::take(members);
            for (name, mut member) in old {
                if visit(&mut member, leads(&name)) {
                    members.insert(name, member);
                }
            }
        }
        Value::Array(elements) => {
            let old = std::mem::take(elements);
            for (index, mut element) in old.into_iter().enumerate() {
                if visit(&mut element, leads(&index.to_string())) {
                    elements.push(element);
                }
            }
        }
        _ => {}
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<i32>().prop_map(|n| json!(n)),
        "[ab\"\\\\{}:,]{0,3}".prop_map(|s| json!(s))
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[ab01]|a\"", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn splicing_is_what_the_paths_say(
        value in any_json(), pretty: bool,
        paths in prop::collection::vec((prop::collection::vec("[ab01*]", 1..4), any::<bool>()), 1..6),
    ) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let mut fields = Map::new();
        for (path, removes) in &paths {
            let action = if *removes { json!("remove") } else { json!({ "replace": "***" }) };
            fields.insert(format!("/{}", path.join("/")), action);
        }
        let config = json!({ "fields": fields }).to_string();
        // Of a path named twice the last stands: a JSON object has it once.
        let named: Vec<_> = fields.iter().map(|(path, action)| {
            (path[1..].split('/').map(str::to_owned).collect(), action == "remove")
        }).collect();
        let mut expected = value.clone();
        model(&mut expected, &named);
        let new: Value = serde_json::from_str(&stored(&config, &text)).expect("JSON");
        prop_assert_eq!(new, expected);
    }
}

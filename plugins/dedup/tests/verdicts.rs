//! The rule's promises, as sentences: what an operator configures, what a publisher hears.

use std::collections::BTreeMap;

use dedup::Dedup;
use proptest::prelude::*;
use weir_plugin::{Event, Filter, Verdict, fake};

/// 2013-01-01T00:00:00Z.
const NEW_YEAR: u64 = 1_356_998_400_000;

fn rule(config: &str) -> Dedup {
    Dedup::configure(config).expect(config)
}

fn host() -> fake::Host {
    fake::Host { now: NEW_YEAR, publisher: "client:web".into(), ..fake::Host::default() }
}

fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".into(),
        Verdict::Drop => "drop".into(),
        Verdict::Reject(no) => {
            let retry = no.retry_after_ms.map_or("".into(), |ms| format!(" (retry after {ms} ms)"));
            format!("{}: {}{retry}", no.code, no.message)
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn each_event_gets_its_verdict() {
    let id = r#"{"by":"/id","window":"10m"}"#;
    let two = r#"{"by":["/id","event"],"window":"10m"}"#;
    let ids = |ids: &[&str]| ids.iter().map(|id| Event::new(format!(r#"{{"id":{id}}}"#))).collect();
    let cases: Vec<(&str, &str, Vec<Event>, String)> = vec![
        ("the first passes", id, ids(&["1"]), "accept".into()),
        ("the second does not", id, ids(&["1", "1"]), "drop".into()),
        ("another one does", id, ids(&["1", "2"]), "accept".into()),
        ("one number, written in two ways", id, ids(&["1", "1.0"]), "drop".into()),
        ("a number and its text are one key", id, ids(&["1", "\"1\""]), "drop".into()),
        (
            "long numbers that a float cannot tell apart",
            id,
            ids(&["18446744073709551616", "18446744073709551617"]),
            "accept".into(),
        ),
        (
            "refused, if that is wanted",
            r#"{"by":"/id","window":"10m","duplicate":"reject"}"#,
            ids(&["1", "1"]),
            "duplicate: The same passed within the last 10 m; send it again after 600000 ms if it is meant to be twice (retry after 600000 ms)".into(),
        ),
        ("all must agree", two, vec![
            Event::new(r#"{"id":1}"#).key("a"), Event::new(r#"{"id":1}"#).key("b"),
        ], "accept".into()),
        ("and then it is the same", two, vec![
            Event::new(r#"{"id":1,"n":1}"#).key("a"), Event::new(r#"{"id":1,"n":2}"#).key("a"),
        ], "drop".into()),
        ("two things are not one longer one", two, vec![
            Event::new(r#"{"id":"a"}"#).key("bc"), Event::new(r#"{"id":"ab"}"#).key("c"),
        ], "accept".into()),
        ("the whole value", r#"{"by":"value","window":"1d"}"#, vec![
            Event::new("a").key("1"), Event::new("a").key("2"),
        ], "drop".into()),
        ("a header", r#"{"by":"header:id","window":"1d"}"#, vec![
            Event::new("a").with_header("id", "1"), Event::new("b").with_header("id", "1"),
        ], "drop".into()),
        ("nothing there", id, vec![Event::new("{}")],
            "no-key: There is nothing at /id; duplicates are found by it".into()),
        ("nothing there, which may be", r#"{"by":"/id","window":"10m","missing":"accept"}"#,
            vec![Event::new("{}"); 2], "accept".into()),
    ];
    for (name, config, events, last) in cases {
        let (mut rule, mut host) = (rule(config), host());
        let verdicts: Vec<_> =
            events.into_iter().map(|event| said(host.judge(&mut rule, event))).collect();
        assert_eq!(verdicts.last(), Some(&last), "{name}");
        assert!(verdicts[..verdicts.len() - 1].iter().all(|verdict| verdict == "accept"), "{name}");
        assert!(host.state.keys().all(|key| key.len() == 33), "{name}");
    }
}

#[test]
fn another_field_is_another_memory() {
    let mut host = host();
    let event = || Event::new(r#"{"a":1,"b":1}"#);
    for by in ["/a", "/b"] {
        let mut rule = rule(&format!(r#"{{"by":"{by}","window":"1h"}}"#));
        assert_eq!(host.judge(&mut rule, event()), Verdict::Accept, "{by}");
    }
}

#[test]
fn a_fixed_window_ends_when_it_was_said_to() {
    let (mut rule, mut host) =
        (rule(r#"{"by":"value","window":"1s","duplicate":"reject"}"#), host());
    let mut retry = |host: &mut fake::Host| {
        let verdict = host.judge(&mut rule, Event::new("a"));
        verdict.rejection().map(|no| no.retry_after_ms.expect("a time"))
    };
    assert_eq!(retry(&mut host), None);
    host.now += 400;
    assert_eq!(retry(&mut host), Some(600));
    host.now += 599;
    assert_eq!(retry(&mut host), Some(1));
    host.now += 1;
    assert_eq!(retry(&mut host), None);
}

#[test]
fn a_sliding_window_ends_when_it_was_quiet() {
    let (mut rule, mut host) = (rule(r#"{"by":"value","window":"1s","slides":true}"#), host());
    let mut judge = |host: &mut fake::Host| said(host.judge(&mut rule, Event::new("a")));
    assert_eq!(judge(&mut host), "accept");
    for _ in 0..5 {
        host.now += 999;
        assert_eq!(judge(&mut host), "drop");
    }
    host.now += 1000;
    assert_eq!(judge(&mut host), "accept");
}

proptest! {
    #[test]
    fn it_is_a_map_from_things_to_the_ends_of_their_windows(
        slides: bool, window in 1_u64..100,
        steps in prop::collection::vec((0_u64..60, 0_u8..4), 1..80),
    ) {
        let config = format!(r#"{{"by":"event","window":"{window}ms","slides":{slides},"duplicate":"reject"}}"#);
        let (mut rule, mut host) = (rule(&config), host());
        let mut model = BTreeMap::<u8, u64>::new();
        for (wait, key) in steps {
            host.now += wait;
            let verdict = host.judge(&mut rule, Event::new("").key([key]));
            let ends = model.get(&key).copied().filter(|ends| host.now < *ends);
            if ends.is_none() || slides {
                model.insert(key, host.now + window);
            }
            match (ends, verdict.rejection()) {
                (None, None) => {}
                (Some(ends), Some(no)) => {
                    let rest = if slides { window } else { ends - host.now };
                    prop_assert_eq!(no.retry_after_ms, Some(rest));
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}

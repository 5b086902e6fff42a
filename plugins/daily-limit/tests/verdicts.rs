//! The rule's promises, as sentences: what an operator configures, what a publisher hears.

use daily_limit::DailyLimit;
use daily_limit::day::DAY_MS;
use weir_plugin::{Event, Filter, Verdict, fake};

/// 2013-01-01T00:00:00Z.
const NEW_YEAR: u64 = 1_356_998_400_000;

fn rule(config: &str) -> DailyLimit {
    DailyLimit::configure(config).expect(config)
}

fn host(now: u64) -> fake::Host {
    fake::Host { now, topic: "flights".into(), ..fake::Host::default() }
}

/// What the publisher hears, in one line.
fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".into(),
        Verdict::Reject(no) => {
            let retry = no.retry_after_ms.map_or("".into(), |ms| format!(" (retry after {ms} ms)"));
            format!("{}: {}{retry}", no.code, no.message)
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn each_event_gets_its_verdict() {
    let pointer = r#"{"limit":1,"key":"/user/id"}"#;
    let spent = |name: &str| {
        format!(
            "daily-limit: {name} has used its 1 for 2013-01-01 (UTC); \
             it opens again at 2013-01-02T00:00:00Z (retry after 86400000 ms)"
        )
    };
    let one = r#"{"limit":1}"#;
    let cases: Vec<(&str, &str, Vec<Event>, String)> = vec![
        ("the first passes", one, vec![Event::new("").key("ann")], "accept".into()),
        ("the second does not", one, vec![Event::new("").key("ann"); 2], spent("ann")),
        (
            "another key has its own limit",
            one,
            vec![Event::new("").key("ann"), Event::new("").key("bob")],
            "accept".into(),
        ),
        ("an empty key is a key", one, vec![Event::new("").key(""); 2], spent("")),
        (
            "a key that is not UTF-8 is shown as well as can be",
            one,
            vec![Event::new("").key([b'a', 0xff]); 2],
            spent("a\u{fffd}"),
        ),
        (
            "no key of the event's own",
            one,
            vec![Event::new(r#"{"user":{"id":"ann"}}"#)],
            "no-key: The event has no key; publish it with the key that its daily limit is counted by".into(),
        ),
        (
            "an endless key",
            one,
            vec![Event::new("").key("x".repeat(5000))],
            "no-key: The key is 5000 bytes long; keys of up to 4096 bytes are counted".into(),
        ),
        (
            "long keys that differ at their end are two",
            one,
            vec![Event::new("").key("x".repeat(500) + "1"), Event::new("").key("x".repeat(500) + "2")],
            "accept".into(),
        ),
        (
            "a pointer finds a string",
            pointer,
            vec![Event::new(r#"{"user":{"id":"ann"}}"#), Event::new(r#"{"user":{"id":"ann"},"x":1}"#)],
            spent("ann"),
        ),
        ("a pointer finds a number", pointer, vec![Event::new(r#"{"user":{"id":42}}"#); 2], spent("42")),
        ("a pointer finds a bool", pointer, vec![Event::new(r#"{"user":{"id":true}}"#); 2], spent("true")),
        (
            "a pointer goes through arrays and escaped names",
            r#"{"limit":1,"key":"/a~1b/1"}"#,
            vec![Event::new(r#"{"a/b":[0,"ann"]}"#); 2],
            spent("ann"),
        ),
        (
            "the event's own key does not stand in for the pointer's",
            pointer,
            vec![Event::new(r#"{"user":{}}"#).key("ann")],
            "no-key: There is nothing at /user/id; a daily limit is counted by it".into(),
        ),
        (
            "a pointer finds null",
            pointer,
            vec![Event::new(r#"{"user":{"id":null}}"#)],
            "no-key: There is null at /user/id; a daily limit is counted by it".into(),
        ),
        (
            "a pointer finds an object",
            pointer,
            vec![Event::new(r#"{"user":{"id":{}}}"#)],
            "no-key: What is at /user/id must be a string, a number or a bool to be counted by".into(),
        ),
        (
            "a pointer into what is no JSON",
            pointer,
            vec![Event::new("user=ann")],
            "no-key: The value is not JSON, so /user/id was not looked for".into(),
        ),
    ];
    for (name, config, events, last) in cases {
        let (mut rule, mut host) = (rule(config), host(NEW_YEAR));
        let verdicts: Vec<_> =
            events.into_iter().map(|event| said(host.judge(&mut rule, event))).collect();
        assert_eq!(verdicts.last(), Some(&last), "{name}");
        assert!(verdicts[..verdicts.len() - 1].iter().all(|verdict| verdict == "accept"), "{name}");
    }
}

#[test]
fn messages_fit_whatever_a_publisher_sends() {
    let pointer = "/".to_string() + &"p".repeat(255);
    let (mut by_key, mut by_pointer) = (
        rule(r#"{"limit":1,"time":"event"}"#),
        rule(&format!(r#"{{"limit":1,"key":"{pointer}"}}"#)),
    );
    let mut host = host(NEW_YEAR);
    for key in ["\u{10ffff}".repeat(1024), "\n".repeat(4096)] {
        let event = Event::new("[]").key(key).timestamp_ms(u64::MAX);
        host.judge(&mut by_key, event.clone());
        for verdict in [host.judge(&mut by_key, event.clone()), host.judge(&mut by_pointer, event)]
        {
            let no = verdict.rejection().expect("refused").clone();
            assert!(no.message.len() <= 512 && no.code.len() <= 64, "{}", no.message.len());
        }
    }
}

#[test]
fn a_day_of_the_brokers_clock_ends_at_midnight_and_leaves_nothing() {
    let (mut rule, mut host) = (rule(r#"{"limit":1}"#), host(NEW_YEAR + DAY_MS - 1));
    let event = || Event::new("").key("ann").timestamp_ms(7);
    assert_eq!(host.judge(&mut rule, event()), Verdict::Accept);
    let no = host.judge(&mut rule, event());
    assert_eq!(no.rejection().and_then(|no| no.retry_after_ms), Some(1));
    host.now += 1;
    assert!(host.state.values().all(|(_, gone_at)| *gone_at == Some(host.now)));
    assert_eq!(host.judge(&mut rule, event()), Verdict::Accept);
}

#[test]
fn event_time_counts_late_events_into_their_own_day() {
    let (mut rule, mut host) =
        (rule(r#"{"limit":1,"time":"event"}"#), host(NEW_YEAR + 40 * DAY_MS));
    let monday = Event::new("").key("ann").timestamp_ms(NEW_YEAR + 1000);
    let tuesday = Event::new("").key("ann").timestamp_ms(NEW_YEAR + DAY_MS);
    assert_eq!(host.judge(&mut rule, monday.clone()), Verdict::Accept);
    assert_eq!(host.judge(&mut rule, tuesday), Verdict::Accept);
    host.now += 31 * DAY_MS;
    assert_eq!(
        said(host.judge(&mut rule, monday)),
        "daily-limit: ann has used its 1 for 2013-01-01 (UTC); \
         it opens again at 2013-01-02T00:00:00Z (retry after 86399000 ms)"
    );
}

#[test]
fn the_first_refusal_of_a_day_sends_one_notice() {
    let (mut rule, mut host) = (rule(r#"{"limit":1,"notice":"notices"}"#), host(NEW_YEAR + 5));
    for _ in 0..4 {
        host.judge(&mut rule, Event::new("").key("N\"1"));
    }
    let value = r#"{"day":"2013-01-01","key":"N\"1","limit":1,"opens_at":"2013-01-02T00:00:00Z","topic":"flights"}"#;
    let notice = Event::new(value).key("N\"1").timestamp_ms(NEW_YEAR + 5);
    assert_eq!(host.emitted, [("notices".to_string(), notice)]);
    host.now += DAY_MS;
    for _ in 0..3 {
        host.judge(&mut rule, Event::new("").key("N\"1"));
    }
    assert_eq!(host.emitted.len(), 2, "the next day has its own");
}

#[test]
fn a_raised_limit_opens_the_day_again_without_a_second_notice() {
    let mut host = host(NEW_YEAR);
    let mut judge = |limit: u32| {
        let mut rule = rule(&format!(r#"{{"limit":{limit},"notice":"notices"}}"#));
        (said(host.judge(&mut rule, Event::new("").key("ann"))), host.emitted.len())
    };
    assert_eq!(judge(1).0, "accept");
    assert!(judge(1).0.starts_with("daily-limit: ann has used its 1 "));
    assert!(judge(1).0.starts_with("daily-limit: "), "a refused attempt counts towards nothing");
    assert_eq!(judge(2), ("accept".into(), 1));
    let (no, notices) = judge(2);
    assert!(no.starts_with("daily-limit: ann has used its 2 "));
    assert_eq!(notices, 1);
}

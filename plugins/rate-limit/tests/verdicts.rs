//! The rule's promises, as sentences: what an operator configures, what a publisher hears.

use proptest::prelude::*;
use rate_limit::RateLimit;
use weir_plugin::{Event, Filter, Verdict, fake};

/// 2013-01-01T00:00:00Z.
const NEW_YEAR: u64 = 1_356_998_400_000;

fn rule(config: &str) -> RateLimit {
    RateLimit::configure(config).expect(config)
}

fn host() -> fake::Host {
    fake::Host { now: NEW_YEAR, publisher: "client:web".into(), ..fake::Host::default() }
}

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
    let ann = |n: usize| vec![Event::new(r#"{"user":"ann","seats":2}"#).key("ann"); n];
    let three = r#"{"rate":3,"per":"1s"}"#;
    let seats = r#"{"rate":3,"per":"1s","burst":4,"cost":"/seats"}"#;
    let used = |name: &str, rate: &str, ms: u64| {
        format!(
            "rate-limit: {name} has used its {rate}; it passes in {ms} ms (retry after {ms} ms)"
        )
    };
    for (name, config, events, last) in [
        ("a burst passes", three, ann(3), "accept".to_string()),
        ("and not one more", three, ann(4), used("ann", "3 per 1 s (burst 3)", 334)),
        (
            "a smaller burst than the rate",
            r#"{"rate":60,"per":"1m","burst":1}"#,
            ann(2),
            used("ann", "60 per 1 m (burst 1)", 1000),
        ),
        (
            "by the publisher",
            r#"{"rate":1,"per":"1h","key":"publisher"}"#,
            [ann(1), vec![Event::new("").key("bob")]].concat(),
            used("client:web", "1 per 1 h (burst 1)", 3_600_000),
        ),
        (
            "by a field",
            r#"{"rate":1,"per":"500ms","key":"/user"}"#,
            vec![Event::new(r#"{"user":7}"#), Event::new(r#"{"user":7.0}"#)],
            used("7", "1 per 500 ms (burst 1)", 500),
        ),
        ("each seat costs", seats, ann(2), "accept".into()),
        ("and is counted", seats, ann(3), used("ann", "3 per 1 s (burst 4)", 667)),
        (
            "what costs nothing always passes",
            seats,
            [ann(2), vec![Event::new(r#"{"seats":0}"#).key("ann")]].concat(),
            "accept".into(),
        ),
        (
            "more than there ever is",
            seats,
            vec![Event::new(r#"{"seats":5}"#).key("ann")],
            "over-burst: The event costs 5, and 4 is the most that passes at once; send it in smaller parts".into(),
        ),
        (
            "no cost",
            seats,
            vec![Event::new(r#"{"seats":-1}"#).key("ann")],
            "no-cost: At /seats there must be what the event costs: a whole number from 0".into(),
        ),
        (
            "no JSON to find a cost in",
            seats,
            vec![Event::new("seats=1").key("ann")],
            "no-cost: The value is not JSON, so its cost was not found at /seats".into(),
        ),
        (
            "no key",
            three,
            vec![Event::new("")],
            "no-key: The event has no key; publish it with the key that its rate limit is counted by".into(),
        ),
    ] {
        let (mut rule, mut host) = (rule(config), host());
        let verdicts: Vec<_> =
            events.into_iter().map(|event| said(host.judge(&mut rule, event))).collect();
        assert_eq!(verdicts.last(), Some(&last), "{name}");
        assert!(verdicts[..verdicts.len() - 1].iter().all(|verdict| verdict == "accept"), "{name}");
    }
}

#[test]
fn refused_attempts_cost_nothing_and_a_full_bucket_leaves_nothing() {
    let (mut rule, mut host) = (rule(r#"{"rate":1,"per":"1s","burst":2}"#), host());
    let event = || Event::new("").key("ann");
    for _ in 0..50 {
        host.judge(&mut rule, event());
    }
    host.now += 999;
    assert!(host.judge(&mut rule, event()).rejection().is_some());
    host.now += 1;
    assert_eq!(host.judge(&mut rule, event()), Verdict::Accept);
    assert!(host.judge(&mut rule, event()).rejection().is_some());
    host.now += 2000;
    assert!(host.state.values().all(|(_, gone_at)| gone_at.is_some_and(|at| at <= host.now)));
}

#[test]
fn event_time_fills_the_bucket_and_never_falls() {
    let (mut rule, mut host) = (rule(r#"{"rate":1,"per":"1s","time":"event"}"#), host());
    let mut at = |host: &mut fake::Host, ms: u64| {
        let verdict = host.judge(&mut rule, Event::new("").key("ann").timestamp_ms(ms));
        verdict.rejection().map(|no| no.retry_after_ms.expect("a time"))
    };
    assert_eq!(at(&mut host, 5_000), None);
    assert_eq!(at(&mut host, 5_999), Some(1));
    assert_eq!(at(&mut host, 6_000), None);
    assert_eq!(at(&mut host, 1_000), Some(1000), "late: judged at 6000, the newest");
    assert_eq!(at(&mut host, 7_000), None, "and took nothing");
    assert_eq!(at(&mut host, u64::MAX), None, "judged at the partition time");
    host.now += 1000;
    assert_eq!(at(&mut host, u64::MAX), None, "so that the key is not locked for ever");
}

#[test]
fn another_rate_goes_on_with_the_same_buckets() {
    let mut host = host();
    let judge = |host: &mut fake::Host, config: &str| {
        let verdict = host.judge(&mut rule(config), Event::new("").key("ann"));
        verdict.rejection().map(|no| no.retry_after_ms.expect("a time"))
    };
    let (slow, fast) = (r#"{"rate":1,"per":"10s"}"#, r#"{"rate":7,"per":"1s"}"#);
    assert_eq!(judge(&mut host, slow), None);
    assert_eq!(judge(&mut host, slow), Some(10_000));
    // What the old rate kept stands: full in ten seconds, of which the new bucket holds one.
    assert_eq!(judge(&mut host, fast), Some(9_143));
    host.now += 9_143;
    assert_eq!(judge(&mut host, fast), None);
}

#[test]
fn messages_fit_whatever_a_publisher_sends() {
    let config = r#"{"rate":1000000000,"per":"366d","burst":1000000000,"cost":"/c"}"#;
    let (mut rule, mut host) = (rule(config), host());
    for key in ["\u{10ffff}".repeat(1024), "\n".repeat(4096), "x".repeat(5000)] {
        for cost in ["1000000000", "1", "18446744073709551615", "1e999999", "-1"] {
            let event = Event::new(format!(r#"{{"c":{cost}}}"#)).key(key.clone());
            if let Some(no) = host.judge(&mut rule, event).rejection() {
                assert!(no.message.len() <= 512 && no.code.len() <= 64, "{}", no.message.len());
            }
        }
    }
}

proptest! {
    /// Whoever waits for what a refusal says passes, and one millisecond earlier does not.
    #[test]
    fn retry_after_is_exact(
        rate in 1_u64..2000, per in 1_u64..5000, burst in 1_u64..30,
        waits in prop::collection::vec(0_u64..300, 1..60),
    ) {
        let config = format!(r#"{{"rate":{rate},"per":"{per}ms","burst":{burst}}}"#);
        let (mut rule, mut host) = (rule(&config), host());
        let event = || Event::new("").key("ann");
        for wait in waits {
            host.now += wait;
            let Some(no) = host.judge(&mut rule, event()).rejection().cloned() else { continue };
            let retry = no.retry_after_ms.expect("a time");
            let mut early = host.clone();
            early.now += retry - 1;
            prop_assert!(early.judge(&mut rule, event()).rejection().is_some());
            host.now += retry;
            prop_assert_eq!(host.judge(&mut rule, event()), Verdict::Accept);
        }
    }
}

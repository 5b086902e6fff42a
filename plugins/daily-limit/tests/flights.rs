//! The rule on real events: 10,000 departures from New York in January 2013, an aircraft each.
//! Reads the project's own sample, ../../tests/data/flights-10k.jsonl; the expected figures were
//! counted elsewhere, without this rule.

use std::collections::BTreeMap;

use daily_limit::DailyLimit;
use serde_json::Value;
use weir_plugin::{Event, Filter, Verdict, fake};

/// `2013-01-01T10:00:00Z` in milliseconds since the epoch; the sample knows no other form.
fn millis(text: &str) -> u64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().expect("a number");
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    assert!(year == 2013 && month <= 2 && text.ends_with('Z'), "not of the sample: {text}");
    let new_year = 1_356_998_400;
    let days = (month - 1) * 31 + day - 1;
    1000 * (new_year + days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19))
}

#[test]
fn an_aircraft_leaves_so_often_a_day_and_not_once_more() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/flights-10k.jsonl");
    let sample = std::fs::read_to_string(path).expect(path);
    for (limit, accepted, over, no_key, notices) in [(2, 9531, 455, 14, 403), (3, 9934, 52, 14, 52)]
    {
        let config =
            format!(r#"{{"limit":{limit},"key":"event","time":"event","notice":"notices"}}"#);
        let mut rule = DailyLimit::configure(&config).expect("a config");
        let mut host = fake::Host::default();
        let mut counts = BTreeMap::from([("accept".to_string(), 0)]);
        for line in sample.lines() {
            let json: Value = serde_json::from_str(line).expect("JSON");
            let mut event =
                Event::new(line).timestamp_ms(millis(json["time"].as_str().expect("a time")));
            event.key = json["tailnum"].as_str().map(|tail| tail.as_bytes().to_vec());
            let name = match host.judge(&mut rule, event) {
                Verdict::Accept => "accept".to_string(),
                Verdict::Reject(no) => no.code,
                other => format!("{other:?}"),
            };
            *counts.entry(name).or_insert(0) += 1;
        }
        let expected = [("accept", accepted), ("daily-limit", over), ("no-key", no_key)];
        let expected = BTreeMap::from(expected.map(|(name, count)| (name.to_string(), count)));
        assert_eq!((counts, host.emitted.len()), (expected, notices), "limit {limit}");
    }
}

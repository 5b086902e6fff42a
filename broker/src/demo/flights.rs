//! The sample the demo runs on: 10,000 real departures from New York in January 2013.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weir_client::Event;
use weir_wire::ids::Timestamp;

/// In file order, one JSON object a line; from the R package nycflights13 (CC0).
const SAMPLE: &[u8] = include_bytes!("../../../tests/data/flights-10k.jsonl");

/// The fields that the rule is about.
#[derive(Deserialize)]
struct Departure<'l> {
    #[serde(borrow)]
    tailnum: Option<Cow<'l, str>>,
    time: &'l str,
}

/// Every departure as an event: the line is the value, the aircraft the key (a few have none),
/// the scheduled hour the timestamp.
pub fn flights() -> Vec<Event> {
    let lines = SAMPLE.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(event).collect()
}

fn event(line: &'static [u8]) -> Event {
    let departure: Departure<'_> = serde_json::from_slice(line).expect("the sample is JSON lines");
    let time =
        OffsetDateTime::parse(departure.time, &Rfc3339).expect("the sample's times are RFC 3339");
    Event {
        timestamp: Timestamp(u64::try_from(time.unix_timestamp()).expect("after 1970") * 1000),
        key: departure.tailnum.map(|tailnum| Bytes::from(tailnum.into_owned())),
        value: Some(Bytes::from_static(line)),
        headers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_sample_is_a_flight() {
        let flights = flights();
        assert_eq!(flights.len(), 10_000);
        assert_eq!(flights[0].key.as_deref(), Some(&b"N14228"[..]));
        assert_eq!(flights[0].timestamp, Timestamp(1_357_034_400_000));
        assert!(flights.iter().any(|flight| flight.key.is_none()), "some have no tail number");
    }
}

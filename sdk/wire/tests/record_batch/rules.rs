//! Which rule a wrong batch breaks, in the words its publisher reads.

use bytes::Bytes;
use expect_test::{Expect, expect};
use weir_wire::fault::{Code, Fault};
use weir_wire::record_batch::{BatchLimits, Compression, Event, Header, RecordBatch};

use super::{built, opened, reseal, sealed};

fn check(batch: &Bytes, expected: Expect) {
    let error = opened(batch).expect_err("the batch is wrong");
    assert_eq!(Fault::from(error.clone()).code, Code::InvalidBatch);
    expected.assert_eq(&error.to_string());
}

/// A right batch whose head has `bytes` at `at`, with a right CRC.
fn with_head(at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = built(&[Event::default()], Compression::None).to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    reseal(batch)
}

#[test]
fn heads_that_are_wrong() {
    check(&Bytes::new(), expect!["the record batch is cut off: it takes 61 bytes and 0 are there"]);
    check(
        &with_head(16, &[1]),
        expect!["the record batch has magic 1; send Kafka's format v2, magic 2"],
    );
    check(
        &with_head(21, &[0, 5]),
        expect![
            "the record batch has attributes 0x0005; use compressions 0 to 4 and leave bits 6 to 15 zero"
        ],
    );
    check(
        &with_head(21, &[0, 0x40]),
        expect![
            "the record batch has attributes 0x0040; use compressions 0 to 4 and leave bits 6 to 15 zero"
        ],
    );
    check(
        &with_head(21, &[0, 0x08]),
        expect![
            "the record batch asks for log append time; clear attributes bit 3 and set timestamps"
        ],
    );
    check(
        &with_head(57, &2i32.to_be_bytes()),
        expect![
            "the record batch says 2 records and last offset delta 0; send at least one, and count densely"
        ],
    );
    check(
        &sealed(0, 0, &[]),
        expect![
            "the record batch says 0 records and last offset delta -1; send at least one, and count densely"
        ],
    );
    check(
        &with_head(43, &(-2i64).to_be_bytes()),
        expect![
            "the record batch's producer fields are invalid: a producer id is -1 for none, or not negative"
        ],
    );
    check(
        &with_head(51, &(-1i16).to_be_bytes()),
        expect![
            "the record batch's producer fields are invalid: a producer id needs an epoch from 0 to 32767"
        ],
    );
    check(
        &with_head(53, &(-1i32).to_be_bytes()),
        expect![
            "the record batch's producer fields are invalid: a producer id needs a base sequence from 0 to 2147483647"
        ],
    );
    let mut short = with_head(0, &[]).to_vec();
    short[8..12].copy_from_slice(&48i32.to_be_bytes());
    check(
        &short.into(),
        expect![
            "the record batch's length field says 48, which is less than the fixed fields take"
        ],
    );
    let mut long = with_head(0, &[]).to_vec();
    long.push(0);
    check(&long.into(), expect!["1 bytes follow the record batch; send one batch at a time"]);
}

#[test]
fn records_that_are_wrong() {
    // length 6: attributes, timestamp delta, offset delta, null key, null value, no headers
    let good = [12, 0, 0, 0, 1, 1, 0];
    assert_eq!(opened(&sealed(0, 1, &good)).expect("one record").len(), 1);
    let record = |bytes: &[u8]| sealed(0, 1, &[&[2 * bytes.len() as u8], bytes].concat());

    check(
        &sealed(0, 2, &[good, good].concat()),
        expect![
            "event 1 of the record batch is invalid: offset deltas rise, up to that of the last record"
        ],
    );
    check(
        &sealed(0, 2, &good),
        expect!["event 1 of the record batch is invalid: its length is not that of its bytes"],
    );
    check(
        &sealed(0, 1, &[&good[..], &[0]].concat()),
        expect!["1 bytes follow the last event that the record batch counts"],
    );
    check(
        &record(&[1, 0, 0, 1, 1, 0]),
        expect!["event 0 of the record batch is invalid: its attributes are not 0"],
    );
    check(
        &record(&[0, 1, 0, 1, 1, 0]),
        expect![
            "event 0 of the record batch is invalid: its timestamp is not a number of milliseconds since 1970"
        ],
    );
    check(
        &record(&[0, 0, 0, 3, 1, 0]),
        expect!["event 0 of the record batch is invalid: its key is cut off"],
    );
    check(
        &record(&[0, 0, 0, 1, 20, 0]),
        expect!["event 0 of the record batch is invalid: its value is cut off"],
    );
    check(
        &record(&[0, 0, 0, 1, 1, 1]),
        expect![
            "event 0 of the record batch is invalid: its number of headers is no number from 0 on"
        ],
    );
    // A name of one byte that is not UTF-8; a null name; a header that is counted and not there.
    for headers in [&[2, 2, 0xFF, 1][..], &[2, 1, 1], &[2]] {
        check(
            &record(&[&[0, 0, 0, 1, 1], headers].concat()),
            expect![
                "event 0 of the record batch is invalid: a header is cut off, or its name is not UTF-8"
            ],
        );
    }
    check(
        &record(&[0, 0, 0, 1, 1, 0, 0]),
        expect!["event 0 of the record batch is invalid: bytes follow its last header"],
    );
}

#[test]
fn a_timestamp_past_the_last_is_refused() {
    let mut batch = sealed(0, 1, &[12, 0, 2, 0, 1, 1, 0]).to_vec();
    batch[27..35].copy_from_slice(&i64::MAX.to_be_bytes());
    check(
        &reseal(batch),
        expect![
            "event 0 of the record batch is invalid: its timestamp is not a number of milliseconds since 1970"
        ],
    );
}

#[test]
fn what_is_over_a_limit_is_too_large() {
    let event = Event { value: Some(vec![b'x'; 100].into()), ..Event::default() };
    let events = [Event::default(), event];
    let plain = built(&events, Compression::None);
    let size = plain.len();
    let limits = BatchLimits {
        batch_bytes_max: size,
        decompressed_bytes_max: size - 61,
        events_max: 2,
        event_bytes_max: 100,
    };
    let check = |compression, limits: BatchLimits, expected: Expect| {
        let batch = RecordBatch::parse(built(&events, compression)).expect("a batch");
        let answer = match batch.open(&limits) {
            Ok(records) => format!("{} events", records.len()),
            Err(error) => Fault::from(error).to_string(),
        };
        expected.assert_eq(&answer);
    };
    for compression in Compression::ALL {
        check(compression, limits, expect!["2 events"]);
    }
    check(
        Compression::None,
        BatchLimits { batch_bytes_max: size - 1, ..limits },
        expect![
            "a record batch of 177 bytes is over the limit of 176; send fewer events at a time (too-large)"
        ],
    );
    check(
        Compression::None,
        BatchLimits { events_max: 1, ..limits },
        expect![
            "a record batch of 2 events is over the limit of 1; send fewer events at a time (too-large)"
        ],
    );
    check(
        Compression::None,
        BatchLimits { event_bytes_max: 99, ..limits },
        expect![
            "event 1 of the record batch has 100 bytes of key, value and headers, over the limit of 99; make it smaller (too-large)"
        ],
    );
    for compression in &Compression::ALL[1..] {
        check(
            *compression,
            BatchLimits { decompressed_bytes_max: size - 62, ..limits },
            expect![
                "the record batch decompresses to more than the limit of 115 bytes; send fewer events at a time (too-large)"
            ],
        );
    }
}

#[test]
fn the_brokers_own_headers_are_noticed() {
    for (name, reserved) in [("weir-fault", true), ("weir", false), ("x-weir-fault", false)] {
        let header = Header { name: name.into(), value: None };
        let event = Event { headers: vec![header], ..Event::default() };
        let records = opened(&built(&[Event::default(), event], Compression::None)).expect(name);
        assert_eq!(records.has_reserved_header(), reserved, "{name}");
    }
}

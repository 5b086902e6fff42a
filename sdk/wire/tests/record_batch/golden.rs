//! Bytes that were written once and are read for ever: the same three events by two writers,
//! weir's builder (`golden/batch-*.bin`) and kafka-python 3.0.12 (`golden/kafka-python-*.bin`).
//! The files are never edited; a younger format adds younger files.

use bytes::Bytes;
use weir_wire::ids::Timestamp;
use weir_wire::record_batch::{Compression, Event, Header, RecordBatch};

use super::{built, opened};

fn golden(name: &str) -> Bytes {
    let path = format!("{}/golden/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).expect(&path).into()
}

fn sample() -> Vec<Event> {
    let header = |value| Header { name: "trace".into(), value };
    let departure = Timestamp(1_357_048_800_000);
    vec![
        Event {
            timestamp: departure,
            key: Some("N14228".into()),
            // Long enough for a compressor to be of use: kafka-python sends it plain otherwise.
            value: Some("EWR-IAH ".repeat(20).into()),
            headers: vec![header(Some(Bytes::from_static(&[0, 0xFF]))), header(None)],
        },
        Event { timestamp: Timestamp(departure.0 - 5), ..Event::default() },
        Event {
            timestamp: Timestamp(departure.0 + 100_000),
            key: Some(Bytes::new()),
            value: Some(Bytes::new()),
            headers: vec![],
        },
    ]
}

const NAMES: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn the_golden_batches_read_as_the_events_they_were_made_of() {
    for writer in ["batch", "kafka-python"] {
        for (name, compression) in NAMES.into_iter().zip(Compression::ALL) {
            let bytes = golden(&format!("{writer}-{name}"));
            let header = *RecordBatch::parse(bytes.clone()).expect(name).header();
            assert_eq!(header.compression, compression);
            assert_eq!(
                (header.producer_id, header.producer_epoch, header.base_sequence),
                (7, 3, 11)
            );
            let events: Vec<_> = opened(&bytes).expect(name).events().collect();
            assert_eq!(events, sample(), "{writer}-{name}");
        }
    }
}

/// Only the uncompressed ones: how well a compressor does is its own affair.
#[test]
fn the_builder_writes_the_golden_bytes() {
    let bytes = built(&sample(), Compression::None);
    assert_eq!(bytes, golden("batch-none"));
}

/// All but the leader epoch, 12 to 16, which kafka-python leaves at 0.
#[test]
fn two_writers_agree_on_every_byte() {
    let (ours, other) = (golden("batch-none"), golden("kafka-python-none"));
    assert_eq!(ours[..12], other[..12]);
    assert_eq!(ours[16..], other[16..]);
}

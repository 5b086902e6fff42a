//! Bytes that were damaged, cut or made up: refused or read, never a panic.

use bytes::Bytes;
use proptest::prelude::*;
use weir_wire::ids::Timestamp;
use weir_wire::record_batch::{Compression, Event, Header, RecordBatch};

use super::{any_compression, any_event, built, opened, reseal, sealed};

/// Opens a batch and looks at all of it; says whether it was one.
fn is_read(batch: &Bytes) -> bool {
    let Ok(records) = opened(batch) else { return false };
    let all: Vec<_> = records.iter().map(|record| record.to_event()).collect();
    assert_eq!(all.len(), records.len() as usize);
    true
}

fn sample(compression: Compression) -> Bytes {
    let header = Header { name: "weir-é".into(), value: Some("v".into()) };
    let event = Event {
        timestamp: Timestamp(1_000_000),
        key: Some("key".into()),
        value: Some("value value value value".into()),
        headers: vec![header],
    };
    built(&[event.clone(), Event::default(), event], compression)
}

#[test]
fn every_flipped_bit_is_found() {
    for compression in Compression::ALL {
        let good = sample(compression);
        // Base offset and leader epoch are the log's, and outside the CRC.
        for at in (8..12).chain(16..good.len()) {
            for bit in 0..8 {
                let mut batch = good.to_vec();
                batch[at] ^= 1 << bit;
                assert!(RecordBatch::parse(batch.into()).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn every_cut_is_found() {
    for compression in Compression::ALL {
        let good = sample(compression);
        for bytes in 0..good.len() {
            assert!(RecordBatch::parse(good.slice(..bytes)).is_err(), "cut to {bytes}");
            if bytes >= 61 {
                let resealed = reseal(good[..bytes].to_vec());
                assert!(!is_read(&resealed), "cut to {bytes} and sealed again, {compression:?}");
            }
        }
    }
}

#[test]
fn bytes_behind_the_compressed_ones_are_found() {
    for compression in Compression::ALL {
        for tail in [&[0][..], &[0; 20], &[0xFF; 20]] {
            let batch = reseal([&sample(compression)[..], tail].concat());
            assert!(!is_read(&batch), "{compression:?} and {tail:?}");
        }
    }
}

/// Found by `fuzz/`: others take such a header for the beginning of a bare block, and fail.
#[test]
fn snappy_framing_of_another_version_is_refused() {
    let good = sample(Compression::Snappy);
    for at in 61 + 8..61 + 16 {
        let mut batch = good.to_vec();
        batch[at] ^= 1;
        assert!(!is_read(&reseal(batch)), "byte {at}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(RecordBatch::parse(bytes.into()).is_err());
    }

    #[test]
    fn any_records_are_answered(
        attributes in 0u16..5,
        records in 1i32..4,
        body in proptest::collection::vec(prop_oneof![0u8..30, any::<u8>()], 0..100),
    ) {
        is_read(&sealed(attributes, records, &body));
    }

    #[test]
    fn any_change_that_keeps_the_checksum_right_is_answered(
        events in proptest::collection::vec(any_event(), 1..5),
        compression in any_compression(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut batch = built(&events, compression).to_vec();
        for (at, byte) in changes {
            let at = 21 + at.index(batch.len() - 21);
            batch[at] = byte;
        }
        is_read(&reseal(batch));
    }
}

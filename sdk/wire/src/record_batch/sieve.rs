//! Takes records out of a stored batch: for compaction, and for consumers who want some of it only.

use bytes::Bytes;

use super::{BatchBuilder, BatchError, BatchLimits, Record, RecordBatch};

/// The batch with those of its records for which `keeps` holds, in the same compression; the very
/// bytes if that is all of them, `None` if it is none.
///
/// What is kept keeps its offset: base offset, leader epoch and last offset delta stay, as in Kafka's
/// log cleaner. Producer numbers go: they would be wrong behind a gap.
///
/// # Errors
/// A batch that [`RecordBatch::open_stored`] refuses.
pub fn sieve(
    batch: &RecordBatch,
    limits: &BatchLimits,
    mut keeps: impl FnMut(&Record<'_>) -> bool,
) -> Result<Option<Bytes>, BatchError> {
    let header = *batch.header();
    let records = batch.open_stored(limits)?;
    // Asked once each: whoever decides may count.
    let kept: Vec<bool> = records.iter().map(|record| keeps(&record)).collect();
    if kept.iter().all(|kept| *kept) {
        return Ok(Some(batch.bytes().clone()));
    }
    let mut builder = BatchBuilder::default();
    for (record, _) in records.iter().zip(kept).filter(|(_, kept)| *kept) {
        builder.push_at(record.offset_delta, &record);
    }
    if builder.is_empty() {
        return Ok(None);
    }
    builder.end_at(header.last_offset_delta);
    let mut bytes = Vec::from(builder.finish(header.compression));
    // Outside of the CRC: the log's stamps stay as they are.
    for stamp in [0..8, 12..16] {
        bytes[stamp.clone()].copy_from_slice(&batch.bytes()[stamp]);
    }
    Ok(Some(bytes.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Offset, Timestamp};
    use crate::record_batch::{Compression, Event, stamp};

    const LIMITS: BatchLimits = BatchLimits {
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: 4 << 20,
        events_max: 10_000,
        event_bytes_max: 1 << 20,
    };

    fn batch(values: &[u8], compression: Compression) -> RecordBatch {
        let mut builder = BatchBuilder::default();
        for (number, value) in (1_000..).zip(values) {
            let value = Some(Bytes::copy_from_slice(&[*value; 3]));
            let event = Event { timestamp: Timestamp(number), value, ..Event::default() };
            builder.push(&event.as_record());
        }
        let mut bytes = Vec::from(builder.finish(compression));
        stamp(&mut bytes, Offset(500), 7);
        RecordBatch::parse(bytes.into()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_kept_keeps_its_offset_and_sieving_twice_is_sieving_once(
            values in proptest::collection::vec(any::<u8>(), 1..40),
            compression in 0usize..5,
            first in any::<u8>(),
            second in any::<u8>(),
        ) {
            let whole = batch(&values, Compression::ALL[compression]);
            let take = |batch: &RecordBatch, mask: u8| {
                sieve(batch, &LIMITS, |record| record.value.unwrap()[0] & mask != 0).unwrap()
            };
            let once = take(&whole, first & second);
            let twice = take(&whole, first).and_then(|bytes| {
                // A second sieve may keep what the first kept by another bit.
                sieve(&RecordBatch::parse(bytes).unwrap(), &LIMITS, |record| {
                    record.value.unwrap()[0] & first & second != 0
                }).unwrap()
            });
            prop_assert_eq!(&once, &twice);
            let expected: Vec<_> = (0u32..).zip(&values)
                .filter(|(_, value)| **value & first & second != 0)
                .map(|(delta, value)| (delta, 1_000 + u64::from(delta), *value))
                .collect();
            let Some(bytes) = once else {
                prop_assert!(expected.is_empty());
                return Ok(());
            };
            let kept = RecordBatch::parse(bytes).unwrap();
            let header = kept.header();
            prop_assert_eq!(header.base_offset, 500);
            prop_assert_eq!(header.leader_epoch, 7);
            prop_assert_eq!(header.last_offset_delta as usize, values.len() - 1);
            let records = kept.open_stored(&LIMITS).unwrap();
            let found: Vec<_> = records.iter()
                .map(|record| (record.offset_delta, record.timestamp.0, record.value.unwrap()[0]))
                .collect();
            prop_assert_eq!(&found, &expected);
            // A publisher may not send such a thing.
            prop_assert_eq!(kept.open(&LIMITS).is_ok(), found.len() == values.len());
        }
    }

    #[test]
    fn a_batch_of_which_all_is_kept_is_the_very_bytes() {
        let whole = batch(&[1, 2, 3], Compression::Zstd);
        let kept = sieve(&whole, &LIMITS, |_| true).unwrap().unwrap();
        assert_eq!(kept.as_ptr(), whole.bytes().as_ptr());
    }
}

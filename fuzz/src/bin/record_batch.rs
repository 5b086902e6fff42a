//! Record batches, as they come and with a right checksum. What weir takes, the crate
//! `kafka-protocol` reads the same.
#![no_main]

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use libfuzzer_sys::fuzz_target;
use weir_fuzz::{bounded, seal};
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Event, RecordBatch, Records, sieve};

fuzz_target!(|input: &[u8]| {
    let mut row = Bytes::copy_from_slice(input);
    bounded(|| {
        while let Ok(Some(batch)) = RecordBatch::split_first(&mut row) {
            let _ = batch.open_stored(&BatchLimits::default());
        }
    });
    let mut sealed = input.to_vec();
    seal::record_batch(&mut sealed);
    let Some((batch, events)) = bounded(|| open(sealed.into())) else { return };
    compare(&batch, &events);
});

/// Small, so that a bomb that chance makes is a matter of microseconds; the bombs in the corpus have
/// right checksums and meet the real limits above.
const SMALL: BatchLimits = BatchLimits {
    batch_bytes_max: 64 << 10,
    decompressed_bytes_max: 256 << 10,
    events_max: 10_000,
    event_bytes_max: 128 << 10,
};

fn open(bytes: Bytes) -> Option<(RecordBatch, Vec<Event>)> {
    let batch = RecordBatch::parse(bytes).ok()?;
    let records = batch.open(&SMALL).ok()?;
    let events = walk(&records);
    let mut builder = BatchBuilder::default();
    events.iter().for_each(|event| builder.push(&event.as_record()));
    let rebuilt = RecordBatch::parse(builder.finish(batch.header().compression));
    let rebuilt = rebuilt.expect("a built batch is one").open(&STORED).expect("and can be opened");
    assert!(walk(&rebuilt) == events, "a batch built anew has the same events");
    thin_out(&batch, &events);
    Some((batch, events))
}

/// With every third event taken out, the others are as they were.
fn thin_out(batch: &RecordBatch, events: &[Event]) {
    let stays = |delta: u32| delta % 3 != 1;
    let kept =
        sieve(batch, &STORED, |record| stays(record.offset_delta)).expect("it can be opened");
    let kept = kept.map(|bytes| RecordBatch::parse(bytes).expect("what is left is a batch"));
    let left: Vec<Event> = kept.map_or(Vec::new(), |kept| {
        assert_eq!(kept.header().base_offset, batch.header().base_offset);
        assert_eq!(kept.header().last_offset_delta, batch.header().last_offset_delta);
        walk(&kept.open_stored(&STORED).expect("and can be opened"))
    });
    let expected = (0..).zip(events).filter(|(delta, _)| stays(*delta)).map(|(_, event)| event);
    assert!(left.iter().eq(expected), "another event went");
}

/// Built anew, a batch may be a little longer than it was.
const STORED: BatchLimits = BatchLimits {
    batch_bytes_max: usize::MAX,
    decompressed_bytes_max: 1 << 20,
    events_max: u32::MAX,
    event_bytes_max: usize::MAX,
};

fn walk(records: &Records) -> Vec<Event> {
    let events: Vec<Event> = records.events().collect();
    assert_eq!(events.len(), records.len() as usize);
    assert_eq!(events.iter().map(|event| event.timestamp).max(), Some(records.max_timestamp()));
    events
}

fn compare(batch: &RecordBatch, events: &[Event]) {
    let compression = batch.header().compression;
    let theirs = RecordBatchDecoder::decode(&mut batch.bytes().clone())
        .unwrap_or_else(|error| panic!("they refuse what weir takes ({compression:?}): {error}"));
    assert_eq!(theirs.records.len(), events.len());
    assert_eq!(theirs.compression as i8, compression as i8);
    for (index, (theirs, ours)) in theirs.records.iter().zip(events).enumerate() {
        assert_eq!(theirs.offset, batch.header().base_offset.wrapping_add(index as i64));
        assert_eq!(theirs.timestamp as u64, ours.timestamp.0);
        assert_eq!((&theirs.key, &theirs.value), (&ours.key, &ours.value));
        // They keep headers as a map: of a name that stands twice, the last.
        for (name, value) in &theirs.headers {
            let last = ours.headers.iter().rfind(|header| header.name == name.as_str());
            assert_eq!(Some(value), last.map(|header| &header.value));
        }
        let known = |name: &str| theirs.headers.keys().any(|key| key.as_str() == name);
        assert!(ours.headers.len() > 64 || ours.headers.iter().all(|ours| known(&ours.name)));
    }
}

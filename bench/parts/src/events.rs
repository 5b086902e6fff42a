//! What the parts are given: events as a service of bookings publishes them, the same in every run.

use bytes::Bytes;
use weir_partition::{Batch, Mode, Origin, Source};
use weir_wire::ids::{Principal, ProducerEpoch, ProducerId, Sequence, Timestamp};
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Compression, Event, RecordBatch};

/// Events of a batch.
pub const EVENTS: u32 = 1_000;
/// Keys that they share: each comes four times in a batch.
pub const KEYS: u32 = 250;
/// Bytes of a value.
const VALUE_BYTES: usize = 128;
/// The partition time of all parts: a morning in November 2026.
pub const NOW: Timestamp = Timestamp(1_795_500_000_000);

/// `count` events of batch `number`. Each batch has other values.
pub fn events(number: u32, count: u32) -> Vec<Event> {
    let mut chance = fastrand::Rng::with_seed(number.into());
    let mut event = |index: u32| {
        let mut value = vec![0; VALUE_BYTES];
        chance.fill(&mut value);
        Event {
            timestamp: Timestamp(NOW.0 + u64::from(index)),
            key: Some(key((number * count + index) % KEYS)),
            value: Some(value.into()),
            headers: Vec::new(),
        }
    };
    (0..count).map(&mut event).collect()
}

/// The key of a user.
pub fn key(user: u32) -> Bytes {
    format!("user-{user:06}").into()
}

/// The bytes of batch `number`, as its publisher sends it.
pub fn encoded(number: u32, count: u32) -> Bytes {
    let mut builder = BatchBuilder::default();
    for event in events(number, count) {
        builder.push(&event.as_record());
    }
    builder.finish(Compression::None)
}

/// Batch `number` of one producer, as the desk hands it on. Batches count from 0 and are of one size.
pub fn batch(number: u32, count: u32) -> Batch {
    let encoded = RecordBatch::parse(encoded(number, count)).expect("our own batch");
    let records = encoded.open(&BatchLimits::default()).expect("our own records");
    Batch {
        publisher: Principal::parse("client:bookings").expect("a name"),
        mode: Mode::PerEvent,
        origin: Origin::Producer {
            id: ProducerId(7),
            epoch: ProducerEpoch(0),
            first: Sequence::new(number * count),
        },
        source: Source::Untold,
        encoded,
        records,
    }
}

//! Record batches and keys.

use std::hint::black_box;

use weir_wire::partitioner::partition_for_key;
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Compression, RecordBatch};

use crate::count::warm;
use crate::events::{EVENTS, batch, encoded, events, key};

pub fn open() {
    let bytes = encoded(0, EVENTS);
    warm(|| {
        let batch = RecordBatch::parse(bytes.clone()).expect("our own batch");
        drop(black_box(batch.open(&BatchLimits::default())));
    });
}

pub fn iterate() {
    let records = batch(0, EVENTS).records;
    warm(|| {
        for record in records.iter() {
            black_box(record);
        }
    });
}

pub fn build() {
    let events = events(0, EVENTS);
    let mut builder = BatchBuilder::default();
    warm(|| {
        for event in &events {
            builder.push(&event.as_record());
        }
        drop(black_box(builder.finish(Compression::None)));
    });
}

pub fn partition() {
    let keys: Vec<_> = (0..EVENTS).map(key).collect();
    warm(|| {
        for key in &keys {
            black_box(partition_for_key(key, 12));
        }
    });
}

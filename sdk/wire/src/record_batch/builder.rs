//! From events to the bytes of a batch.

use bytes::Bytes;

use crate::ids::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::varint;

use super::compression::compress;
use super::{BATCH_HEADER_BYTES, BatchHeader, Compression, Record};

/// Collects events and makes a batch of them; then collects the next one in the same buffer.
///
/// Promises: what it makes passes [`RecordBatch::open`](super::RecordBatch::open), within limits
/// that the caller keeps by [`len`](Self::len) and [`bytes_with`](Self::bytes_with). Adding an
/// event allocates only while the buffer still grows.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// Room for the head, then the records; empty before the first.
    bytes: Vec<u8>,
    count: u32,
    /// The delta of the next event, if it leaves none out.
    next_delta: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
}

impl BatchBuilder {
    /// Adds an event. Its offset delta is its place in this batch, whatever `record` says; a
    /// timestamp beyond 63 bits, Kafka's most, becomes the largest there is.
    ///
    /// # Panics
    /// If one event has 2 GiB; the event limit is far below.
    pub fn push(&mut self, record: &Record<'_>) {
        let delta = self.next_delta;
        self.push_at(delta, record);
    }

    /// The same, with an offset delta that may leave some out: for [`sieve`](super::sieve).
    pub(super) fn push_at(&mut self, delta: u32, record: &Record<'_>) {
        self.next_delta = delta;
        if self.bytes.is_empty() {
            self.bytes.resize(BATCH_HEADER_BYTES, 0);
        }
        let timestamp = kafka_timestamp(record.timestamp);
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (timestamp, timestamp);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let record_bytes = self.record_bytes(record);
        let out = &mut self.bytes;
        out.reserve(varint::encoded_bytes(record_bytes as i64) + record_bytes);
        varint::write(out, length(record_bytes));
        out.push(0);
        varint::write(out, timestamp - self.base_timestamp);
        varint::write(out, delta.into());
        write_bytes(out, record.key);
        write_bytes(out, record.value);
        varint::write(out, length(record.headers.len()));
        for (name, value) in record.headers.iter() {
            write_bytes(out, Some(name.as_bytes()));
            write_bytes(out, value);
        }
        self.count += 1;
        self.next_delta = delta + 1;
    }

    /// How many events there are.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, uncompressed.
    pub fn encoded_bytes(&self) -> usize {
        self.bytes.len().max(BATCH_HEADER_BYTES)
    }

    /// Bytes of the batch, uncompressed, if `record` were added now.
    pub fn bytes_with(&self, record: &Record<'_>) -> usize {
        let record_bytes = self.record_bytes(record);
        self.encoded_bytes() + varint::encoded_bytes(record_bytes as i64) + record_bytes
    }

    /// The largest timestamp so far; 0 before the first event.
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.max_timestamp as u64)
    }

    /// Whose events these are, and the sequence of the first; else the batch names no producer.
    ///
    /// # Panics
    /// If a number is over Kafka's: an id has 63 bits, an epoch 15.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, first: Sequence) {
        assert!(id.0 <= i64::MAX as u64, "a producer id has 63 bits");
        assert!(epoch.0 <= i16::MAX as u16, "a producer epoch has 15 bits");
        self.producer = Some((id, epoch, first));
    }

    /// The batch, with base offset 0 and leader epoch -1. The builder is as new, but for its buffer.
    ///
    /// # Panics
    /// If there is no event: Kafka's format has no empty batch.
    pub fn finish(&mut self, compression: Compression) -> Bytes {
        assert!(0 < self.count, "a batch has at least one event");
        let (id, epoch, first) = match self.producer {
            Some((id, epoch, first)) => (id.0 as i64, epoch.0 as i16, first.number() as i32),
            None => (-1, -1, -1),
        };
        let header = BatchHeader {
            base_offset: 0,
            total_bytes: 0,
            leader_epoch: -1,
            crc: 0,
            compression,
            is_control: false,
            is_transactional: false,
            is_log_append_time: false,
            last_offset_delta: self.next_delta - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: id,
            producer_epoch: epoch,
            base_sequence: first,
            records: self.count,
        };
        let batch = if compression == Compression::None {
            header.seal(&mut self.bytes);
            // A copy of just the size: the batch may stay long, the buffer is for the next one.
            Bytes::copy_from_slice(&self.bytes)
        } else {
            let mut batch = vec![0; BATCH_HEADER_BYTES];
            compress(compression, &self.bytes[BATCH_HEADER_BYTES..], &mut batch);
            header.seal(&mut batch);
            batch.into()
        };
        self.clear();
        batch
    }

    /// Ends the batch with this offset delta, if its last event's is less.
    pub(super) fn end_at(&mut self, last_offset_delta: u32) {
        self.next_delta = self.next_delta.max(last_offset_delta + 1);
    }

    /// Forgets the events and the producer; keeps the buffer.
    pub fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        *self = Self { bytes, ..Self::default() };
    }

    /// Bytes of a record behind its length field, if it came next.
    fn record_bytes(&self, record: &Record<'_>) -> usize {
        let timestamp = kafka_timestamp(record.timestamp);
        let base_timestamp = if self.count == 0 { timestamp } else { self.base_timestamp };
        let headers: usize = record
            .headers
            .iter()
            .map(|(name, value)| field_bytes(Some(name.as_bytes())) + field_bytes(value))
            .sum();
        1 + varint::encoded_bytes(timestamp - base_timestamp)
            + varint::encoded_bytes(self.next_delta.into())
            + field_bytes(record.key)
            + field_bytes(record.value)
            + varint::encoded_bytes(length(record.headers.len()))
            + headers
    }
}

fn kafka_timestamp(timestamp: Timestamp) -> i64 {
    i64::try_from(timestamp.0).unwrap_or(i64::MAX)
}

fn length(bytes: usize) -> i64 {
    i32::try_from(bytes).expect("limits keep every part of an event below 2 GiB").into()
}

fn field_bytes(field: Option<&[u8]>) -> usize {
    match field {
        None => varint::encoded_bytes(-1),
        Some(bytes) => varint::encoded_bytes(length(bytes.len())) + bytes.len(),
    }
}

fn write_bytes(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => varint::write(out, -1),
        Some(bytes) => {
            varint::write(out, length(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

//! Kafka record batches, format v2 (SKELETON: the record-batch helper fills this in).

use bytes::Bytes;
use crate::ids::Timestamp;

/// An event that owns its bytes (cheap to clone: slices of shared buffers).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The producer's own timestamp.
    pub timestamp: Timestamp,
    /// What the event is about; events with one key are in one partition, in order.
    pub key: Option<Bytes>,
    /// The payload; `None` is Kafka's null (a tombstone), which plugins see as empty.
    pub value: Option<Bytes>,
    /// Names and values, in order; a name may stand more than once.
    pub headers: Vec<Header>,
}

/// One header of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, UTF-8.
    pub name: String,
    /// Its value; `None` is Kafka's null.
    pub value: Option<Bytes>,
}

/// One event inside a batch, borrowed from the batch's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// How far its offset lies behind the batch's base offset.
    pub offset_delta: u32,
    /// The producer's own timestamp.
    pub timestamp: Timestamp,
    /// See [`Event::key`].
    pub key: Option<&'a [u8]>,
    /// See [`Event::value`].
    pub value: Option<&'a [u8]>,
    /// See [`Event::headers`]; not parsed until asked for.
    pub headers: Headers<'a>,
}

/// The headers of a [`Record`]: an iterator factory over encoded bytes or over an [`Event`]'s list.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Headers<'a> {
    /// How many.
    pub fn len(&self) -> usize { todo!() }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool { self.len() == 0 }
    /// Name and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> { std::iter::empty() }
}

impl Event {
    /// The same event, borrowed.
    pub fn as_record(&self) -> Record<'_> { todo!() }
}
impl Record<'_> {
    /// The same event, with bytes of its own.
    pub fn to_event(&self) -> Event { todo!() }
    /// Key, value and headers together, in bytes: what the event limit is about.
    pub fn payload_bytes(&self) -> usize { todo!() }
}

/// How the records of a batch are compressed; numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// snappy (xerial framing).
    Snappy = 2,
    /// LZ4 frame.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

/// The fixed fields of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; rewritten when the batch is stored.
    pub base_offset: i64,
    /// Bytes of the whole batch, including base offset and length fields.
    pub total_bytes: usize,
    /// Rewritten when the batch is stored.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression of the records.
    pub compression: Compression,
    /// Kafka's control bit (attributes bit 5).
    pub is_control: bool,
    /// Kafka's transactional bit (bit 4).
    pub is_transactional: bool,
    /// Bit 3: timestamps are the broker's append time.
    pub is_log_append_time: bool,
    /// Offset of the last record minus base offset.
    pub last_offset_delta: u32,
    /// Timestamp of the first record.
    pub base_timestamp: i64,
    /// Largest timestamp.
    pub max_timestamp: i64,
    /// Producer id, or -1.
    pub producer_id: i64,
    /// Producer epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records.
    pub records: u32,
}

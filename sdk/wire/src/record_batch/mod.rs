//! Kafka record batches, format v2: how events travel and how they are stored.
//!
//! The source is Kafka's documentation, "Message Format / Record Batch". All fields are big endian:
//! ```text
//!  0 base offset i64             | outside the CRC: the log stamps them
//!  8 length i32: bytes after it  |
//! 12 leader epoch i32            |
//! 16 magic i8 = 2                |
//! 17 CRC-32C u32 of all that follows it
//! 21 attributes i16: bits 0-2 compression (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd)
//!                    bit 3 log append time | bit 4 transactional | bit 5 control | others 0
//! 23 last offset delta i32 = records - 1; more where records were taken out later
//! 27 base timestamp i64          | 35 max timestamp i64
//! 43 producer id i64, or -1      | 51 producer epoch i16, or -1 | 53 base sequence i32, or -1
//! 57 records i32
//! 61 the records, compressed as one piece
//!
//! record, numbers as zigzag varints, -1 as a length is null:
//!  | length | attributes i8 = 0 | timestamp delta | offset delta
//!  | key length | key | value length | value | headers | { name length | name | value length | value }
//! ```
//! The road of a batch that comes in: [`RecordBatch::parse`] (whole, and its checksum right), then
//! [`RecordBatch::open`] (decompressed, every record checked, once), then [`Records::iter`]
//! (no error, no allocation, no copy). [`BatchBuilder`] is the way out. A batch from a log goes through
//! [`RecordBatch::open_stored`]: [`sieve`] may have taken records out of it, whose offsets stay empty.
//!
//! Promises: any bytes are answered with a batch or with the rule they break; nothing is allocated
//! beyond [`BatchLimits`]. The header's max timestamp is not believed: [`Records::max_timestamp`]
//! comes from the records.
//! Not here on purpose: the formats v0 and v1, transactions, and what a control batch means.

mod sieve;
mod builder;
mod reader;
mod compression;
mod header;
mod error;

use bytes::Bytes;

use crate::frame::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX};
use crate::ids::Timestamp;
use crate::varint;

pub use builder::BatchBuilder;
pub use error::BatchError;
pub use header::{BATCH_HEADER_BYTES, BatchHeader, stamp};
pub use reader::{RecordBatch, Records};
pub use sieve::sieve;

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

/// The headers of a [`Record`]: bytes of a batch, or an [`Event`]'s list.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a>(HeaderSource<'a>);

#[derive(Debug, Clone, Copy)]
enum HeaderSource<'a> {
    /// Invariant: `bytes` are `count` headers that [`RecordBatch::open`] has read once.
    Encoded {
        count: u32,
        bytes: &'a [u8],
    },
    List(&'a [Header]),
}

impl<'a> Headers<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        match self.0 {
            HeaderSource::Encoded { count, .. } => count as usize,
            HeaderSource::List(list) => list.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let (mut count, mut bytes, mut list) = match self.0 {
            HeaderSource::Encoded { count, bytes } => (count, bytes, [].iter()),
            HeaderSource::List(list) => (0, &[][..], list.iter()),
        };
        std::iter::from_fn(move || {
            if count > 0 {
                count -= 1;
                return Some(read_header(&mut bytes).expect("headers were read once before"));
            }
            list.next().map(|header| (header.name.as_str(), header.value.as_deref()))
        })
    }
}

/// Takes one encoded header off the front of `input`; `None` if there is none.
fn read_header<'a>(input: &mut &'a [u8]) -> Option<(&'a str, Option<&'a [u8]>)> {
    let name = std::str::from_utf8(read_bytes(input)??).ok()?;
    Some((name, read_bytes(input)?))
}

/// Takes a length and as many bytes off the front of `input`; `Some(None)` is Kafka's null.
#[inline]
fn read_bytes<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read_i32(input)?;
    if length == -1 {
        return Some(None);
    }
    let (bytes, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(Some(bytes))
}

impl<'a> From<&'a [Header]> for Headers<'a> {
    fn from(list: &'a [Header]) -> Self {
        Self(HeaderSource::List(list))
    }
}

impl Default for Headers<'_> {
    /// None.
    fn default() -> Self {
        Self(HeaderSource::List(&[]))
    }
}

impl Event {
    /// The same event, borrowed.
    pub fn as_record(&self) -> Record<'_> {
        Record {
            offset_delta: 0,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::from(&self.headers[..]),
        }
    }
}

impl<'a> Record<'a> {
    /// The same event, with a copy of its bytes.
    pub fn to_event(&self) -> Event {
        self.to_event_with(Bytes::copy_from_slice)
    }

    /// Key, value and headers (names and values) together, in bytes: what the event limit is about.
    pub fn payload_bytes(&self) -> usize {
        let bytes = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + bytes(value)).sum();
        bytes(self.key) + bytes(self.value) + headers
    }

    fn to_event_with(self, own: impl Fn(&'a [u8]) -> Bytes) -> Event {
        let header = |(name, value): (&str, Option<&'a [u8]>)| Header {
            name: name.to_owned(),
            value: value.map(&own),
        };
        Event {
            timestamp: self.timestamp,
            key: self.key.map(&own),
            value: self.value.map(&own),
            headers: self.headers.iter().map(header).collect(),
        }
    }
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

impl Compression {
    /// Every one, in the order of the numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];
}

/// What [`RecordBatch::open`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes of the whole batch, as sent.
    pub batch_bytes_max: usize,
    /// Bytes of the records after decompression.
    pub decompressed_bytes_max: usize,
    /// Events in the batch.
    pub events_max: u32,
    /// Key, value and headers of one event, in bytes.
    pub event_bytes_max: usize,
}

impl Default for BatchLimits {
    /// What Welcome tells a client.
    fn default() -> Self {
        Self {
            batch_bytes_max: BATCH_BYTES_MAX as usize,
            decompressed_bytes_max: 4 * BATCH_BYTES_MAX as usize,
            events_max: BATCH_EVENTS_MAX,
            event_bytes_max: EVENT_BYTES_MAX as usize,
        }
    }
}

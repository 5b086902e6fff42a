//! From bytes to records: checked once, then walked without an error, an allocation or a copy.

use bytes::Bytes;

use crate::ids::{RESERVED_HEADER_PREFIX, Timestamp};
use crate::varint;

use super::compression::decompress;
use super::header::CRC_FROM;
use super::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, BatchLimits, Compression, Event, HeaderSource,
    Headers, Record, read_bytes, read_header,
};

/// One whole batch: its head is sound and its CRC right; its records are not looked at yet.
#[derive(Debug, Clone)]
pub struct RecordBatch {
    header: BatchHeader,
    bytes: Bytes,
}

impl RecordBatch {
    /// Takes the one batch that fills `bytes`.
    pub fn parse(mut bytes: Bytes) -> Result<Self, BatchError> {
        let cut_off = BatchError::Incomplete { needed: BATCH_HEADER_BYTES, given: 0 };
        let batch = Self::split_first(&mut bytes)?.ok_or(cut_off)?;
        if !bytes.is_empty() {
            return Err(BatchError::BytesBehind(bytes.len()));
        }
        Ok(batch)
    }

    /// Takes the first of the batches that stand in `bytes` one after another, which is what a
    /// fetch brings; `None` when there is no more. On an error `bytes` are as they were:
    /// [`BatchError::Incomplete`] means that the last batch goes on behind their end.
    pub fn split_first(bytes: &mut Bytes) -> Result<Option<Self>, BatchError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let header = BatchHeader::decode(bytes)?;
        if header.total_bytes > bytes.len() {
            let (needed, given) = (header.total_bytes, bytes.len());
            return Err(BatchError::Incomplete { needed, given });
        }
        let computed = crc32c::crc32c(&bytes[CRC_FROM..header.total_bytes]);
        if computed != header.crc {
            return Err(BatchError::Checksum { written: header.crc, computed });
        }
        Ok(Some(Self { header, bytes: bytes.split_to(header.total_bytes) }))
    }

    /// The fixed fields.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Decompresses if need be, and checks every record. A batch whose offsets have gaps is refused:
    /// no publisher counts so.
    ///
    /// Records that are not compressed are not copied: the result shares the batch's bytes.
    pub fn open(&self, limits: &BatchLimits) -> Result<Records, BatchError> {
        if !self.header.is_dense() {
            let BatchHeader { records, last_offset_delta, .. } = self.header;
            let (records, last_offset_delta) = (records as i32, last_offset_delta as i32);
            return Err(BatchError::Count { records, last_offset_delta });
        }
        self.open_stored(limits)
    }

    /// The same for a batch from a log, from which records may have been taken since it was
    /// published ([`sieve`](super::sieve)): offset deltas rise, and may leave some out.
    pub fn open_stored(&self, limits: &BatchLimits) -> Result<Records, BatchError> {
        let BatchHeader { total_bytes, records, compression, .. } = self.header;
        if total_bytes > limits.batch_bytes_max {
            let bytes_max = limits.batch_bytes_max;
            return Err(BatchError::BatchTooLarge { bytes: total_bytes, bytes_max });
        }
        if records > limits.events_max {
            return Err(BatchError::TooManyEvents {
                events: records,
                events_max: limits.events_max,
            });
        }
        if self.header.is_log_append_time {
            return Err(BatchError::LogAppendTime);
        }
        let stored = self.bytes.slice(BATCH_HEADER_BYTES..);
        let body = match compression {
            Compression::None => stored,
            _ => decompress(compression, &stored, limits.decompressed_bytes_max)?.into(),
        };
        Records::check(body, &self.header, limits)
    }
}

/// The records of a batch, each of them checked. Shares the batch's bytes, or owns the
/// decompressed ones.
#[derive(Debug, Clone)]
pub struct Records {
    /// Invariant: `count` records, each read once without an error, and nothing behind them.
    body: Bytes,
    count: u32,
    base_timestamp: i64,
    max_timestamp: Timestamp,
    has_reserved_header: bool,
}

impl Records {
    fn check(body: Bytes, header: &BatchHeader, limits: &BatchLimits) -> Result<Self, BatchError> {
        let BatchHeader { records: count, base_timestamp, last_offset_delta, .. } = *header;
        let mut least_delta = 0;
        let mut rest = &body[..];
        let mut max_timestamp = Timestamp(0);
        let mut has_reserved_header = false;
        for index in 0..count {
            let invalid = |rule| BatchError::Record { index, rule };
            let record = read_record(&mut rest, base_timestamp).map_err(invalid)?;
            if record.offset_delta < least_delta || last_offset_delta < record.offset_delta {
                return Err(invalid("offset deltas rise, up to that of the last record"));
            }
            // Does not overflow: the last delta is a positive i32.
            least_delta = record.offset_delta + 1;
            let headers = check_headers(record.headers).map_err(invalid)?;
            let bytes = headers.bytes
                + record.key.map_or(0, <[u8]>::len)
                + record.value.map_or(0, <[u8]>::len);
            if bytes > limits.event_bytes_max {
                let bytes_max = limits.event_bytes_max;
                return Err(BatchError::EventTooLarge { index, bytes, bytes_max });
            }
            max_timestamp = max_timestamp.max(record.timestamp);
            has_reserved_header |= headers.has_reserved;
        }
        if !rest.is_empty() {
            return Err(BatchError::RecordsBehind(rest.len()));
        }
        Ok(Self { body, count, base_timestamp, max_timestamp, has_reserved_header })
    }

    /// How many; at least 1.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is none, which does not happen.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The largest timestamp among them.
    pub fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }

    /// Whether any header has a name that only the broker writes
    /// ([`RESERVED_HEADER_PREFIX`]): such a batch is no publisher's.
    pub fn has_reserved_header(&self) -> bool {
        self.has_reserved_header
    }

    /// The records, in batch order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        RecordIter { rest: &self.body, left: self.count, base_timestamp: self.base_timestamp }
    }

    /// The records as events that share the batch's bytes: no payload is copied, and the bytes
    /// live as long as one of the events does.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event> {
        self.iter().map(|record| record.to_event_with(|part| self.body.slice_ref(part)))
    }
}

struct RecordIter<'a> {
    /// Invariant: `left` records that were read without an error once before.
    rest: &'a [u8],
    left: u32,
    base_timestamp: i64,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        self.left = self.left.checked_sub(1)?;
        let record = read_record(&mut self.rest, self.base_timestamp);
        Some(record.expect("records were read once before"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for RecordIter<'_> {}

/// Takes one record off the front of `input`; its headers are not looked at.
#[inline]
fn read_record<'a>(input: &mut &'a [u8], base_timestamp: i64) -> Result<Record<'a>, &'static str> {
    let mut body = read_bytes(input).flatten().ok_or("its length is not that of its bytes")?;
    let (&attributes, rest) = body.split_first().ok_or("it ends before its attributes")?;
    if attributes != 0 {
        return Err("its attributes are not 0");
    }
    body = rest;
    let timestamp = varint::read_i64(&mut body)
        .and_then(|delta| base_timestamp.checked_add(delta))
        .and_then(|timestamp| u64::try_from(timestamp).ok())
        .ok_or("its timestamp is not a number of milliseconds since 1970")?;
    let offset_delta = varint::read_i32(&mut body)
        .and_then(|delta| u32::try_from(delta).ok())
        .ok_or("its offset delta is no number from 0 on")?;
    let key = read_bytes(&mut body).ok_or("its key is cut off")?;
    let value = read_bytes(&mut body).ok_or("its value is cut off")?;
    let count = varint::read_i32(&mut body)
        .and_then(|count| u32::try_from(count).ok())
        .ok_or("its number of headers is no number from 0 on")?;
    let headers = Headers(HeaderSource::Encoded { count, bytes: body });
    Ok(Record { offset_delta, timestamp: Timestamp(timestamp), key, value, headers })
}

struct CheckedHeaders {
    /// Bytes of names and values.
    bytes: usize,
    has_reserved: bool,
}

/// Reads the headers of a record, which end where the record does.
fn check_headers(headers: Headers<'_>) -> Result<CheckedHeaders, &'static str> {
    let mut checked = CheckedHeaders { bytes: 0, has_reserved: false };
    let HeaderSource::Encoded { count, bytes: mut rest } = headers.0 else {
        return Ok(checked);
    };
    for _ in 0..count {
        let (name, value) =
            read_header(&mut rest).ok_or("a header is cut off, or its name is not UTF-8")?;
        checked.bytes += name.len() + value.map_or(0, <[u8]>::len);
        checked.has_reserved |= name.starts_with(RESERVED_HEADER_PREFIX);
    }
    if !rest.is_empty() {
        return Err("bytes follow its last header");
    }
    Ok(checked)
}

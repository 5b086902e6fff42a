//! Which rule a batch breaks, in words its publisher can act on.

use crate::fault::{Code, Fault};

use super::Compression;

/// Bytes that are no record batch, or one over the limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not all of the batch is there.
    #[error("the record batch is cut off: it takes {needed} bytes and {given} are there")]
    Incomplete {
        /// Bytes of the batch, or of its fixed fields if not even those are there.
        needed: usize,
        /// Bytes there are.
        given: usize,
    },
    /// More than one batch where one was expected.
    #[error("{0} bytes follow the record batch; send one batch at a time")]
    BytesBehind(usize),
    /// The length field is too small to be one.
    #[error("the record batch's length field says {0}, which is less than the fixed fields take")]
    Length(i32),
    /// Another message format.
    #[error("the record batch has magic {0}; send Kafka's format v2, magic 2")]
    Magic(u8),
    /// A bit that means nothing here.
    #[error(
        "the record batch has attributes {0:#06x}; use compressions 0 to 4 and leave bits 6 to 15 zero"
    )]
    Attributes(u16),
    /// The bytes were changed after they were written.
    #[error(
        "the record batch's CRC-32C is {computed:#010x} and it says {written:#010x}; it was damaged on the way"
    )]
    Checksum {
        /// What the batch says.
        written: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The two fields that count records disagree, or say that there is none.
    #[error(
        "the record batch says {records} records and last offset delta {last_offset_delta}; send at least one, and count densely"
    )]
    Count {
        /// The number of records.
        records: i32,
        /// The last offset delta.
        last_offset_delta: i32,
    },
    /// Producer id, epoch and base sequence that do not go together.
    #[error("the record batch's producer fields are invalid: {0}")]
    Producer(&'static str),
    /// Attributes bit 3.
    #[error("the record batch asks for log append time; clear attributes bit 3 and set timestamps")]
    LogAppendTime,
    /// The compressed bytes are damaged, or of a form that is not taken.
    #[error("the records do not decompress as {compression:?}: {detail}")]
    Decompress {
        /// What the attributes say.
        compression: Compression,
        /// What the decompressor says.
        detail: String,
    },
    /// A record that is none.
    #[error("event {index} of the record batch is invalid: {rule}")]
    Record {
        /// Its place in the batch, from 0.
        index: u32,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// More records than the header says.
    #[error("{0} bytes follow the last event that the record batch counts")]
    RecordsBehind(usize),
    /// Over [`batch_bytes_max`](super::BatchLimits::batch_bytes_max).
    #[error(
        "a record batch of {bytes} bytes is over the limit of {bytes_max}; send fewer events at a time"
    )]
    BatchTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Over [`decompressed_bytes_max`](super::BatchLimits::decompressed_bytes_max).
    #[error(
        "the record batch decompresses to more than the limit of {bytes_max} bytes; send fewer events at a time"
    )]
    DecompressedTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// Over [`events_max`](super::BatchLimits::events_max).
    #[error(
        "a record batch of {events} events is over the limit of {events_max}; send fewer events at a time"
    )]
    TooManyEvents {
        /// Its events.
        events: u32,
        /// The limit.
        events_max: u32,
    },
    /// Over [`event_bytes_max`](super::BatchLimits::event_bytes_max).
    #[error(
        "event {index} of the record batch has {bytes} bytes of key, value and headers, over the limit of {bytes_max}; make it smaller"
    )]
    EventTooLarge {
        /// Its place in the batch, from 0.
        index: u32,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

impl BatchError {
    /// The code of the fault that a publisher gets.
    pub fn code(&self) -> Code {
        match self {
            Self::BatchTooLarge { .. }
            | Self::DecompressedTooLarge { .. }
            | Self::TooManyEvents { .. }
            | Self::EventTooLarge { .. } => Code::TooLarge,
            _ => Code::InvalidBatch,
        }
    }
}

impl From<BatchError> for Fault {
    fn from(error: BatchError) -> Self {
        Fault::new(error.code(), error.to_string())
    }
}

//! The 61 fixed bytes of a batch: read, sealed with their checksum, stamped by the log.

use crate::ids::Offset;

use super::{BatchError, Compression};

/// Bytes of a batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Base offset and length: the bytes that the length field does not count.
const LENGTH_FROM: usize = 12;
/// Where the bytes begin that the CRC covers.
pub(super) const CRC_FROM: usize = 21;
const MAGIC: u8 = 2;

const COMPRESSION_MASK: u16 = 0x07;
const LOG_APPEND_TIME: u16 = 0x08;
const TRANSACTIONAL: u16 = 0x10;
const CONTROL: u16 = 0x20;
const KNOWN_ATTRIBUTES: u16 = COMPRESSION_MASK | LOG_APPEND_TIME | TRANSACTIONAL | CONTROL;

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
    /// Offset of the last record that the batch was made with, minus base offset. A publisher's
    /// is `records - 1`; where records were taken out it stays as it was, as Kafka's cleaner has it.
    pub last_offset_delta: u32,
    /// What the records' timestamp deltas are added to, in milliseconds.
    pub base_timestamp: i64,
    /// Largest timestamp as the writer says it; see [`Records::max_timestamp`](super::Records::max_timestamp).
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

impl BatchHeader {
    /// Reads the head of a batch: its first [`BATCH_HEADER_BYTES`]; more may follow.
    ///
    /// The fields are checked against each other, the CRC is not: it needs the whole batch.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let cut_off = BatchError::Incomplete { needed: BATCH_HEADER_BYTES, given: bytes.len() };
        let head: &[u8; BATCH_HEADER_BYTES] = bytes.first_chunk().ok_or(cut_off)?;
        // The magic first: older formats have theirs at the same place, and other fields around it.
        if head[16] != MAGIC {
            return Err(BatchError::Magic(head[16]));
        }
        let length = i32::from_be_bytes(field(head, 8));
        let total_bytes = usize::try_from(length)
            .ok()
            .map(|length| length + LENGTH_FROM)
            .filter(|&total| total >= BATCH_HEADER_BYTES)
            .ok_or(BatchError::Length(length))?;
        let attributes = u16::from_be_bytes(field(head, 21));
        let compression = Compression::ALL
            .get(usize::from(attributes & COMPRESSION_MASK))
            .filter(|_| attributes & !KNOWN_ATTRIBUTES == 0)
            .ok_or(BatchError::Attributes(attributes))?;
        let records = i32::from_be_bytes(field(head, 57));
        let last_offset_delta = i32::from_be_bytes(field(head, 23));
        if records < 1 || last_offset_delta < records - 1 {
            return Err(BatchError::Count { records, last_offset_delta });
        }
        let header = Self {
            base_offset: i64::from_be_bytes(field(head, 0)),
            total_bytes,
            leader_epoch: i32::from_be_bytes(field(head, 12)),
            crc: u32::from_be_bytes(field(head, 17)),
            compression: *compression,
            is_control: attributes & CONTROL != 0,
            is_transactional: attributes & TRANSACTIONAL != 0,
            is_log_append_time: attributes & LOG_APPEND_TIME != 0,
            last_offset_delta: last_offset_delta as u32,
            base_timestamp: i64::from_be_bytes(field(head, 27)),
            max_timestamp: i64::from_be_bytes(field(head, 35)),
            producer_id: i64::from_be_bytes(field(head, 43)),
            producer_epoch: i16::from_be_bytes(field(head, 51)),
            base_sequence: i32::from_be_bytes(field(head, 53)),
            records: records as u32,
        };
        header.check_producer().map_err(BatchError::Producer)?;
        Ok(header)
    }

    /// Whether there is a record for each offset from the first to the last.
    pub fn is_dense(&self) -> bool {
        self.last_offset_delta == self.records - 1
    }

    fn check_producer(&self) -> Result<(), &'static str> {
        match self.producer_id {
            ..-1 => Err("a producer id is -1 for none, or not negative"),
            -1 => Ok(()),
            0.. if self.producer_epoch < 0 => Err("a producer id needs an epoch from 0 to 32767"),
            // Kafka's transaction markers have a producer and no sequence.
            0.. if self.base_sequence < 0 && !self.is_control => {
                Err("a producer id needs a base sequence from 0 to 2147483647")
            }
            0.. => Ok(()),
        }
    }

    /// Writes these fields over the first bytes of a batch whose records stand in their place,
    /// with the length and the CRC that the bytes have; `total_bytes` and `crc` are not looked at.
    pub(super) fn seal(&self, batch: &mut [u8]) {
        let length =
            i32::try_from(batch.len() - LENGTH_FROM).expect("limits keep a batch below 2 GiB");
        let attributes = self.compression as u16
            | if self.is_log_append_time { LOG_APPEND_TIME } else { 0 }
            | if self.is_transactional { TRANSACTIONAL } else { 0 }
            | if self.is_control { CONTROL } else { 0 };
        let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.base_offset.to_be_bytes());
        put(8, &length.to_be_bytes());
        put(12, &self.leader_epoch.to_be_bytes());
        put(16, &[MAGIC]);
        put(21, &attributes.to_be_bytes());
        put(23, &self.last_offset_delta.to_be_bytes());
        put(27, &self.base_timestamp.to_be_bytes());
        put(35, &self.max_timestamp.to_be_bytes());
        put(43, &self.producer_id.to_be_bytes());
        put(51, &self.producer_epoch.to_be_bytes());
        put(53, &self.base_sequence.to_be_bytes());
        put(57, &self.records.to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_FROM..]);
        batch[17..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The field at `at`. Both are constants where this is called, and lie within the head.
fn field<const BYTES: usize>(head: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; BYTES] {
    std::array::from_fn(|place| head[at + place])
}

/// Writes base offset and leader epoch into a batch where it stands; the CRC does not cover them.
///
/// # Panics
/// If `batch` is shorter than [`BATCH_HEADER_BYTES`], or a number is over Kafka's: 63 and 31 bits.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: u32) {
    assert!(BATCH_HEADER_BYTES <= batch.len(), "only a whole batch can be stamped");
    let base_offset = i64::try_from(base_offset.0).expect("an offset has 63 bits");
    let leader_epoch = i32::try_from(leader_epoch).expect("a leader epoch has 31 bits");
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

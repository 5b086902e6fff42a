//! Makes checksums right, so that what lies behind them is reached: chance does not find a CRC.
//!
//! Promises: touches nothing but lengths, checksums and what follows from them; any bytes are taken.
//! The places are those of the formats as they are drawn in `sdk/wire/src/record_batch/mod.rs`,
//! `broker/log/src/commit/format.rs` and `broker/log/src/segment/index.rs`.

/// Bytes of a Kafka batch before its records.
const BATCH_HEADER_BYTES: usize = 61;
/// Bytes of a commit's body before its sections.
const BODY_FIXED_BYTES: usize = 118;

/// Makes `batch` one whole batch: magic, length, the count written twice, checksum.
pub fn record_batch(batch: &mut [u8]) {
    if batch.len() < BATCH_HEADER_BYTES {
        return;
    }
    let records = i32::from_be_bytes(array(batch, 57));
    put(batch, 8, &(batch.len() as u32 - 12).to_be_bytes());
    put(batch, 16, &[2]);
    put(batch, 23, &records.wrapping_sub(1).to_be_bytes());
    put_kafka_crc(batch);
}

/// Makes the commits that stand in `segment` one after another a row: checksums, and each with the
/// checksum of the one before. Stops where there is none.
pub fn commits(segment: &mut [u8]) {
    let (mut rest, mut previous) = (segment, 0_u32);
    while BATCH_HEADER_BYTES <= rest.len() {
        let bytes = 12 + u32::from_be_bytes(array(rest, 8)) as usize;
        if bytes > rest.len() || bytes < BATCH_HEADER_BYTES {
            return;
        }
        let (control, behind) = rest.split_at_mut(bytes);
        let data_bytes = match body_of(control) {
            Some(at) if at + BODY_FIXED_BYTES <= control.len() => {
                put(control, at + 44, &previous.to_le_bytes());
                let data_bytes = u32::from_le_bytes(array(control, at + 48)) as usize;
                let data_bytes = data_bytes.min(behind.len());
                let data = &mut behind[..data_bytes];
                if BATCH_HEADER_BYTES <= data.len() {
                    put_kafka_crc(data);
                }
                let crc = if data.is_empty() { 0 } else { crc32c::crc32c(data) };
                put(control, at + 52, &crc.to_le_bytes());
                data_bytes
            }
            _ => 0,
        };
        previous = put_kafka_crc(control);
        rest = &mut behind[data_bytes..];
    }
}

/// Makes the last four bytes the checksum of all before.
pub fn index(index: &mut [u8]) {
    if let Some(at) = index.len().checked_sub(4) {
        let crc = crc32c::crc32c(&index[..at]);
        put(index, at, &crc.to_le_bytes());
    }
}

/// Where the body begins in a control batch, whatever its record's varints say.
fn body_of(control: &[u8]) -> Option<usize> {
    let mut at = BATCH_HEADER_BYTES;
    at += varint_bytes(control, at)? + 3;
    at += varint_bytes(control, at)? + 4;
    Some(at + varint_bytes(control, at)?)
}

fn varint_bytes(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.iter().position(|byte| *byte < 0x80).map(|last| last + 1)
}

fn put_kafka_crc(batch: &mut [u8]) -> u32 {
    let crc = crc32c::crc32c(&batch[21..]);
    put(batch, 17, &crc.to_be_bytes());
    crc
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes[at..at + part.len()].copy_from_slice(part);
}

fn array<const BYTES: usize>(bytes: &[u8], at: usize) -> [u8; BYTES] {
    std::array::from_fn(|place| bytes[at + place])
}

//! What messages carry: events with what tells them apart, and verdicts. Pure.
//!
//! ```text
//! event     | id u64 | key length u8 | key | value |
//! refusal   | id u64 | key length u8 | key | code  |
//! ```
//! The key is in the payload: a header would have to be parsed, and subjects are kept books of. The id
//! is what any application needs that waits for the verdict of what it sent.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes before the key.
const HEAD_BYTES: usize = 9;
/// Of a refusal: too many of one key and day.
pub const OVER_LIMIT: &[u8] = b"daily-limit";

/// Writes an event or a refusal behind others; takes it off as a payload of its own.
pub fn write(buffer: &mut BytesMut, id: u64, key: &[u8], rest: &[u8]) -> Bytes {
    let length = u8::try_from(key.len()).expect("keys of the load are short");
    buffer.put_u64(id);
    buffer.put_u8(length);
    buffer.put_slice(key);
    buffer.put_slice(rest);
    buffer.split().freeze()
}

/// Room that `count` payloads with so many bytes of key and value need.
pub fn room(count: usize, event_bytes: usize) -> usize {
    count * (HEAD_BYTES + event_bytes)
}

/// The id of an event or a refusal.
pub fn id(payload: &[u8]) -> Option<u64> {
    payload.first_chunk::<8>().map(|id| u64::from_be_bytes(*id))
}

/// Its key.
pub fn key(payload: &[u8]) -> Option<&[u8]> {
    let length = usize::from(*payload.get(HEAD_BYTES - 1)?);
    payload.get(HEAD_BYTES..HEAD_BYTES + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut buffer = BytesMut::with_capacity(room(2, 8));
        let first = write(&mut buffer, 7, b"alice", b"abc");
        let second = write(&mut buffer, u64::MAX, b"", b"");
        assert_eq!((id(&first), key(&first)), (Some(7), Some(&b"alice"[..])));
        assert_eq!(first.len(), HEAD_BYTES + 8);
        assert_eq!((id(&second), key(&second)), (Some(u64::MAX), Some(&b""[..])));
        assert_eq!((id(b"short"), key(b"short")), (None, None));
        assert_eq!(key(&first[..12]), None);
    }
}

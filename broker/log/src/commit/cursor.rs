//! Reading and writing the small pieces of a commit: numbers, varints, counted bytes.
//!
//! Promises: no read panics or goes beyond its bytes, whatever they are; what is read as bytes is a
//! slice of the input and no copy. Not here: what the pieces mean.

use bytes::{Buf, Bytes};

use super::format::Unreadable;

/// Bytes of a 64-bit varint at most: seven bits in each.
const VARINT_BYTES_MAX: u32 = 10;

/// Bytes still to be read.
pub(super) struct Cursor {
    all: Bytes,
    /// Invariant: not beyond the end of `all`.
    at: usize,
}

impl Cursor {
    pub(super) fn new(all: Bytes) -> Self {
        Self { all, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    pub(super) fn left(&self) -> usize {
        self.all.len() - self.at
    }

    pub(super) fn take(&mut self, count: usize) -> Result<Bytes, Unreadable> {
        let from = self.at;
        self.look(count)?;
        Ok(self.all.slice(from..self.at))
    }

    /// The same, to be looked at and not kept.
    pub(super) fn look(&mut self, count: usize) -> Result<&[u8], Unreadable> {
        let part = self.all[self.at..].get(..count);
        let part = part.ok_or(Unreadable::Invalid("a part ends beyond the commit"))?;
        self.at += count;
        Ok(part)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Unreadable> {
        let byte = self.all.get(self.at).copied();
        let byte = byte.ok_or(Unreadable::Invalid("a part ends beyond the commit"))?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Unreadable> {
        Ok(self.look(4)?.get_u32_le())
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Unreadable> {
        // Most are below 128.
        match self.all.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Unreadable> {
        let mut rest = &self.all[self.at..];
        let value = varint(&mut rest)?;
        self.at = self.all.len() - rest.len();
        Ok(value)
    }

    /// A varint that counts bytes or things: never more than there are bytes left, so that nobody
    /// reserves room on a number's word alone.
    pub(super) fn count(&mut self) -> Result<usize, Unreadable> {
        let count = self.varint()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.left() => Ok(count),
            _ => Err(Unreadable::Invalid("a count beyond the commit")),
        }
    }

    /// Counted bytes, to be looked at and not kept.
    pub(super) fn counted_look(&mut self) -> Result<&[u8], Unreadable> {
        let count = self.count()?;
        self.look(count)
    }

    /// Counted bytes that may be absent: the count is one more than their number, 0 for none.
    pub(super) fn optional(&mut self) -> Result<Option<Bytes>, Unreadable> {
        match self.varint()?.checked_sub(1) {
            None => Ok(None),
            Some(count) => {
                let count = usize::try_from(count)
                    .map_err(|_| Unreadable::Invalid("a count beyond the commit"))?;
                Ok(Some(self.take(count)?))
            }
        }
    }

    /// A signed varint as Kafka writes it (zigzag).
    pub(super) fn zigzag(&mut self) -> Result<i64, Unreadable> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
}

/// Takes a varint off the front of `rest`. On an error `rest` is anywhere.
#[inline]
pub(super) fn varint(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut value = 0u64;
    for at in 0..VARINT_BYTES_MAX {
        let Some((&byte, behind)) = rest.split_first() else {
            return Err(Unreadable::Invalid("a part ends beyond the commit"));
        };
        // The tenth byte has room for one bit only.
        if at + 1 == VARINT_BYTES_MAX && byte > 1 {
            break;
        }
        *rest = behind;
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Unreadable::Invalid("a varint beyond 64 bits"))
}

/// Takes counted bytes off the front of `rest`.
#[inline]
pub(super) fn counted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Unreadable> {
    let count = varint(rest)?;
    let split = usize::try_from(count).ok().and_then(|count| rest.split_at_checked(count));
    let (bytes, behind) = split.ok_or(Unreadable::Invalid("a count beyond the commit"))?;
    *rest = behind;
    Ok(bytes)
}

pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn push_zigzag(out: &mut Vec<u8>, value: i64) {
    push_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(super) fn push_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn push_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            push_varint(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(unsigned: u64, signed: i64) {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, unsigned);
            push_zigzag(&mut bytes, signed);
            let mut cursor = Cursor::new(bytes.into());
            prop_assert_eq!(cursor.varint().unwrap(), unsigned);
            prop_assert_eq!(cursor.zigzag().unwrap(), signed);
            prop_assert!(cursor.is_empty());
        }
    }

    #[test]
    fn a_varint_that_does_not_end_is_refused() {
        assert!(Cursor::new(Bytes::from_static(&[0xFF; 20])).varint().is_err());
        assert!(Cursor::new(Bytes::from_static(&[0x80])).varint().is_err());
    }
}

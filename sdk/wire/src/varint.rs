//! Kafka's variable-length integers: zigzag, then seven bits a byte, the lowest first.
//!
//! ```text
//! 0 -> 00   -1 -> 01   1 -> 02   63 -> 7e   -64 -> 7f   64 -> 80 01
//! ```
//! An i32 and an equal i64 have the same bytes; they differ in how many a reader takes at most.
//!
//! Promises: no bytes make a reader panic; a number that does not fit, or takes more bytes than
//! Kafka's own readers allow, is refused. A needlessly long form within that is read, as they do.

/// Bytes of a 32-bit number at most.
const I32_BYTES_MAX: usize = 5;
/// Bytes of a 64-bit number at most.
const I64_BYTES_MAX: usize = 10;

/// Takes a 32-bit number off the front of `input`; `None` if there is none.
// Lengths and deltas have one byte or two: those are read here, the others elsewhere.
#[inline]
pub(crate) fn read_i32(input: &mut &[u8]) -> Option<i32> {
    match read_short(input) {
        Some(number) => Some(number as i32),
        None => i32::try_from(unzigzag(read_long(input, I32_BYTES_MAX)?)).ok(),
    }
}

/// Takes a 64-bit number off the front of `input`; `None` if there is none.
#[inline]
pub(crate) fn read_i64(input: &mut &[u8]) -> Option<i64> {
    match read_short(input) {
        Some(number) => Some(number.into()),
        None => Some(unzigzag(read_long(input, I64_BYTES_MAX)?)),
    }
}

/// Takes a number of one or two bytes off the front of `input`, if there is one.
#[inline(always)]
fn read_short(input: &mut &[u8]) -> Option<i16> {
    match **input {
        [first @ ..0x80, ref rest @ ..] => {
            *input = rest;
            Some(unzigzag(first.into()) as i16)
        }
        [first, second @ ..0x80, ref rest @ ..] => {
            *input = rest;
            Some(unzigzag(u64::from(first & 0x7F) | u64::from(second) << 7) as i16)
        }
        _ => None,
    }
}

#[cold]
fn read_long(input: &mut &[u8], bytes_max: usize) -> Option<u64> {
    let mut number = 0;
    for (place, &byte) in input.iter().take(bytes_max).enumerate() {
        let bits = u64::from(byte & 0x7F);
        let shift = 7 * place as u32;
        // The tenth byte has room for one bit only.
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            *input = &input[place + 1..];
            return Some(number);
        }
    }
    None
}

/// Adds a number to `out`.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, number: i64) {
    let mut rest = zigzag(number);
    match rest {
        ..0x80 => out.push(rest as u8),
        // Of one piece: room is looked for once.
        0x80..0x4000 => out.extend_from_slice(&[rest as u8 | 0x80, (rest >> 7) as u8]),
        _ => {
            while rest >= 0x80 {
                out.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
    }
}

/// How many bytes [`write`] takes for a number.
#[inline]
pub(crate) fn encoded_bytes(number: i64) -> usize {
    match zigzag(number) {
        ..0x80 => 1,
        0x80..0x4000 => 2,
        number => (u64::BITS - number.leading_zeros()).div_ceil(7) as usize,
    }
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_the_bytes_kafka_gives_them() {
        for (number, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (63, &[0x7E]),
            (-64, &[0x7F]),
            (64, &[0x80, 0x01]),
            (i64::from(i32::MAX), &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F]),
            (i64::from(i32::MIN), &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
            (i64::MIN, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ] {
            let mut out = Vec::new();
            write(&mut out, number);
            assert_eq!(out, bytes, "{number}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0x1F],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
        ] {
            assert_eq!(read_i32(&mut &bytes[..]), None, "{bytes:?}");
        }
        for bytes in [&[0xFF; 9][..], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02]]
        {
            assert_eq!(read_i64(&mut &bytes[..]), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_round_trip(number: i64, small: i32) {
            let mut out = Vec::new();
            write(&mut out, number);
            prop_assert_eq!(out.len(), encoded_bytes(number));
            write(&mut out, small.into());
            let mut input = &out[..];
            prop_assert_eq!(read_i64(&mut input), Some(number));
            prop_assert_eq!(read_i32(&mut input), Some(small));
            prop_assert!(input.is_empty());
        }
    }
}

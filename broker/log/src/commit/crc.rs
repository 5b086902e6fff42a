//! The CRC-32C of two pieces from those of each: what has the second piece's need not read it again.
//!
//! A CRC is the remainder of a polynomial over GF(2), and bytes behind it multiply it by x to the number of
//! their bits; the ones before and behind that the standard adds cancel each other out. The same as
//! `crc32_combine` of zlib 1.2.12 and later (crc32.c, by Mark Adler), with Castagnoli's polynomial.

/// Castagnoli's polynomial, x to the 31st in the lowest bit.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// x to the power of 2^n, for each bit n of a number of bits.
const POWERS: [u32; 35] = powers();

const fn powers() -> [u32; 35] {
    let mut powers = [1 << 30; 35];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = product(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
}

/// Modulo the polynomial.
const fn product(one: u32, mut other: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if one & bit != 0 {
            product ^= other;
        }
        other = if other & 1 == 0 { other >> 1 } else { (other >> 1) ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// Of `first` with `second` behind it, which has `second_bytes`.
pub(super) fn combined(first: u32, second: u32, second_bytes: u32) -> u32 {
    // x to the power of its bits; 1 is the highest bit.
    let mut shift = 1 << 31;
    let bits = u64::from(second_bytes) * 8;
    for (n, power) in POWERS.iter().enumerate() {
        if bits >> n & 1 == 1 {
            shift = product(*power, shift);
        }
    }
    product(shift, first) ^ second
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_pieces_have_the_checksum_of_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..5_000),
            at in 0usize..5_000,
        ) {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            let second_bytes = second.len() as u32;
            let both = combined(crc32c::crc32c(first), crc32c::crc32c(second), second_bytes);
            prop_assert_eq!(both, crc32c::crc32c(&bytes));
        }

        #[test]
        fn it_is_what_the_crate_computes_for_any_length(first: u32, second: u32, bytes: u32) {
            let theirs = crc32c::crc32c_combine(first, second, bytes as usize);
            prop_assert_eq!(combined(first, second, bytes), theirs);
        }
    }
}

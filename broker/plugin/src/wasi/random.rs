//! Randomness that is the same each time: a stream seeded from partition and offset.
//!
//! For spreading and sampling, not for secrets: anyone who knows the offset knows the numbers.

use wasmtime::Result;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use weir_wire::ids::PartitionId;

use super::World;
use crate::FaultCause;
use crate::fault::fault;

/// Random bytes of one call at most; languages ask for 16 or 32 to seed their hash maps.
const BYTES_MAX: u64 = 64 << 10;

/// SplitMix64: eight lines that will give the same numbers in every release.
#[derive(Debug, Default)]
pub(super) struct Stream(u64);

impl Stream {
    /// The stream of one event.
    pub(super) fn seeded(partition: PartitionId, offset_hint: u64) -> Self {
        let mut stream = Self(u64::from(partition.0));
        Self(stream.next() ^ offset_hint)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if BYTES_MAX < len {
            let detail = format!("asked for {len} random bytes at once, over {BYTES_MAX}");
            return Err(fault(FaultCause::Trap, detail).into());
        }
        let mut bytes = vec![0; len as usize];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(bytes)
    }
}

impl random::Host for World<'_> {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.inert.random.bytes(len)
    }
    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(self.inert.random.next())
    }
}

impl insecure::Host for World<'_> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.inert.random.bytes(len)
    }
    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(self.inert.random.next())
    }
}

impl insecure_seed::Host for World<'_> {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((self.inert.random.next(), self.inert.random.next()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_gives_the_same_numbers() {
        let draw = |partition, offset| {
            Stream::seeded(PartitionId(partition), offset).bytes(20).expect("within the limit")
        };
        assert_eq!(draw(3, 7), draw(3, 7));
        assert_ne!(draw(3, 7), draw(3, 8));
        assert_ne!(draw(3, 7), draw(4, 7));
        assert!(Stream::default().bytes(BYTES_MAX + 1).is_err());
    }
}

//! How values are distributed, in a fixed amount of memory.
//!
//! ```text
//! values   0 1 2 ... 7 | 8 9 ... 15 | 16-17 18-19 ... 30-31 | 32-35 ... | ...
//! buckets  one each    | one each   | eight per power of two, from here on
//! ```
//! Promises: to note a value costs two additions; a quantile is never below the true one, and at most
//! an eighth above it; the largest value is exact.

/// Buckets in each power of two.
const STEPS: usize = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Values from 2^36 on share the last bucket: 68 s in ns, and more fuel than any limit allows.
const BITS_MAX: u32 = 36;
const BUCKETS: usize = (BITS_MAX - STEP_BITS + 1) as usize * STEPS;

/// A distribution of whole numbers: 2 KiB.
#[derive(Clone)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, max: 0 }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count).field("max", &self.max).finish()
    }
}

impl Histogram {
    /// One more value.
    pub fn note(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// Another one's values too.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many values were noted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest of them, exactly; 0 if there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// What `per_mille` of 1,000 values do not exceed; 0 if there is none.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        // Wide: 1,000 times a count could be more than a u64 holds.
        let wanted = (u128::from(self.count) * u128::from(per_mille)).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if wanted <= seen {
                return highest(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    // The first bit behind the shift is always set: it is the row, not the step.
    let step = (value >> shift) as usize - STEPS;
    ((shift as usize + 1) * STEPS + step).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn highest(index: usize) -> u64 {
    match (index / STEPS, index % STEPS) {
        (0, value) => value as u64,
        _ if index == BUCKETS - 1 => u64::MAX,
        (row, step) => (((STEPS + step + 1) as u64) << (row - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_value_lies_in_the_bucket_that_says_so() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(highest(index)), index);
            assert_eq!(bucket(highest(index) + 1), index + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_noted_is_nothing() {
        let nothing = Histogram::default();
        assert_eq!((nothing.quantile(500), nothing.max(), nothing.count()), (0, 0, 0));
    }

    #[test]
    fn what_is_too_large_is_its_largest() {
        let mut large = Histogram::default();
        large.note(u64::MAX - 7);
        assert_eq!((large.quantile(500), large.max()), (u64::MAX - 7, u64::MAX - 7));
    }

    proptest! {
        /// Against the sorted values themselves.
        #[test]
        fn a_quantile_is_at_most_an_eighth_too_high(
            values in prop::collection::vec(0_u64..1 << 35, 1..200),
            per_mille in 1_u64..=1_000,
            split in any::<prop::sample::Index>(),
        ) {
            let (mut noted, mut rest) = (Histogram::default(), Histogram::default());
            let split = split.index(values.len());
            values[..split].iter().for_each(|value| noted.note(*value));
            values[split..].iter().for_each(|value| rest.note(*value));
            noted.add(&rest);
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let rank = (values.len() as u64 * per_mille).div_ceil(1_000).max(1);
            let exact = sorted[rank as usize - 1];
            let told = noted.quantile(per_mille);
            prop_assert!(exact <= told && told <= exact + exact / 8, "{exact} was told as {told}");
            prop_assert_eq!(noted.max(), *sorted.last().expect("one at least"));
        }
    }
}

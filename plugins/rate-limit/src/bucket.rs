//! The token bucket, exactly: whole numbers only, so that nothing drifts, however long it runs.
//!
//! A bucket holds `burst` tokens when it is full and gains `rate` tokens per `per_ms`. What is kept
//! of it is not how full it was when, but the one moment from which on it is full again, if nothing
//! more is taken. Time is counted in ticks of 1/`rate` ms, in which a token takes exactly `per_ms`:
//!
//! ```text
//! tokens missing now, in ticks  =  full_at - now          (0 if that has passed)
//! a cost of c fits              ⇔  full_at - now + c * per_ms  ≤  burst * per_ms
//! ```

/// What a bucket is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens gained per period; at least 1.
    pub rate: u64,
    pub per_ms: u64,
    /// Tokens when full; at least 1.
    pub burst: u64,
}

/// What is kept of a key's bucket. A key of which nothing is kept has a full one.
///
/// ```text
/// | full at, ms u64 LE | and so many ticks u32 LE | newest time seen, ms u64 LE |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    full_at_ms: u64,
    /// Below the rate it was written with, and so below 2^32.
    full_at_ticks: u32,
    /// A bucket's time never falls: what comes late is judged at the newest time.
    newest_ms: u64,
}

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It fits. The bucket is as it was without anything kept once `full_in_ms` has passed.
    Yes { level: Level, full_in_ms: u64 },
    /// It will fit in so many milliseconds, and not one earlier.
    Later { retry_after_ms: u64 },
    /// It costs more than a full bucket holds.
    Never,
}

impl Bucket {
    /// Takes `cost` tokens at `time_ms`, or says when that can be.
    pub fn take(&self, level: Level, time_ms: u64, cost: u64) -> Taken {
        if cost > self.burst {
            return Taken::Never;
        }
        // At most 2^64 ms and a rate below 2^30, then at most 2^30 tokens of 2^35 ms each: the sum
        // is far below 2^127.
        let rate = u128::from(self.rate);
        let of = |tokens: u64| u128::from(tokens) * u128::from(self.per_ms);
        let newest_ms = time_ms.max(level.newest_ms);
        let now = u128::from(newest_ms) * rate;
        // Written at another rate, it has other ticks: less than a millisecond is lost or won.
        let ticks = u128::from(level.full_at_ticks).min(rate - 1);
        let full_at = now.max(u128::from(level.full_at_ms) * rate + ticks) + of(cost);
        let over = (full_at - now).saturating_sub(of(self.burst));
        if over > 0 {
            return Taken::Later { retry_after_ms: whole_ms(over, rate) };
        }
        let (ms, ticks) = match u64::try_from(full_at / rate) {
            // Below the rate, which is below 2^30.
            Ok(ms) => (ms, u32::try_from(full_at % rate).unwrap_or(u32::MAX)),
            // Behind the end of all time.
            Err(_) => (u64::MAX, 0),
        };
        let level = Level { full_at_ms: ms, full_at_ticks: ticks, newest_ms };
        Taken::Yes { level, full_in_ms: whole_ms(full_at - now, rate) }
    }

    /// How long an empty bucket takes to fill.
    pub fn fill_ms(&self) -> u64 {
        whole_ms(u128::from(self.burst) * u128::from(self.per_ms), self.rate.into())
    }
}

/// The first whole millisecond that is not before so many ticks.
fn whole_ms(ticks: u128, rate: u128) -> u64 {
    u64::try_from(ticks.div_ceil(rate)).unwrap_or(u64::MAX)
}

impl Level {
    /// Its bytes in the state.
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.full_at_ms.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.full_at_ticks.to_le_bytes());
        bytes[12..].copy_from_slice(&self.newest_ms.to_le_bytes());
        bytes
    }

    /// Reads them; what has another form counts as nothing kept.
    pub fn from_bytes(bytes: &[u8]) -> Level {
        let read = || {
            let (full_at_ms, rest) = bytes.split_first_chunk::<8>()?;
            let (ticks, rest) = rest.split_first_chunk::<4>()?;
            Some(Level {
                full_at_ms: u64::from_le_bytes(*full_at_ms),
                full_at_ticks: u32::from_le_bytes(*ticks),
                newest_ms: u64::from_le_bytes(rest.try_into().ok()?),
            })
        };
        read().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_of_all_numbers_are_no_trap() {
        let largest =
            Bucket { rate: 1_000_000_000, per_ms: 366 * 86_400_000, burst: 1_000_000_000 };
        let smallest = Bucket { rate: 1, ..largest };
        for bucket in [largest, smallest] {
            for time in [0, u64::MAX] {
                let full = Level::default();
                let Taken::Yes { level, .. } = bucket.take(full, time, bucket.burst) else {
                    panic!("a full bucket gives all it has")
                };
                assert_eq!(Level::from_bytes(&level.to_bytes()), level);
                bucket.take(level, u64::MAX, 1);
            }
            assert_eq!(bucket.take(Level::default(), 0, bucket.burst + 1), Taken::Never);
        }
        assert_eq!(largest.fill_ms(), 366 * 86_400_000);
    }

    #[test]
    fn what_has_another_form_is_a_full_bucket() {
        for bytes in [&[][..], &[1; 8], &[1; 19], &[1; 21]] {
            assert_eq!(Level::from_bytes(bytes), Level::default());
        }
    }

    proptest! {
        /// The model keeps tokens in parts of 1/per_ms and pours them in, one millisecond after
        /// the other.
        #[test]
        fn it_is_a_bucket_that_is_poured_into_each_millisecond(
            rate in 1_u64..50, per_ms in 1_u64..50, burst in 1_u64..20,
            steps in prop::collection::vec((0_u64..40, 0_u64..22), 1..60),
        ) {
            let bucket = Bucket { rate, per_ms, burst };
            let (mut level, mut time, mut tokens) = (Level::default(), 0, burst * per_ms);
            for (waited, cost) in steps {
                for _ in 0..waited {
                    tokens = (tokens + rate).min(burst * per_ms);
                }
                time += waited;
                match bucket.take(level, time, cost) {
                    Taken::Yes { level: new, full_in_ms } => {
                        prop_assert!(cost * per_ms <= tokens);
                        tokens -= cost * per_ms;
                        level = Level::from_bytes(&new.to_bytes());
                        prop_assert_eq!(full_in_ms, (burst * per_ms - tokens).div_ceil(rate));
                    }
                    Taken::Later { retry_after_ms } => {
                        let missing = cost * per_ms - tokens;
                        prop_assert_eq!(retry_after_ms, missing.div_ceil(rate));
                    }
                    Taken::Never => prop_assert!(cost > burst),
                }
            }
        }
    }
}

//! The rule's durable memory: private to its name, in this topic and partition.
//!
//! Changes stand or fall with the verdict. If the event is admitted, those of every rule of the
//! chain stand; if this rule dropped or refused it, its own stand; if a later rule did, they never
//! were. So a rule that counts what was admitted looks first and counts only what it lets pass; where
//! it admits up to a limit, [`increment_up_to`] does both at once.
//!
//! Keys take up to 256 bytes, values up to 64 KiB; more is a fault. A time to live counts in
//! partition time from now; without one a key stays for ever. Keys of many publishers should have
//! one: a binding keeps a million keys in a partition, not more.

use crate::host;

/// The value of `key`, unless it is missing or expired.
pub fn get(key: &[u8]) -> Option<Vec<u8>> {
    host::state::get(key)
}

/// The value of the counter `key`; 0 if it is missing or expired.
///
/// # Panics
/// If the value is not a counter.
pub fn counter(key: &[u8]) -> i64 {
    get(key).map_or(0, |value| {
        i64::from_le_bytes(
            value.try_into().expect("a counter is 8 bytes; this key holds another value"),
        )
    })
}

/// Gives `key` a new value and a new time to live.
pub fn set(key: &[u8], value: &[u8], ttl_ms: Option<u64>) {
    host::state::set(key, value, ttl_ms);
}

/// Forgets `key`; fine if there is none.
pub fn delete(key: &[u8]) {
    host::state::delete(key);
}

/// Adds `by` to the counter `key` and gives its new value; a missing or expired one starts at 0.
/// The time to live starts anew with `Some`; with `None` the key keeps what it has.
///
/// Counters are 8 bytes, little endian. A key with any other value is a fault, and so is overflow.
pub fn increment(key: &[u8], by: i64, ttl_ms: Option<u64>) -> i64 {
    host::state::increment(key, by, ttl_ms)
}

/// Adds `by` to the counter `key` as [`increment`] does, unless that would bring it over `most`. Gives
/// the new value; or, as the error, the value that it has and keeps: then nothing changes, no time to
/// live either.
///
/// So an event that is admitted costs one call of the broker, and so does one that is refused:
///
/// ```
/// # use weir_plugin::{fake, state};
/// # fake::Host::default().run(|| {
/// let three_a_day = || state::increment_up_to(b"ann", 1, 3, Some(86_400_000));
/// assert_eq!((three_a_day(), three_a_day(), three_a_day()), (Ok(1), Ok(2), Ok(3)));
/// assert_eq!(three_a_day(), Err(3));
/// # });
/// ```
///
/// What is compared is the exact sum, whatever the sign of `by`: one over 64 bits is over every
/// `most`, so that nothing is a fault there; one under them is a fault as in [`increment`]. A counter
/// that is over `most` already takes a negative `by` only if that brings it to `most` or below.
///
/// Brokers have this call since version 0.1.2 of the contract.
pub fn increment_up_to(key: &[u8], by: i64, most: i64, ttl_ms: Option<u64>) -> Result<i64, i64> {
    host::state::increment_up_to(key, by, most, ttl_ms)
}

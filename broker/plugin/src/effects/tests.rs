//! Effects against a model: whatever the calls, they are what a plain map would be.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_000);

/// The log's state, and the model: what a key holds, expired or not.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model(BTreeMap<u8, (Bytes, Option<Timestamp>)>);

impl StateBase for Model {
    /// The same for two keys, so that they are told apart by more than this.
    fn hash(&self, key: &[u8]) -> u64 {
        u64::from(key[0] / 2)
    }
    fn get_hashed(&self, _: u64, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        self.0.get(&key[0]).map(|(value, expires)| (&value[..], *expires))
    }
    fn keys(&self) -> u64 {
        self.0.len() as u64
    }
    fn bytes(&self) -> u64 {
        self.0.values().map(|(value, _)| 1 + value.len() as u64).sum()
    }
}

impl Model {
    fn live(&self, key: u8) -> Option<&(Bytes, Option<Timestamp>)> {
        self.0.get(&key).filter(|(_, expires)| expires.is_none_or(|at| NOW < at))
    }

    /// What counts there, and until when; `None` if that is no counter.
    fn counter(&self, key: u8) -> Option<(i64, Option<Timestamp>)> {
        match self.live(key) {
            None => Some((0, None)),
            Some((value, expires)) => {
                Some((i64::from_le_bytes(value[..].try_into().ok()?), *expires))
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Call {
    Set(u8, Vec<u8>, Option<u64>),
    Delete(u8),
    Increment(u8, i64, Option<u64>),
    IncrementUpTo(u8, i64, i64, Option<u64>),
    Keep,
    Discard,
}

fn any_call() -> impl Strategy<Value = Call> {
    let ttl_ms = || proptest::option::of(0_u64..3);
    let value = proptest::collection::vec(any::<u8>(), 0..10);
    prop_oneof![
        (0_u8..6, value, ttl_ms()).prop_map(|(key, value, ttl)| Call::Set(key, value, ttl)),
        (0_u8..6).prop_map(Call::Delete),
        (0_u8..6, -2_i64..3, ttl_ms()).prop_map(|(key, by, ttl)| Call::Increment(key, by, ttl)),
        (0_u8..6, added(), -3_i64..12, ttl_ms())
            .prop_map(|(key, by, most, ttl)| Call::IncrementUpTo(key, by, most, ttl)),
        Just(Call::Keep),
        Just(Call::Discard),
    ]
}

/// Small ones, and those at the ends of what a counter holds.
fn added() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -2_i64..3, 1 => Just(i64::MAX), 1 => Just(i64::MIN)]
}

fn limits() -> Limits {
    Limits { state_keys: 4, state_bytes: 30, state_changes: 3, ..Limits::default() }
}

/// What the event's calls make of the model, one by one; `None` is a refusal.
fn apply(model: &Model, call: &Call) -> Option<Model> {
    let mut next = model.clone();
    let expires = |ttl: &Option<u64>| ttl.map(|ttl_ms| Timestamp(NOW.0 + ttl_ms));
    match call {
        Call::Set(key, value, ttl) => {
            next.0.insert(*key, (value.clone().into(), expires(ttl)));
        }
        Call::Delete(key) => {
            next.0.remove(key);
        }
        Call::Increment(key, by, ttl) => {
            let (before, kept) = model.counter(*key)?;
            let sum = before.checked_add(*by)?.to_le_bytes();
            next.0.insert(*key, (Bytes::copy_from_slice(&sum), expires(ttl).or(kept)));
        }
        Call::IncrementUpTo(key, by, most, ttl) => {
            let (before, kept) = model.counter(*key)?;
            let sum = i128::from(before) + i128::from(*by);
            if sum <= i128::from(*most) {
                let sum = i64::try_from(sum).ok()?.to_le_bytes();
                next.0.insert(*key, (Bytes::copy_from_slice(&sum), expires(ttl).or(kept)));
            }
        }
        Call::Keep | Call::Discard => {}
    }
    let grows = model.keys() < next.keys() || model.bytes() < next.bytes();
    let over = 4 < next.keys() || 30 < next.bytes();
    if grows && over { None } else { Some(next) }
}

proptest! {
    #[test]
    fn effects_are_what_a_plain_map_would_be(calls in proptest::collection::vec(any_call(), 0..60)) {
        let mut base = Model::default();
        base.0.insert(0, (Bytes::from_static(b"old"), Some(NOW)));
        base.0.insert(1, (Bytes::copy_from_slice(&7_i64.to_le_bytes()), None));
        let mut effects = Effects::new(limits(), Vec::new());
        effects.begin(NOW, Arc::new(base.clone()));
        let (mut kept, mut model, mut changed) = (base.clone(), base.clone(), Vec::new());
        for call in &calls {
            let done = match call {
                Call::Set(key, value, ttl) => effects.set(&[*key], value.clone(), *ttl).is_ok(),
                Call::Delete(key) => effects.delete(&[*key]).is_ok(),
                Call::Increment(key, by, ttl) => effects.increment(&[*key], *by, *ttl).is_ok(),
                Call::IncrementUpTo(key, by, most, ttl) => {
                    let said = effects.increment_up_to(&[*key], *by, *most, *ttl);
                    if let Ok(said) = said {
                        let (before, _) = model.counter(*key).expect("a counter");
                        let sum = i128::from(before) + i128::from(*by);
                        let fits = sum <= i128::from(*most);
                        prop_assert_eq!(said.map(i128::from), if fits { Ok(sum) } else { Err(before) });
                    }
                    said.is_ok()
                }
                Call::Keep => { effects.keep(&mut Vec::new()); kept = model.clone(); changed.clear(); true }
                Call::Discard => { effects.discard(); model = kept.clone(); changed.clear(); true }
            };
            let touched = match call {
                Call::Set(key, ..) | Call::Increment(key, ..) => Some(*key),
                Call::Delete(key) => model.0.contains_key(key).then_some(*key),
                Call::IncrementUpTo(key, by, most, _) => model
                    .counter(*key)
                    .filter(|(before, _)| i128::from(*before) + i128::from(*by) <= i128::from(*most))
                    .map(|_| *key),
                Call::Keep | Call::Discard => None,
            };
            let is_one_more = touched.is_some_and(|key| !changed.contains(&key));
            let next = apply(&model, call).filter(|_| !(is_one_more && changed.len() == 3));
            prop_assert_eq!(done, next.is_some(), "{:?}", call);
            if let Some(next) = next {
                model = next;
                changed.extend(touched.filter(|_| is_one_more));
            }
            for key in 0..6 {
                prop_assert_eq!(effects.get(&[key]), model.live(key).map(|(value, _)| &value[..]));
            }
        }
        let mut folded = base;
        for change in effects.finish() {
            match change.value {
                Some((value, at)) => folded.0.insert(change.key[0], (Bytes::copy_from_slice(&value), at)),
                None => folded.0.remove(&change.key[0]),
            };
        }
        prop_assert_eq!(folded, kept);
    }
}

/// A counter that goes up to a limit, told call by call: what is said, and what stands under its key.
#[test]
fn a_counter_goes_up_to_a_limit_and_not_over_it() {
    let mut base = Model::default();
    base.0.insert(7, (Bytes::copy_from_slice(&9_i64.to_le_bytes()), Some(NOW)));
    base.0.insert(8, (Bytes::from_static(b"no counter"), None));
    let mut effects = Effects::new(Limits { state_bytes: 100, ..limits() }, Vec::new());
    effects.begin(NOW, Arc::new(base));
    let mut say = |key: u8, by, most, ttl_ms| {
        let said = effects.increment_up_to(&[key], by, most, ttl_ms).map_err(|why| why.cause);
        let change = effects.pending().find(|change| *change.key == [key]);
        let stands = change.map(|change| {
            let (value, expires) = change.value.as_ref().expect("a value");
            (i64::from_le_bytes(value[..].try_into().expect("a counter")), expires.map(|at| at.0))
        });
        (said, stands)
    };
    let fault = Err(FaultCause::Trap);
    for (key, by, most, ttl_ms, said, stands) in [
        (0, 1, 2, Some(10), Ok(Ok(1)), Some((1, Some(1_010)))),
        (0, 1, 2, None, Ok(Ok(2)), Some((2, Some(1_010)))),
        (0, 1, 2, Some(99), Ok(Err(2)), Some((2, Some(1_010)))),
        // Nothing added is a look that starts the time anew, if what stands is not over the limit.
        (0, 0, 2, Some(20), Ok(Ok(2)), Some((2, Some(1_020)))),
        (0, 0, 1, Some(30), Ok(Err(2)), Some((2, Some(1_020)))),
        (0, -1, 0, None, Ok(Err(2)), Some((2, Some(1_020)))),
        (0, -2, 0, None, Ok(Ok(0)), Some((0, Some(1_020)))),
        // What does not fit 64 bits is over every limit, or under all of them.
        (0, 3, i64::MAX, None, Ok(Ok(3)), Some((3, Some(1_020)))),
        (0, i64::MAX, i64::MAX, None, Ok(Err(3)), Some((3, Some(1_020)))),
        (1, i64::MIN, -1, None, Ok(Ok(i64::MIN)), Some((i64::MIN, None))),
        (1, -1, i64::MAX, None, fault, Some((i64::MIN, None))),
        (1, -1, i64::MIN, None, fault, Some((i64::MIN, None))),
        // Nothing stands there, or what stood has expired: 0.
        (2, 1, 0, None, Ok(Err(0)), None),
        (7, 1, 0, None, Ok(Err(0)), None),
        (7, 1, 1, None, Ok(Ok(1)), Some((1, None))),
        (8, 1, 0, None, fault, None),
    ] {
        let what = format!("{key}: {by} up to {most}");
        assert_eq!(say(key, by, most, ttl_ms), (said, stands), "{what}");
    }
    assert_eq!(say(3, 1, 1, None), (Err(FaultCause::StateQuota), None), "a fourth key");
    assert_eq!(say(3, 1, 0, None), (Ok(Err(0)), None), "which is not made by a refusal");
}

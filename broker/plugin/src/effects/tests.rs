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
    fn get(&self, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
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
}

#[derive(Debug, Clone)]
enum Call {
    Set(u8, Vec<u8>, Option<u64>),
    Delete(u8),
    Increment(u8, i64, Option<u64>),
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
        Just(Call::Keep),
        Just(Call::Discard),
    ]
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
            let (before, kept) = match model.live(*key) {
                None => (0, None),
                Some((value, kept)) => (i64::from_le_bytes(value[..].try_into().ok()?), *kept),
            };
            let sum = before.checked_add(*by)?.to_le_bytes();
            next.0.insert(*key, (Bytes::copy_from_slice(&sum), expires(ttl).or(kept)));
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
                Call::Keep => { effects.keep(&mut Vec::new()); kept = model.clone(); changed.clear(); true }
                Call::Discard => { effects.discard(); model = kept.clone(); changed.clear(); true }
            };
            let touched = match call {
                Call::Set(key, ..) | Call::Increment(key, ..) => Some(*key),
                Call::Delete(key) => model.0.contains_key(key).then_some(*key),
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

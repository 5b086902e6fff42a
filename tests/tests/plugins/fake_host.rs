//! The fake host of sdk/plugin and the real one: the same random program on both, as a rule in Rust
//! and as a component, in batches, with events of which nothing stands. The same verdicts, reads,
//! side events, state and faults.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use weir_plugin::{Event, Filter, Rejection, Verdict, fake, log, outbox, state};
use weir_plugin_host::{
    BatchContext, BindingSettings, EventContext, Host, HostOptions, Stage, StageVerdict, StateBase,
    WasmStage,
};
use weir_tests::bed::{name, probe};
use weir_tests::load::topic;
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PartitionId, Principal, Timestamp};
use weir_wire::record_batch;

/// Limits low enough that random programs meet them.
const SIDE_EVENTS: u32 = 3;
const SIDE_EVENT_BYTES: u64 = 20;
const STATE_CHANGES: u32 = 4;
const STATE_KEYS: u64 = 5;
const STATE_BYTES: u64 = 40;

/// The probe `interpreter` as a rule in Rust.
struct Interpreter;

impl Filter for Interpreter {
    fn configure(_: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, event: Event) -> Verdict {
        let (mut shown, mut verdict) = (Vec::new(), 1);
        for word in event.value.chunks_exact(8) {
            let key = &word[1..2];
            let ttl_ms = (word[2] != 0).then(|| u64::from(word[2]) * 100);
            match word[0] {
                1 => state::set(key, &word[3..8], ttl_ms),
                2 => state::set(key, word, ttl_ms),
                3 => state::delete(key),
                4 => {
                    let by = i64::from(word[3] as i8);
                    shown.extend(state::increment(key, by, ttl_ms).to_le_bytes());
                }
                5 => show(state::get(key), &mut shown),
                6 => outbox::emit("notices", &Event::new(word)),
                7 => outbox::emit("forbidden", &Event::new(word)),
                8 => log::info("said"),
                9 => state::set(&[0; 257], word, ttl_ms),
                10 => show(state::get(&[0; 257]), &mut shown),
                11 => panic!("a trap"),
                op => verdict = op - 12,
            }
        }
        match verdict {
            0 => Verdict::Accept,
            1 => Verdict::Replace(Event::new(shown).timestamp_ms(event.timestamp)),
            2 => Verdict::Drop,
            _ => Rejection::new("no", "no").into(),
        }
    }
}

fn show(value: Option<Vec<u8>>, shown: &mut Vec<u8>) {
    match value {
        None => shown.push(255),
        Some(value) => {
            shown.push(value.len() as u8);
            shown.extend(value);
        }
    }
}

/// State as it is in the log between two batches.
#[derive(Debug, Clone, Default)]
struct Base(BTreeMap<Bytes, (Bytes, Option<Timestamp>)>);

impl StateBase for Base {
    fn hash(&self, key: &[u8]) -> u64 {
        key.iter().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()))
    }
    fn get_hashed(&self, _: u64, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        self.0.get(key).map(|(value, expires)| (&value[..], *expires))
    }
    fn keys(&self) -> u64 {
        self.0.len() as u64
    }
    fn bytes(&self) -> u64 {
        self.0.iter().map(|(key, (value, _))| (key.len() + value.len()) as u64).sum()
    }
}

fn stage() -> WasmStage {
    let host = Host::new(HostOptions::default()).unwrap();
    let artefact = host.compile(&probe("interpreter")).unwrap();
    let plugin = host.load(name("interpreter"), Digest([0; 32]), &artefact).unwrap();
    let limits = Limits {
        side_events: SIDE_EVENTS,
        side_event_bytes: SIDE_EVENT_BYTES,
        state_changes: STATE_CHANGES,
        state_keys: STATE_KEYS,
        state_bytes: STATE_BYTES,
        ..Limits::default()
    };
    let emit = vec![topic("notices")];
    plugin.stage(BindingSettings { config: "0".to_owned(), emit, limits }).unwrap()
}

fn fake_host() -> fake::Host {
    fake::Host {
        emit_to: Some(vec!["notices".to_owned()]),
        limits: fake::Limits {
            side_events: SIDE_EVENTS as usize,
            side_event_bytes: SIDE_EVENT_BYTES as usize,
            state_changes: STATE_CHANGES as usize,
            state_keys: STATE_KEYS as usize,
            state_bytes: STATE_BYTES as usize,
            ..fake::Limits::default()
        },
        ..fake::Host::default()
    }
}

/// Per batch: ms since the last one, and its events: their words, and whether their effects stand.
type Batches = Vec<(u64, Vec<(Vec<[u8; 8]>, bool)>)>;

fn any_batches() -> impl Strategy<Value = Batches> {
    // Small numbers: counters that are none, keys that meet, times to live that end.
    let op = prop_oneof![20 => 1_u8..=6, 1 => 7_u8..=11, 2 => Just(5), 2 => 12_u8..=15];
    let word = (op, 0_u8..7, 0_u8..4, any::<[u8; 5]>()).prop_map(|(op, key, ttl, rest)| {
        let [a, b, c, d, e] = rest;
        [op, key, ttl, a, b, c, d, e]
    });
    let event = (proptest::collection::vec(word, 0..7), proptest::bool::weighted(0.8));
    proptest::collection::vec((0_u64..250, proptest::collection::vec(event, 1..5)), 1..6)
}

fn check(stage: &mut WasmStage, batches: &Batches) -> Result<(), TestCaseError> {
    let (mut base, mut fake, mut now) = (Base::default(), fake_host(), 1_000);
    for (pause, events) in batches {
        now += pause;
        fake.now = now;
        let batch = BatchContext {
            now: Timestamp(now),
            topic: topic("bookings"),
            partition: PartitionId(0),
            publisher: Principal::parse("tester").unwrap(),
        };
        stage.begin(&batch, Arc::new(base.clone()));
        for (index, (words, stands)) in (0..).zip(events) {
            let value = words.concat();
            let at = EventContext { index, offset_hint: 0, may_emit: true };
            let given = record_batch::Event {
                value: Some(value.clone().into()),
                timestamp: Timestamp(7),
                ..record_batch::Event::default()
            };
            let real = stage.judge(&given.as_record(), at);
            let before = fake.clone();
            let event = Event::new(value).timestamp_ms(7);
            let faked = fake.try_judge(&mut Interpreter, event);
            match (&real, &faked) {
                (Ok(StageVerdict::Accept), Ok(Verdict::Accept))
                | (Ok(StageVerdict::Drop), Ok(Verdict::Drop))
                | (Ok(StageVerdict::Reject(_)), Ok(Verdict::Reject(_)))
                | (Err(_), Err(_)) => {}
                (Ok(StageVerdict::Replace(real)), Ok(Verdict::Replace(faked))) => {
                    prop_assert_eq!(real.value.as_deref(), Some(&faked.value[..]));
                }
                _ => prop_assert!(false, "really {:?}, faked {:?}", real, faked),
            }
            let mut emitted = Vec::new();
            if real.is_err() {
                stage.discard();
            } else if *stands {
                stage.keep(&mut emitted);
            } else {
                stage.discard();
                let lines = std::mem::take(&mut fake.lines);
                fake = fake::Host { lines, ..before.clone() };
            }
            let faked = fake.emitted[before.emitted.len()..].iter();
            let faked: Vec<&[u8]> = faked.map(|(_, event)| &event.value[..]).collect();
            let real: Vec<&[u8]> =
                emitted.iter().map(|side| side.event.value.as_deref().unwrap()).collect();
            prop_assert_eq!(real, faked);
        }
        for change in stage.finish() {
            let key = change.key.to_vec();
            match change.value {
                Some((value, at)) => base.0.insert(key.into(), (value.to_vec().into(), at)),
                None => base.0.remove(&key[..]),
            };
        }
        let real: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)> = base
            .0
            .iter()
            .map(|(key, (value, at))| (key.to_vec(), (value.to_vec(), at.map(|at| at.0))))
            .collect();
        prop_assert_eq!(&real, &fake.state);
    }
    Ok(())
}

#[test]
fn the_fake_host_does_what_the_real_one_does() {
    // A fault is a panic in the fake: nobody needs to read about each.
    std::panic::set_hook(Box::new(|_| {}));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2_000));
    let stage = std::cell::RefCell::new(stage());
    let ran = runner.run(&any_batches(), |batches| check(&mut stage.borrow_mut(), &batches));
    drop(std::panic::take_hook());
    if let Err(why) = ran {
        panic!("{why}");
    }
}

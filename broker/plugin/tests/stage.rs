//! What a stage promises, shown with probes: verdicts, effects, faults, fresh instances.

mod rig;

use std::sync::Arc;

use bytes::Bytes;
use rig::{Base, context, event, header, judge_all, place, stage, try_stage};
use weir_plugin_host::{
    BindError, FaultCause, REJECTION_MESSAGE_BYTES_MAX, Refusal, Stage, StageVerdict,
};
use weir_wire::admin::Limits;
use weir_wire::ids::Timestamp;

const DAY_MS: u64 = 86_400_000;

#[test]
fn each_verdict_arrives_as_it_was_given() {
    let mut given = event("alice", "booking", 7);
    given.headers = vec![header("trace", "1"), header("trace", "2")];
    let mut new = given.clone();
    new.value = Some(Bytes::from_static(b"new"));
    let no = Refusal { code: "no".into(), message: "not today".into(), retry_after_ms: Some(1500) };
    for (probe, expected) in [
        ("accept", StageVerdict::Accept),
        ("drop", StageVerdict::Drop),
        ("replace", StageVerdict::Replace(new)),
        ("reject", StageVerdict::Reject(no)),
    ] {
        let outcome = judge_all(&mut stage(probe, "{}"), &Base::default(), 1, &[given.clone()]);
        assert_eq!(outcome.verdicts, [Ok(expected)], "{probe}");
        assert!(outcome.changes.is_empty() && outcome.side_events.is_empty(), "{probe}");
    }
}

#[test]
fn a_rejection_too_long_is_cut_between_characters() {
    let value = "ä".repeat(400);
    let outcome =
        judge_all(&mut stage("reject-long", "{}"), &Base::default(), 1, &[event("", value, 1)]);
    let Ok(StageVerdict::Reject(refusal)) = &outcome.verdicts[0] else { panic!("not rejected") };
    assert_eq!(refusal.code, "rejected");
    assert_eq!(refusal.message, "ä".repeat(REJECTION_MESSAGE_BYTES_MAX / 2));
    assert_eq!(refusal.retry_after_ms, None);
}

#[test]
fn each_bomb_fails_with_its_cause_and_without_effects() {
    for (probe, cause) in [
        ("spin", FaultCause::Timeout),
        ("grow-memory", FaultCause::Memory),
        ("deep-recursion", FaultCause::Stack),
        ("huge", FaultCause::OutputTooLarge),
        ("wild-pointer", FaultCause::Trap),
        ("bad-verdict", FaultCause::Trap),
        ("forge-header", FaultCause::Denied),
        ("trap-third", FaultCause::Trap),
    ] {
        let outcome =
            judge_all(&mut stage(probe, "{}"), &Base::default(), 1, &[event("k", "v", 3)]);
        assert_eq!(outcome.cause(), cause, "{probe}");
        assert!(outcome.changes.is_empty() && outcome.side_events.is_empty(), "{probe}");
        let fault = outcome.verdicts[0].as_ref().expect_err("a fault");
        assert!(!fault.detail.is_empty() && !fault.detail.contains('\n'), "{probe}: {fault}");
    }
}

#[test]
fn fuel_ends_a_loop_and_so_does_the_clock() {
    let endless_fuel = Limits { fuel: u64::MAX, deadline_ms: 20, ..Limits::default() };
    let mut stage = try_stage("spin", "{}", endless_fuel).expect("takes its config");
    let outcome = judge_all(&mut stage, &Base::default(), 1, &[event("k", "v", 1)]);
    let fault = outcome.verdicts[0].as_ref().expect_err("a fault");
    assert_eq!((fault.cause, &*fault.detail), (FaultCause::Timeout, "gave no answer within 20 ms"));
}

#[test]
fn a_counter_counts_by_key_and_forgets_in_partition_time() {
    let mut stage = stage("counter", r#"{"limit":2}"#);
    let mut base = Base::default();
    let of = |keys: &str| keys.chars().map(|k| event(&k.to_string(), "", 1)).collect::<Vec<_>>();
    for (now, keys, signs) in [
        (0, "aabaab", "+++--+"),
        (1, "ab", "--"),
        (DAY_MS, "c", "+"),
        (DAY_MS + 1, "abab", "++++"),
        (DAY_MS + 2, "a", "-"),
    ] {
        let outcome = judge_all(&mut stage, &base, now, &of(keys));
        assert_eq!(outcome.signs(), signs, "at {now}");
        base.fold(outcome.changes);
    }
    assert_eq!(base.counter("a"), Some(3));
    assert_eq!(stage.counters().instances, 1);
}

#[test]
fn discarded_effects_never_were_and_kept_ones_are_seen() {
    let mut stage = stage("counter", r#"{"limit":1}"#);
    stage.begin(&context(0), Arc::new(Base::default()));
    let alice = event("alice", "", 1);
    let mut signs = String::new();
    for keeps in [false, false, true, false, true] {
        let verdict = stage.judge(&alice.as_record(), place(0)).expect("no fault");
        signs.push(if verdict == StageVerdict::Accept { '+' } else { '-' });
        if keeps { stage.keep(&mut Vec::new()) } else { stage.discard() }
    }
    assert_eq!(signs, "+++--");
    let changes = stage.finish();
    let two = 2_i64.to_le_bytes()[..].into();
    assert_eq!(changes.len(), 1, "each key once");
    assert_eq!(changes[0].key[..], *b"alice");
    assert_eq!(changes[0].value, Some((two, Some(Timestamp(DAY_MS)))));
}

#[test]
fn a_trap_costs_its_event_and_its_instance_and_no_state() {
    let mut stage = stage("trap-third", "{}");
    let events: Vec<_> = (1..=7).map(|time| event("", "", time)).collect();
    let outcome = judge_all(&mut stage, &Base::default(), 1, &events);
    assert_eq!(outcome.signs(), "++!++!+");
    let mut base = Base::default();
    base.fold(outcome.changes);
    assert_eq!(base.counter("n"), Some(5));
    assert_eq!(stage.counters().instances, 3, "the first, and one after each trap");
}

#[test]
fn an_instance_that_hoards_memory_is_replaced_between_batches() {
    let mut stage = stage("leak", "{}");
    let events = vec![event("", "", 1); 40];
    let outcome = judge_all(&mut stage, &Base::default(), 1, &events);
    assert_eq!(outcome.signs(), "+".repeat(40));
    assert_eq!(stage.counters().memory_bytes, 0, "40 MiB are over half of 64");
    judge_all(&mut stage, &Base::default(), 1, &events[..1]);
    assert_eq!(stage.counters().instances, 2);
}

#[test]
fn the_same_input_gives_the_same_outcome() {
    for probe in ["counter", "clocks", "trap-third", "emit"] {
        let run = || {
            let mut stage = stage(probe, r#"{"limit":2}"#);
            let events: Vec<_> = (0..4).map(|time| event("notices", "v", time)).collect();
            let outcome = judge_all(&mut stage, &Base::default(), 1_000, &events);
            (outcome.verdicts, outcome.changes, outcome.side_events)
        };
        assert_eq!(run(), run(), "{probe}");
    }
}

#[test]
fn side_events_go_where_the_binding_says_and_only_so_many() {
    let emitted = |topic: &str, value: &str, times: u64| {
        let events = [event(topic, value.to_owned(), times)];
        judge_all(&mut stage("emit", "{}"), &Base::default(), 1, &events)
    };
    let outcome = emitted("notices", "mail her", 2);
    assert_eq!(outcome.signs(), "+");
    let topics: Vec<_> = outcome.side_events.iter().map(|e| e.topic.as_str()).collect();
    assert_eq!(topics, ["notices", "notices"]);
    assert_eq!(outcome.side_events[0].event.value.as_deref(), Some(&b"mail her"[..]));

    assert_eq!(emitted("payments", "x", 1).cause(), FaultCause::Denied);
    assert_eq!(emitted("notices", "x", 17).cause(), FaultCause::OutputTooLarge);
    assert_eq!(emitted("notices", &"x".repeat(200_000), 2).cause(), FaultCause::OutputTooLarge);
    assert!(emitted("notices", "x", 17).side_events.is_empty());
}

#[test]
fn at_the_end_of_the_hops_nothing_is_emitted() {
    let mut stage = stage("emit", "{}");
    stage.begin(&context(0), Arc::new(Base::default()));
    let mut last_hop = place(0);
    last_hop.may_emit = false;
    let fault = stage.judge(&event("notices", "x", 1).as_record(), last_hop).expect_err("a fault");
    assert_eq!(fault.cause, FaultCause::Denied);
}

#[test]
fn state_stays_within_its_quota() {
    let limits = Limits { state_keys: 10, state_bytes: 1 << 20, ..Limits::default() };
    let cause = |keys: u64, value: usize| {
        let mut stage = try_stage("state-flood", "{}", limits).expect("takes its config");
        let events = [event("", vec![7; value], keys)];
        let outcome = judge_all(&mut stage, &Base::default(), 1, &events);
        assert_eq!(outcome.changes.len() as u64, if outcome.signs() == "+" { keys } else { 0 });
        outcome.verdicts[0].as_ref().err().map(|fault| fault.cause)
    };
    assert_eq!(cause(10, 8), None);
    assert_eq!(cause(11, 8), Some(FaultCause::StateQuota), "keys");
    assert_eq!(cause(1, 65_536), None);
    assert_eq!(cause(1, 65_537), Some(FaultCause::StateQuota), "one value");
    let limits = Limits { state_keys: 1_000, ..limits };
    let mut stage = try_stage("state-flood", "{}", limits).expect("takes its config");
    let outcome = judge_all(&mut stage, &Base::default(), 1, &[event("", "v", 65)]);
    assert_eq!(outcome.cause(), FaultCause::StateQuota, "changes of one event");
}

#[test]
fn a_flood_of_log_lines_is_cut_and_counted() {
    let mut stage = stage("log-flood", "{}");
    let outcome = judge_all(&mut stage, &Base::default(), 1, &[event("", "", 1)]);
    assert_eq!(outcome.signs(), "+");
    assert_eq!(stage.counters().log_bytes_cut, 16_000 - 4_096);
}

#[test]
fn a_binding_is_refused_in_the_plugins_own_words_or_for_what_went_wrong() {
    let bind = |probe, config, limits| try_stage(probe, config, limits).map(|_| ());
    let usual = Limits::default();
    assert_eq!(bind("refuses-config", "{}", usual), Err(BindError::Refused("never".into())));
    assert_eq!(bind("counter", "{}", usual), Err(BindError::Refused("give a limit".into())));
    let Err(BindError::Fault(fault)) = bind("early-state", "{}", usual) else { panic!("bound") };
    assert!(fault.detail.contains("outside of process"), "{fault}");
    for (probe, limits, words) in [
        ("spin-in-start", Limits { configure_ms: 20, ..usual }, "no answer within 20 ms"),
        ("accept", Limits { memory_bytes: 1 << 10, ..usual }, "its limit is 1024"),
    ] {
        let Err(BindError::Instantiate(why)) = bind(probe, "{}", limits) else { panic!("bound") };
        assert!(why.contains(words), "{probe}: {why}");
    }
}

#[test]
fn headers_of_the_broker_pass_a_plugin_unchanged() {
    let mut given = event("k", "v", 1);
    given.headers = vec![header("weir-hops", "2"), header("mine", "1")];
    let outcome = judge_all(&mut stage("replace", "{}"), &Base::default(), 1, &[given.clone()]);
    let Ok(StageVerdict::Replace(new)) = &outcome.verdicts[0] else { panic!("not replaced") };
    assert_eq!(new.headers, [header("mine", "1"), header("weir-hops", "2")]);
    let outcome = judge_all(&mut stage("forge-header", "{}"), &Base::default(), 1, &[given]);
    assert_eq!(outcome.cause(), FaultCause::Denied);
}

#[test]
fn wasi_stands_still_and_a_sleep_is_over_at_once() {
    let now_ms = 1_700_000_123_456;
    let outcome =
        judge_all(&mut stage("clocks", "{}"), &Base::default(), now_ms, &vec![event("", "", 1); 2]);
    let fields = |at: usize| -> Vec<u64> {
        let Ok(StageVerdict::Replace(event)) = &outcome.verdicts[at] else { panic!("no answer") };
        let value = event.value.as_deref().expect("a value");
        value.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("8"))).collect()
    };
    let (first, second) = (fields(0), fields(1));
    assert_eq!([first[0], first[1], first[3]], [now_ms / 1000, 3_600_000_000_000, now_ms]);
    assert_ne!(first[2], second[2], "each offset has its own randomness");
}

//! Admission as scripts of data: a chain of scripted stages, events whose payload says what each
//! stage does with them, and the plan as text.
//!
//! A payload is a row of `stage:deed,deed` words. Deeds: `count` adds one to the stage's counter,
//! `emit` emits a side event that says how far the counter is, `swap` replaces the payload for the
//! stages behind, `swell` does so with a MiB, `shout` emits one, and `drop`, `reject`, `trap` end it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use expect_test::{Expect, expect};
use weir_log::Commit;
use weir_log::commit::{Consumed, Kind};
use weir_plugin_host::{
    BatchContext, Change, Emitted, EventContext, FaultCause, PluginFault, Refusal, Stage,
    StageVerdict, StateBase,
};
use weir_views::partition::PartitionView;
use weir_wire::admin::FailurePolicy;
use weir_wire::dead_letter::DeadLetter;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{
    ChainRevision, Digest, GroupName, Offset, PartitionId, PluginName, Principal, ProducerEpoch,
    ProducerId, ResetEpoch, Sequence, Timestamp, TopicId, TopicName,
};
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Compression, Event, Record, RecordBatch};
use weir_wire::verdict::{Rejection, Verdict, Verdicts};

use super::{Place, Plan, admit, stored_bytes};
use crate::batch::{Batch, Mode, Origin, SideNumber, Source};
use crate::chain::{Chain, Judge, Link};

/// A stage that does what the payload tells it. Its whole state is one counter.
struct Scripted {
    name: &'static str,
    base: Option<Arc<dyn StateBase>>,
    kept: Option<u64>,
    pending: (Option<u64>, Vec<Emitted>),
}

const COUNTER: &[u8] = b"n";

impl Scripted {
    fn counter(&self) -> u64 {
        let stored = || {
            let base = self.base.as_ref().expect("begun");
            base.get(COUNTER)
                .map_or(0, |(value, _)| u64::from_le_bytes(value.try_into().expect("8 bytes")))
        };
        self.pending.0.or(self.kept).unwrap_or_else(stored)
    }
}

impl Stage for Scripted {
    fn begin(&mut self, _: &BatchContext, state: Arc<dyn StateBase>) {
        self.base = Some(state);
        self.kept = None;
    }

    fn judge(&mut self, event: &Record<'_>, at: EventContext) -> Result<StageVerdict, PluginFault> {
        let payload = std::str::from_utf8(event.value.unwrap_or_default()).expect("a script");
        let deeds =
            payload.split(' ').find_map(|word| word.strip_prefix(self.name)?.strip_prefix(':'));
        let mut verdict = StageVerdict::Accept;
        for deed in deeds.unwrap_or_default().split(',') {
            match deed {
                "count" => self.pending.0 = Some(self.counter() + 1),
                "emit" if !at.may_emit => {
                    self.pending = (None, Vec::new());
                    return Err(PluginFault {
                        cause: FaultCause::Denied,
                        detail: "too deep".into(),
                    });
                }
                "emit" => self.pending.1.push(Emitted {
                    topic: TopicName::parse("notices").expect("valid"),
                    event: Event {
                        value: Some(format!("{} {}", self.name, self.counter()).into()),
                        ..Event::default()
                    },
                }),
                "swap" => {
                    let value = payload.replace(&format!("{}:", self.name), "swapped:");
                    verdict = StageVerdict::Replace(Event {
                        value: Some(value.into()),
                        ..event.to_event()
                    });
                }
                "swell" => {
                    let value = Some(vec![0; 1 << 20].into());
                    verdict = StageVerdict::Replace(Event { value, ..Event::default() });
                }
                "shout" => self.pending.1.push(Emitted {
                    topic: TopicName::parse("notices").expect("valid"),
                    event: Event { value: Some(vec![0; 1 << 20].into()), ..Event::default() },
                }),
                "drop" => verdict = StageVerdict::Drop,
                "reject" => {
                    verdict = StageVerdict::Reject(Refusal {
                        code: "no".into(),
                        message: format!("{} says no", self.name),
                        retry_after_ms: None,
                    });
                }
                "trap" => {
                    self.pending = (None, Vec::new());
                    return Err(PluginFault {
                        cause: FaultCause::Trap,
                        detail: "unreachable".into(),
                    });
                }
                _ => {}
            }
        }
        Ok(verdict)
    }

    fn keep(&mut self, side_events: &mut Vec<Emitted>) {
        let (counter, mut emitted) = std::mem::take(&mut self.pending);
        self.kept = counter.or(self.kept);
        side_events.append(&mut emitted);
    }

    fn discard(&mut self) {
        self.pending = (None, Vec::new());
    }

    fn finish(&mut self) -> Vec<Change> {
        self.base = None;
        let value = |counter: u64| Some((counter.to_le_bytes()[..].into(), None));
        let changed = self.kept.take();
        changed
            .map(|counter| Change { key: COUNTER.into(), value: value(counter) })
            .into_iter()
            .collect()
    }
}

/// A partition without a disk: the plan of one batch is applied before the next.
struct Script {
    view: PartitionView,
    chain: Chain,
    now: u64,
    mode: Mode,
    source: Source,
    story: String,
}

impl Script {
    /// A chain of stages, each with its failure policy.
    fn new(stages: &[(&'static str, FailurePolicy)]) -> Self {
        let links = stages
            .iter()
            .map(|&(name, policy)| {
                let stage = Scripted { name, base: None, kept: None, pending: (None, Vec::new()) };
                let plugin = PluginName::parse(name).expect("valid");
                let judge = Judge { plugin, version: 1, digest: Digest([1; 32]) };
                Link::new(judge, policy, Box::new(stage))
            })
            .collect();
        Self {
            view: PartitionView::default(),
            chain: Chain { revision: ChainRevision(0), links },
            now: 1_000,
            mode: Mode::PerEvent,
            source: Source::Untold,
            story: String::new(),
        }
    }

    /// Every stage keeps what it refuses in the topic `dead`.
    fn keeping(mut self) -> Self {
        let dead = || Some(TopicName::parse("dead").expect("valid"));
        let links = std::mem::take(&mut self.chain.links);
        self.chain.links = links.into_iter().map(|link| link.with_dead_letter(dead())).collect();
        self
    }

    /// What is published from now on was made of events 3 and 4 of another topic.
    fn consuming(mut self) -> Self {
        self.source = Source::Consumed(Consumed {
            group: GroupName::parse("counters").expect("valid"),
            topic: TopicId(16),
            partition: PartitionId(2),
            epoch: ResetEpoch(0),
            from: Offset(3),
            to: Offset(5),
        });
        self
    }

    /// What is published from now on is the work of a member that is none any more.
    fn fenced(mut self) -> Self {
        self.source = Source::Settled(Fault::new(Code::MemberFenced, "too late"));
        self
    }

    fn all_or_nothing(mut self) -> Self {
        self.mode = Mode::AllOrNothing;
        self
    }

    /// Publishes without numbers.
    fn publish(self, payloads: &[&str]) -> Self {
        self.admit(Origin::Unnumbered, payloads)
    }

    /// Publishes as producer 7, from this sequence on.
    fn publish_from(self, first: u32, payloads: &[&str]) -> Self {
        let origin = Origin::Producer {
            id: ProducerId(7),
            epoch: ProducerEpoch(0),
            first: Sequence::new(first),
        };
        self.admit(origin, payloads)
    }

    /// Publishes as a relay: (sequence, hops) of each.
    fn relay(self, numbers: &[(u32, u8)], payloads: &[&str]) -> Self {
        let id = ProducerId::relay(weir_wire::ids::TopicId(9), PartitionId(0));
        let numbers = numbers
            .iter()
            .map(|&(number, hops)| SideNumber { sequence: Sequence::new(number), hops })
            .collect();
        self.admit(Origin::Relay { id, epoch: ProducerEpoch(0), numbers }, payloads)
    }

    fn wait_ms(mut self, ms: u64) -> Self {
        self.now += ms;
        self
    }

    fn admit(mut self, origin: Origin, payloads: &[&str]) -> Self {
        let source = self.source.clone();
        let batch = Batch { source, ..batch(origin, self.mode, payloads) };
        let place =
            Place { topic: TopicName::parse("t").expect("valid"), partition: PartitionId(0) };
        let now = Timestamp(self.now).max(self.view.time());
        let plan = admit(&self.view, &mut self.chain, &place, &batch, now);
        let said = match plan {
            Plan::Commit(commit, _) => {
                let mut text = format!("commit {}: {}", self.view.next(), tell(&commit));
                if let Some(consumed) = &commit.consumed {
                    text += &format!("; {} is at {}", consumed.group, consumed.to);
                }
                assert_eq!(commit.kind, Kind::Batch);
                self.view.apply(self.view.next(), &commit);
                text
            }
            Plan::Answer(verdicts, _) => format!("answer: {}", verdicts_of(verdicts.iter())),
            Plan::Recall(pieces) => {
                let pieces: Vec<String> = pieces
                    .iter()
                    .map(|piece| {
                        format!("{} of commit {} from {}", piece.count, piece.position, piece.from)
                    })
                    .collect();
                format!("recall: {}", pieces.join(", "))
            }
            Plan::Refuse(fault) => format!("refuse: {}", fault.code),
        };
        self.story.push_str(&said);
        self.story.push('\n');
        self
    }

    fn tells(self, expected: Expect) {
        expected.assert_eq(&self.story);
    }
}

fn batch(origin: Origin, mode: Mode, payloads: &[&str]) -> Batch {
    let mut builder = BatchBuilder::default();
    for payload in payloads {
        let value = Some(Bytes::copy_from_slice(payload.as_bytes()));
        builder.push(&Event { value, timestamp: Timestamp(5), ..Event::default() }.as_record());
    }
    let encoded = RecordBatch::parse(builder.finish(Compression::None)).expect("our own");
    let records = encoded.open(&BatchLimits::default()).expect("our own");
    Batch {
        publisher: Principal::parse("tester").expect("valid"),
        mode,
        origin,
        source: Source::Untold,
        encoded,
        records,
    }
}

fn verdicts_of<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> String {
    let words: Vec<String> = verdicts
        .map(|verdict| match verdict {
            Verdict::Accepted => "accepted".to_owned(),
            Verdict::Aborted => "aborted".to_owned(),
            Verdict::Dropped { plugin } => format!("dropped by {plugin}"),
            Verdict::Rejected(why) => format!("{} by {}", why.code, why.plugin),
        })
        .collect();
    words.join(", ")
}

fn tell(commit: &weir_log::Commit) -> String {
    let mut parts = vec![verdicts_of(commit.verdicts.iter())];
    if !commit.data.is_empty() {
        let stored = RecordBatch::parse(commit.data.clone()).expect("whole");
        let records = stored.open(&BatchLimits::default()).expect("valid");
        assert_eq!(records.len(), commit.events);
        let payloads: Vec<_> = records
            .iter()
            .map(|record| {
                let stamps: String =
                    record.headers.iter().map(|(name, _)| format!(" +{name}")).collect();
                format!("[{}{stamps}]", String::from_utf8_lossy(record.value.unwrap_or_default()))
            })
            .collect();
        parts.push(format!("stores {}", payloads.join("")));
    }
    let mut state = BTreeMap::new();
    for change in commit.state.iter() {
        let value = change.value.as_ref().expect("set");
        let counter = u64::from_le_bytes((&*value.bytes).try_into().expect("8 bytes"));
        state.insert(change.plugin, counter);
    }
    parts.extend(state.into_iter().map(|(plugin, counter)| format!("{plugin} = {counter}")));
    for side in &commit.outbox {
        let value =
            String::from_utf8_lossy(side.event.value.as_deref().unwrap_or_default()).into_owned();
        parts.push(match DeadLetter::read(&side.event) {
            None => format!("emits #{} \"{value}\" hop {}", side.ordinal, side.hops),
            Some(letter) => {
                let DeadLetter { topic, partition, plugin, version, code, reason, .. } =
                    letter.expect("our own");
                assert_eq!((side.topic.as_str(), side.plugin.as_str()), ("dead", plugin.as_str()));
                format!(
                    "keeps #{} [{value}] of {topic}/{partition}: {code} by {plugin}@{version}, \
                     \"{reason}\", hop {}",
                    side.ordinal, side.hops
                )
            }
        });
    }
    parts.join("; ")
}

const CLOSED: FailurePolicy = FailurePolicy::Closed;
const OPEN: FailurePolicy = FailurePolicy::Open;

#[test]
fn without_a_chain_everything_passes_as_it_came() {
    Script::new(&[]).publish(&["one", "two"]).tells(expect![[r#"
        commit 0: accepted, accepted; stores [one][two]
    "#]]);
}

#[test]
fn an_admitted_event_has_the_effects_of_every_stage() {
    Script::new(&[("a", CLOSED), ("b", CLOSED)])
        .publish(&["a:count,emit b:count,emit", "a:count b:count"])
        .tells(expect![[r#"
            commit 0: accepted, accepted; stores [a:count,emit b:count,emit][a:count b:count]; a = 2; b = 2; emits #0 "a 1" hop 1; emits #1 "b 1" hop 1
        "#]]);
}

#[test]
fn a_refused_event_has_the_effects_of_the_stage_that_refused_alone() {
    Script::new(&[("a", CLOSED), ("b", CLOSED), ("c", CLOSED)])
        .publish(&["a:count,emit b:count,emit,reject c:count", "a:count b:count,drop", "a:count b:count"])
        .tells(expect![[r#"
            commit 0: no by b, dropped by b, accepted; stores [a:count b:count]; a = 1; b = 3; emits #0 "b 1" hop 1
        "#]]);
}

#[test]
fn a_closed_fault_leaves_nothing_of_anyone() {
    Script::new(&[("a", CLOSED), ("b", CLOSED)])
        .publish(&["a:count,emit b:count,trap", "a:count b:count"])
        .tells(expect![[r#"
            commit 0: plugin-trap by b, accepted; stores [a:count b:count]; a = 1; b = 1
        "#]]);
}

#[test]
fn an_open_fault_lets_the_event_pass_stamped_and_without_that_stages_effects() {
    Script::new(&[("a", CLOSED), ("b", OPEN), ("c", CLOSED)])
        .publish(&["a:count b:count,trap c:count", "b:trap c:count,reject", "b:trap c:swap"])
        .tells(expect![[r#"
            commit 0: accepted, no by c, accepted; stores [a:count b:count,trap c:count +weir-passed-open][b:trap swapped:swap +weir-passed-open]; a = 1; c = 2
        "#]]);
}

#[test]
fn a_replacement_is_what_the_next_stage_judges_and_what_is_stored() {
    Script::new(&[("a", CLOSED), ("swapped", CLOSED)]).publish(&["plain", "a:swap"]).tells(
        expect![[r#"
            commit 0: accepted, accepted; stores [plain][swapped:swap]
        "#]],
    );
}

#[test]
fn a_batch_of_which_nothing_is_left_commits_only_what_it_did() {
    Script::new(&[("a", CLOSED)])
        .publish(&["a:reject"])
        .publish(&["a:count,reject"])
        .publish_from(0, &["a:reject"])
        .tells(expect![[r#"
            answer: no by a
            commit 0: no by a; a = 1
            commit 1: no by a
        "#]]);
}

#[test]
fn all_or_nothing_stores_all_or_leaves_nothing() {
    Script::new(&[("a", CLOSED)])
        .all_or_nothing()
        .publish_from(0, &["a:count", "a:count"])
        .publish_from(2, &["a:count", "a:count,emit,reject", "a:drop"])
        .publish(&["a:count,reject"])
        .publish_from(2, &["a:count", "a:count,emit,reject", "a:drop"])
        .tells(expect![[r#"
            commit 0: accepted, accepted; stores [a:count][a:count]; a = 2
            commit 1: aborted, no by a, dropped by a
            answer: no by a
            recall: 3 of commit 1 from 0
        "#]]);
}

#[test]
fn what_was_consumed_is_committed_also_where_all_is_refused_but_not_where_nothing_stands() {
    Script::new(&[("a", CLOSED)])
        .consuming()
        .publish_from(0, &["a:count", "a:reject"])
        .publish_from(2, &["a:reject"])
        .all_or_nothing()
        .publish_from(3, &["a:count"])
        .publish_from(4, &["a:count", "a:reject"])
        .tells(expect![[r#"
            commit 0: accepted, no by a; stores [a:count]; a = 1; counters is at 5
            commit 1: no by a; counters is at 5
            commit 2: accepted; stores [a:count]; a = 2; counters is at 5
            commit 3: aborted, no by a
        "#]]);
}

#[test]
fn a_fenced_member_hears_of_what_was_judged_and_nothing_new_is() {
    Script::new(&[("a", CLOSED)])
        .consuming()
        .publish_from(0, &["a:count"])
        .fenced()
        .publish_from(0, &["a:count"])
        .publish_from(1, &["a:count"])
        .tells(expect![[r#"
            commit 0: accepted; stores [a:count]; a = 1; counters is at 5
            recall: 1 of commit 0 from 0
            refuse: member-fenced
        "#]]);
}

#[test]
fn a_retry_is_recalled_and_never_judged_again() {
    Script::new(&[("a", CLOSED)])
        .publish_from(0, &["a:count", "a:count,reject"])
        .publish_from(0, &["a:count", "a:count,reject"])
        .publish_from(1, &["a:count,reject"])
        .publish_from(2, &["a:count"])
        .tells(expect![[r#"
            commit 0: accepted, no by a; stores [a:count]; a = 2
            recall: 2 of commit 0 from 0
            recall: 1 of commit 0 from 1
            commit 1: accepted; stores [a:count]; a = 3
        "#]]);
}

#[test]
fn gaps_and_half_known_batches_are_not_guessed_at() {
    Script::new(&[])
        .publish_from(5, &["who?"])
        .publish_from(0, &["x", "y"])
        .publish_from(3, &["gap"])
        .publish_from(1, &["y", "z"])
        .tells(expect![[r#"
            refuse: expired
            commit 0: accepted, accepted; stores [x][y]
            refuse: out-of-order-sequence
            refuse: out-of-order-sequence
        "#]]);
}

#[test]
fn side_events_that_arrived_before_are_passed_over() {
    Script::new(&[("a", CLOSED)])
        .relay(&[(3, 1), (5, 1)], &["a:count", "a:count"])
        .relay(&[(3, 1), (5, 1)], &["a:count", "a:count"])
        .relay(&[(5, 1), (9, 2)], &["a:count", "a:count,emit"])
        .tells(expect![[r#"
            commit 0: accepted, accepted; stores [a:count][a:count]; a = 2
            answer: 
            commit 1: accepted; stores [a:count,emit]; a = 3; emits #0 "a 3" hop 3
        "#]]);
}

#[test]
fn side_events_of_side_events_come_to_an_end() {
    Script::new(&[("a", CLOSED)]).relay(&[(1, 7), (2, 8)], &["a:emit", "a:emit"]).tells(expect![[
        r#"
            commit 0: accepted, plugin-denied by a; stores [a:emit]; emits #0 "a 0" hop 8
        "#
    ]]);
}

#[test]
fn the_breaker_spares_a_plugin_that_keeps_failing_and_tries_again_later() {
    let traps = ["a:trap"; 6];
    Script::new(&[("a", CLOSED)])
        .publish(&traps)
        .publish(&["fine"])
        .wait_ms(1_000)
        .publish(&["a:trap", "fine"])
        .wait_ms(1_000)
        .publish(&["fine", "a:trap", "fine"])
        .tells(expect![[r#"
            answer: plugin-trap by a, plugin-trap by a, plugin-trap by a, plugin-trap by a, plugin-trap by a, plugin-breaker-open by a
            answer: plugin-breaker-open by a
            answer: plugin-trap by a, plugin-breaker-open by a
            commit 0: accepted, plugin-trap by a, accepted; stores [fine][fine]
        "#]]);
}

#[test]
fn a_batch_of_which_the_plugins_make_too_much_is_refused_and_leaves_nothing() {
    let (swell, shout) = (["a:count,swell"; 9], ["a:count,shout,emit"; 8]);
    Script::new(&[("a", CLOSED)])
        .publish_from(0, &swell)
        .publish_from(0, &shout)
        .publish_from(0, &["a:shout"; 40])
        .publish_from(0, &["a:count,emit"])
        .tells(expect![[r#"
            refuse: too-large
            refuse: too-large
            refuse: too-large
            commit 0: accepted; stores [a:count,emit]; a = 1; emits #0 "a 1" hop 1
        "#]]);
}

#[test]
fn the_room_a_commit_takes_counts_what_its_verdicts_say() {
    let mut verdicts = Verdicts::default();
    for number in 0..1_000 {
        verdicts.push(Verdict::Rejected(Rejection {
            plugin: "limit".to_owned(),
            code: "no".to_owned(),
            message: format!("{number:0500}"),
            retry_after_ms: None,
            fault: false,
        }));
    }
    let empty = Commit::empty(Kind::Batch, Timestamp(0), ChainRevision(0), Offset(0));
    assert_eq!(stored_bytes(&empty), 0);
    assert_eq!(stored_bytes(&Commit { verdicts, ..empty }), 1_000 * (5 + 2 + 500));
}

#[test]
fn a_refused_event_is_kept_as_its_publisher_sent_it_behind_what_the_stage_emitted() {
    Script::new(&[("a", CLOSED), ("swapped", CLOSED), ("b", OPEN)])
        .keeping()
        .publish(&[
            "a:swap,emit swapped:swap b:count,emit,reject",
            "b:drop",
            "a:count b:trap",
            "swapped:trap",
        ])
        .tells(expect![[r#"
            commit 0: no by b, dropped by b, accepted, plugin-trap by swapped; stores [a:count b:trap +weir-passed-open]; a = 1; b = 1; emits #0 "b 1" hop 1; keeps #1 [a:swap,emit swapped:swap b:count,emit,reject] of t/0: no by b@1, "b says no", hop 1; keeps #2 [swapped:trap] of t/0: plugin-trap by swapped@1, "plugin swapped@1 (010101010101) failed: unreachable", hop 1
        "#]]);
}

#[test]
fn a_retry_and_a_refused_whole_leave_no_second_letter_and_none() {
    Script::new(&[("a", CLOSED)])
        .keeping()
        .publish_from(0, &["a:count", "a:reject"])
        .publish_from(0, &["a:count", "a:reject"])
        .all_or_nothing()
        .publish_from(2, &["a:count", "a:reject"])
        .tells(expect![[r#"
            commit 0: accepted, no by a; stores [a:count]; a = 1; keeps #0 [a:reject] of t/0: no by a@1, "a says no", hop 1
            recall: 2 of commit 0 from 0
            commit 1: aborted, no by a
        "#]]);
}

/// The sixth is not shown to the plugin any more, and is kept all the same.
#[test]
fn an_open_breaker_keeps_every_event() {
    Script::new(&[("a", CLOSED)]).keeping().publish(&["a:trap"; 6]).tells(expect![[r#"
            commit 0: plugin-trap by a, plugin-trap by a, plugin-trap by a, plugin-trap by a, plugin-trap by a, plugin-breaker-open by a; keeps #0 [a:trap] of t/0: plugin-trap by a@1, "plugin a@1 (010101010101) failed: unreachable", hop 1; keeps #1 [a:trap] of t/0: plugin-trap by a@1, "plugin a@1 (010101010101) failed: unreachable", hop 1; keeps #2 [a:trap] of t/0: plugin-trap by a@1, "plugin a@1 (010101010101) failed: unreachable", hop 1; keeps #3 [a:trap] of t/0: plugin-trap by a@1, "plugin a@1 (010101010101) failed: unreachable", hop 1; keeps #4 [a:trap] of t/0: plugin-trap by a@1, "plugin a@1 (010101010101) failed: unreachable", hop 1; keeps #5 [a:trap] of t/0: plugin-breaker-open by a@1, "plugin a@1 (010101010101) failed: it failed 5 times in a row", hop 1
        "#]]);
}

#[test]
fn a_letter_comes_to_an_end_with_its_hops() {
    Script::new(&[("a", CLOSED)])
        .keeping()
        .relay(&[(0, 7), (1, 8)], &["a:reject", "a:reject"])
        .tells(expect![[r#"
            commit 0: no by a, no by a; keeps #0 [a:reject] of t/0: no by a@1, "a says no", hop 8
        "#]]);
}

/// Six MiB of side events fit into a commit; three letters of 900 KiB beside them do not.
#[test]
fn letters_that_do_not_fit_into_a_commit_refuse_the_batch_and_leave_nothing() {
    let large = format!("a:reject {}", "x".repeat(900 << 10));
    let loud = "a:count,shout,shout,shout,shout,shout,shout,reject";
    let payloads = [loud, &large, &large, &large];
    let without = Script::new(&[("a", CLOSED)]).publish_from(0, &payloads);
    assert!(without.story.starts_with("commit 0: no by a, no by a, no by a, no by a; a = 1;"));
    Script::new(&[("a", CLOSED)])
        .keeping()
        .publish_from(0, &payloads)
        .publish_from(0, &["a:count,reject"])
        .tells(expect![[r#"
            refuse: too-large
            commit 0: no by a; a = 1; keeps #0 [a:count,reject] of t/0: no by a@1, "a says no", hop 1
        "#]]);
}

#[test]
fn a_letter_says_who_sent_the_event_and_which_component_refused_it() {
    let mut script = Script::new(&[("a", CLOSED)]).keeping();
    let origin = |first| Origin::Producer {
        id: ProducerId(7),
        epoch: ProducerEpoch(3),
        first: Sequence::new(first),
    };
    let batch = batch(origin(0), Mode::PerEvent, &["plain", "a:reject"]);
    let place = Place { topic: TopicName::parse("t").expect("valid"), partition: PartitionId(0) };
    let plan = admit(&script.view, &mut script.chain, &place, &batch, Timestamp(1_000));
    let Plan::Commit(commit, _) = plan else { panic!("{plan:?}") };
    let side = &commit.outbox[0];
    let letter = DeadLetter::read(&side.event).unwrap().unwrap();
    let numbered = letter.producer.unwrap();
    assert_eq!((numbered.id.0, numbered.epoch.0, numbered.sequence.number()), (7, 3, 1));
    assert_eq!((letter.digest, letter.time), (Digest([1; 32]), Timestamp(1_000)));
    assert_eq!((letter.publisher.as_str(), letter.hops, letter.failed), ("tester", 0, false));
    let sent = batch.records.iter().nth(1).unwrap().to_event();
    assert_eq!(weir_wire::dead_letter::original(side.event.clone()), sent);
}

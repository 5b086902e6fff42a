//! Decides what becomes of a batch. Pure: reads the view, never writes it; no clock, no disk, no
//! await. The worker makes the plan true.
//!
//! Whose effects stand: if the chain admits an event, those of every stage; if a stage dropped or
//! refused it, that stage's alone; if a stage failed, not that stage's, and nobody else's unless
//! the event is admitted after all. An all-or-nothing batch that is refused leaves nothing but its
//! remembered verdicts; what it consumed is not committed either. An event that a link with a dead-letter topic refuses is kept there: one side
//! event of the broker's own, behind those of the stage that refused.

mod dead_letter;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use weir_log::commit::{Consumed, Kind, Produced, SideEvent, StateChanges, StateChangesWriter};
use weir_log::planted::{Bug, is_planted};
use weir_log::{Commit, GROUP_BYTES_MAX};
use weir_plugin_host::{BatchContext, Change, Emitted, EventContext, StageVerdict, StateBase};
use weir_views::partition::PartitionView;
use weir_views::producers::{Arrival, Piece};
use weir_views::state::{KeyHash, PluginState};
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{PartitionId, PluginName, Sequence, Timestamp, TopicName};
use weir_wire::keyspace::Keyspace;
use weir_wire::record_batch::{BatchBuilder, Event, Header, Record};
use weir_wire::verdict::{Rejection, Verdict, Verdicts};

use self::dead_letter::Refused;
use crate::batch::{Batch, Mode, Origin, PASSED_OPEN_HEADER, Source};
use crate::chain::{Chain, LinkVerdict};

/// Side events that may follow one upon another from a publisher's event: a rule of rules is four
/// or five deep, a loop has no end.
pub(crate) const HOPS_MAX: u8 = 8;

/// Bytes of events, verdicts, side events and state that one commit may hold: half of what the log promises
/// room for, twice what a publisher may send, and what every consumer can take beside a chunk of
/// others. A log that is given a commit over its own limit stops for good.
pub(crate) const STORED_BYTES_MAX: u64 = GROUP_BYTES_MAX / 2;
/// The same while judging, before compression: twice what a batch may unpack to.
const EFFECTS_BYTES_MAX: usize = 32 << 20;

/// Groups and partitions that they read of which one partition keeps how far they have come: as many as
/// a thousand groups with 64 partitions each, in 8 MiB.
const CONSUMED_ROWS_MAX: usize = 65_536;

/// What is to be done with a batch.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Store this, then answer what it says.
    Commit(Box<Commit>, Passed),
    /// Nothing to store: the verdicts are the answer.
    Answer(Verdicts, Passed),
    /// Judged before: answer what was recorded.
    Recall(Vec<Piece>),
    /// Not judged.
    Refuse(Fault),
}

/// What the verdicts do not tell of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Passed {
    /// Events that passed although a plugin failed.
    pub open: u64,
    /// Refused ones that are kept as dead letters.
    pub dead_letters: u64,
    /// Refused ones that are not, since they have come through too many topics already.
    pub dead_letters_lost: u64,
}

/// Where the partition is: what the chain is told beside the event.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub topic: TopicName,
    pub partition: PartitionId,
}

/// Judges `batch` at partition time `now`, which is not before the view's.
pub(crate) fn admit(
    view: &PartitionView,
    chain: &mut Chain,
    place: &Place,
    batch: &Batch,
    now: Timestamp,
) -> Plan {
    assert!(now >= view.time(), "partition time never falls");
    let (skip, produced) = match arrival(view, batch, now) {
        Ok(numbered) => numbered,
        Err(plan) => return plan,
    };
    let consumed = match source(view, batch) {
        Ok(consumed) => consumed,
        Err(fault) => return Plan::Refuse(fault),
    };
    let judged = match judge(view, chain, place, batch, skip, now) {
        Ok(judged) => judged,
        Err(SwollenBatch) => return Plan::Refuse(swollen()),
    };
    // Of a batch that is refused as one nothing stands: not that its input was processed either.
    let is_refused = batch.mode == Mode::AllOrNothing && !judged.verdicts.are_all_accepted();
    let consumed = consumed.filter(|_| !is_refused);
    let needed = produced.is_some()
        || consumed.is_some()
        || judged.verdicts.accepted() > 0
        || !judged.state.is_empty()
        || !judged.outbox.is_empty();
    let passed = judged.passed;
    if !needed {
        return Plan::Answer(judged.verdicts, passed);
    }
    let commit = Commit {
        kind: Kind::Batch,
        time: now,
        chain: chain.revision,
        first_offset: view.next_offset(),
        events: judged.verdicts.accepted(),
        max_timestamp: judged.max_timestamp,
        producer: produced,
        consumed,
        relayed: view.relayed(),
        verdicts: judged.verdicts,
        keyspaces: Vec::new(),
        state: judged.state,
        outbox: judged.outbox,
        note: Bytes::new(),
        data: judged.data,
    };
    if stored_bytes(&commit) > STORED_BYTES_MAX {
        return Plan::Refuse(swollen());
    }
    Plan::Commit(Box::new(commit), passed)
}

/// Whether the batch is new, and from which event on; else the plan that answers it.
fn arrival(
    view: &PartitionView,
    batch: &Batch,
    now: Timestamp,
) -> Result<(usize, Option<Produced>), Plan> {
    let count = batch.records.len();
    match &batch.origin {
        Origin::Unnumbered => Ok((0, None)),
        Origin::Producer { .. } if is_planted(Bug::ForgetDuplicates) => Ok((0, None)),
        Origin::Relay { .. } if is_planted(Bug::ForgetRelayed) => Ok((0, None)),
        &Origin::Producer { id, epoch, first } => {
            match view.producers().admit(id, epoch, first, count, now) {
                Arrival::New { skip: 0 } => {
                    let last = first.plus(count - 1);
                    Ok((0, Some(Produced { id, epoch, first, last })))
                }
                Arrival::New { skip } => Err(Plan::Refuse(Fault::new(
                    Code::OutOfOrderSequence,
                    format!(
                        "the first {skip} events of this batch were judged before and the others \
                         were not; send batches again as they were first sent"
                    ),
                ))),
                Arrival::Duplicate => match view.producers().remembered(id, first, count) {
                    Some(pieces) => Err(Plan::Recall(pieces)),
                    None => Err(Plan::Refuse(expired())),
                },
                Arrival::OutOfOrder { expected } => Err(Plan::Refuse(Fault::new(
                    Code::OutOfOrderSequence,
                    format!(
                        "sequence {first} leaves a gap: this partition expects {expected} from the \
                         producer; send the missing events first"
                    ),
                ))),
                Arrival::Fenced { by } => Err(Plan::Refuse(Fault::new(
                    Code::ProducerFenced,
                    format!(
                        "epoch {by} of producer {id} is at work; stop this one, epoch {epoch}",
                        epoch = epoch.0,
                        by = by.0,
                    ),
                ))),
                Arrival::Expired => Err(Plan::Refuse(expired())),
                Arrival::Full => Err(Plan::Refuse(
                    Fault::new(
                        Code::Overloaded,
                        "this partition remembers as many producers as it can; use fewer at once, \
                         or try again when one has been idle for a day",
                    )
                    .after_ms(60_000),
                )),
            }
        }
        Origin::Relay { id, epoch, numbers } => {
            let sequences: Vec<Sequence> = numbers.iter().map(|number| number.sequence).collect();
            let skip = view.producers().relay_skip(*id, *epoch, &sequences);
            match (sequences.get(skip), sequences.last()) {
                (Some(&first), Some(&last)) => {
                    Ok((skip, Some(Produced { id: *id, epoch: *epoch, first, last })))
                }
                // All are there already: nothing to do, and nothing to say of them.
                _ => Err(Plan::Answer(Verdicts::default(), Passed::default())),
            }
        }
    }
}

/// What is to be committed with a batch that was not judged before.
fn source(view: &PartitionView, batch: &Batch) -> Result<Option<Consumed>, Fault> {
    match &batch.source {
        Source::Untold => Ok(None),
        Source::Settled(fault) => Err(fault.clone()),
        Source::Consumed(consumed)
            if view.consumed().rows().len() >= CONSUMED_ROWS_MAX && !view.consumed().has(consumed) =>
        {
            Err(Fault::new(
                Code::Overloaded,
                format!(
                    "this partition keeps how far {CONSUMED_ROWS_MAX} groups and partitions have come, \
                     as many as it can; publish to another one, or commit the offset by itself"
                ),
            )
            .after_ms(60_000))
        }
        Source::Consumed(consumed) => Ok(Some(consumed.clone())),
    }
}

fn expired() -> Fault {
    Fault::new(
        Code::Expired,
        "this sequence is older than the broker remembers; its verdict is not guessed and it is \
         not judged again. Read the topic to see whether it is there, or publish with a new producer",
    )
}

/// The plugins made more of the batch than can be stored.
struct SwollenBatch;

fn swollen() -> Fault {
    Fault::new(
        Code::TooLarge,
        "the plugins make more of this batch than can be stored at once, dead letters included; \
         nothing of it was done. Send fewer events in one batch",
    )
}

/// What judging found.
#[derive(Debug, Default)]
struct Judged {
    verdicts: Verdicts,
    state: StateChanges,
    outbox: Vec<SideEvent>,
    data: Bytes,
    max_timestamp: Timestamp,
    passed: Passed,
}

/// Judges the events from `skip` on.
fn judge(
    view: &PartitionView,
    chain: &mut Chain,
    place: &Place,
    batch: &Batch,
    skip: usize,
    now: Timestamp,
) -> Result<Judged, SwollenBatch> {
    if chain.links.is_empty() && skip == 0 {
        return Ok(Judged {
            verdicts: Verdicts::all_accepted(batch.records.len()),
            data: batch.encoded.bytes().clone(),
            max_timestamp: batch.records.max_timestamp(),
            ..Judged::default()
        });
    }
    begin(view, chain, place, batch, now);
    let mut verdicts = Verdicts::default();
    let mut admitted = Admitted::new(batch, skip);
    let mut outbox = Vec::new();
    let mut emitted = Vec::new();
    let mut passed = Passed::default();
    let mut side_bytes = 0;
    for (index, record) in batch.records.iter().enumerate().skip(skip) {
        let hops = batch.hops(index);
        let at = EventContext {
            index: index as u32,
            offset_hint: view.next_offset().0 + u64::from(verdicts.accepted()),
            may_emit: hops < HOPS_MAX,
        };
        let outcome = judge_event(
            chain,
            &record,
            at,
            now,
            |plugin, side_events| {
                for Emitted { topic, event } in side_events.drain(..) {
                    side_bytes += bytes_of(&event);
                    let ordinal = view.next_ordinal() + outbox.len() as u64;
                    outbox.push(SideEvent {
                        ordinal,
                        plugin: plugin.clone(),
                        topic,
                        hops: hops + 1,
                        event,
                    });
                }
            },
            &mut emitted,
        );
        match outcome {
            Outcome::AsItCame => {
                admitted.keep(&record);
                verdicts.push_accepted();
            }
            Outcome::Changed { event, passed_open: open } => {
                passed.open += u64::from(open);
                admitted.replace(&event);
                verdicts.push_accepted();
            }
            Outcome::Dropped { plugin } => {
                admitted.leave_out();
                verdicts.push(Verdict::Dropped { plugin });
            }
            Outcome::Rejected { by, why } => {
                admitted.leave_out();
                match chain.links[by].dead_letter() {
                    Some((judge, topic)) if hops < HOPS_MAX => {
                        let refused = Refused { batch, index, record: &record, hops };
                        let event = refused.letter(judge, place, &why, now);
                        side_bytes += bytes_of(&event);
                        passed.dead_letters += 1;
                        outbox.push(SideEvent {
                            ordinal: view.next_ordinal() + outbox.len() as u64,
                            plugin: judge.plugin.clone(),
                            topic: topic.clone(),
                            hops: hops + 1,
                            event,
                        });
                    }
                    Some(_) => passed.dead_letters_lost += 1,
                    None => {}
                }
                verdicts.push(Verdict::Rejected(why));
            }
        }
        if side_bytes + admitted.rebuilt_bytes() > EFFECTS_BYTES_MAX {
            break;
        }
    }
    let state = finish(view, chain);
    if side_bytes + admitted.rebuilt_bytes() > EFFECTS_BYTES_MAX {
        return Err(SwollenBatch);
    }
    if batch.mode == Mode::AllOrNothing && !verdicts.are_all_accepted() {
        return Ok(Judged { verdicts: aborted(&verdicts), ..Judged::default() });
    }
    let (data, max_timestamp) = admitted.finish();
    Ok(Judged { verdicts, state, outbox, data, max_timestamp, passed })
}

fn bytes_of(event: &Event) -> usize {
    let of = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers = event.headers.iter().map(|header| header.name.len() + of(&header.value));
    of(&event.key) + of(&event.value) + headers.sum::<usize>()
}

/// Bytes of what can be large in a commit.
pub(crate) fn stored_bytes(commit: &Commit) -> u64 {
    let of_side_event = |side: &SideEvent| {
        side.plugin.as_str().len() + side.topic.as_str().len() + bytes_of(&side.event)
    };
    let of_verdict = |(_, verdict): (u32, &Verdict)| match verdict {
        Verdict::Accepted | Verdict::Aborted => 0,
        Verdict::Dropped { plugin } => plugin.len(),
        Verdict::Rejected(why) => why.plugin.len() + why.code.len() + why.message.len(),
    };
    let verdicts: usize = commit.verdicts.runs().map(of_verdict).sum();
    let state = commit.state.stored_bytes();
    let outbox: usize = commit.outbox.iter().map(of_side_event).sum();
    (commit.data.len() + commit.note.len() + verdicts + state + outbox) as u64
}

/// The same verdicts, the accepted ones aborted.
fn aborted(verdicts: &Verdicts) -> Verdicts {
    let mut all = Verdicts::default();
    for (count, verdict) in verdicts.runs() {
        let verdict =
            if *verdict == Verdict::Accepted { Verdict::Aborted } else { verdict.clone() };
        all.push_many(count, verdict);
    }
    all
}

/// What became of one event.
enum Outcome {
    AsItCame,
    Changed {
        event: Event,
        passed_open: bool,
    },
    Dropped {
        plugin: String,
    },
    /// By the link at this place.
    Rejected {
        by: usize,
        why: Rejection,
    },
}

/// Sends one event down the chain and settles whose effects stand.
fn judge_event(
    chain: &mut Chain,
    record: &Record<'_>,
    at: EventContext,
    now: Timestamp,
    mut keep: impl FnMut(&PluginName, &mut Vec<Emitted>),
    emitted: &mut Vec<Emitted>,
) -> Outcome {
    let mut changed: Option<Event> = None;
    let mut failed_open: Vec<usize> = Vec::new();
    for place in 0..chain.links.len() {
        let (before, rest) = chain.links.split_at_mut(place);
        let link = &mut rest[0];
        let judged = match &changed {
            None => link.judge(record, at, now),
            Some(event) => link.judge(&event.as_record(), at, now),
        };
        let outcome = match judged {
            LinkVerdict::Says(StageVerdict::Accept) => continue,
            LinkVerdict::Says(StageVerdict::Replace(event)) => {
                changed = Some(event);
                continue;
            }
            LinkVerdict::PassesOpen => {
                link.discard();
                failed_open.push(place);
                let mut event = changed.take().unwrap_or_else(|| record.to_event());
                event.headers.push(Header {
                    name: PASSED_OPEN_HEADER.to_owned(),
                    value: Some(Bytes::copy_from_slice(link.plugin().as_str().as_bytes())),
                });
                changed = Some(event);
                continue;
            }
            LinkVerdict::Says(StageVerdict::Drop) => {
                link.keep(emitted);
                keep(link.plugin(), emitted);
                Outcome::Dropped { plugin: link.plugin().as_str().to_owned() }
            }
            LinkVerdict::Says(StageVerdict::Reject(refusal)) => {
                link.keep(emitted);
                keep(link.plugin(), emitted);
                let why = Rejection {
                    plugin: link.plugin().as_str().to_owned(),
                    code: refusal.code,
                    message: refusal.message,
                    retry_after_ms: refusal.retry_after_ms,
                    fault: false,
                };
                Outcome::Rejected { by: place, why }
            }
            LinkVerdict::Faulted(why) => {
                link.discard();
                Outcome::Rejected { by: place, why }
            }
        };
        for (earlier, link) in before.iter_mut().enumerate() {
            if !failed_open.contains(&earlier) {
                link.discard();
            }
        }
        return outcome;
    }
    for (place, link) in chain.links.iter_mut().enumerate() {
        if !failed_open.contains(&place) {
            link.keep(emitted);
            keep(link.plugin(), emitted);
        }
    }
    match changed {
        None => Outcome::AsItCame,
        Some(event) => Outcome::Changed { event, passed_open: !failed_open.is_empty() },
    }
}

/// The plugin's state in the view, as a stage sees it.
pub(crate) struct Base(pub(crate) Arc<PluginState>);

impl StateBase for Base {
    fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash(key).wide()
    }
    fn get_hashed(&self, hash: u64, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        self.0.get_hashed(KeyHash::of_wide(hash), key)
    }
    fn keys(&self) -> u64 {
        self.0.keys()
    }
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

fn begin(view: &PartitionView, chain: &mut Chain, place: &Place, batch: &Batch, now: Timestamp) {
    let context = BatchContext {
        now,
        topic: place.topic.clone(),
        partition: place.partition,
        publisher: batch.publisher.clone(),
    };
    for link in &mut chain.links {
        let state = view.state(link.plugin());
        link.stage().begin(&context, Arc::new(Base(state)));
    }
}

fn finish(view: &PartitionView, chain: &mut Chain) -> StateChanges {
    let mut state = StateChangesWriter::default();
    for link in &mut chain.links {
        let changes = link.stage().finish();
        if !changes.is_empty() {
            let plugin = link.plugin();
            // Where it was read from: of a state that stays in its form, the binding may say another.
            write_changes(&mut state, plugin, view.keyspaces(plugin).at_work(), &changes);
        }
    }
    state.finish()
}

/// Adds the changes of one plugin.
pub(crate) fn write_changes(
    writer: &mut StateChangesWriter,
    plugin: &PluginName,
    keyspace: &Keyspace,
    changes: &[Change],
) {
    writer.place(plugin, keyspace);
    writer.reserve(changes.len());
    for Change { key, value } in changes {
        writer.push(key, value.as_ref().map(|(bytes, expires_at)| (&**bytes, *expires_at)));
    }
}

/// The admitted events: the publisher's bytes as they came for as long as nothing is missing or
/// changed; from the first difference on, a batch built anew.
struct Admitted<'a> {
    batch: &'a Batch,
    from: usize,
    kept: usize,
    rebuilt: Option<BatchBuilder>,
}

impl<'a> Admitted<'a> {
    fn new(batch: &'a Batch, from: usize) -> Self {
        let mut admitted = Self { batch, from, kept: 0, rebuilt: None };
        if from > 0 {
            admitted.rebuild();
        }
        admitted
    }

    fn keep(&mut self, record: &Record<'_>) {
        match &mut self.rebuilt {
            Some(builder) => builder.push(record),
            None => self.kept += 1,
        }
    }

    fn replace(&mut self, event: &Event) {
        self.rebuild().push(&event.as_record());
    }

    fn leave_out(&mut self) {
        self.rebuild();
    }

    /// Bytes of the batch built anew, before it is compressed.
    fn rebuilt_bytes(&self) -> usize {
        self.rebuilt.as_ref().map_or(0, BatchBuilder::encoded_bytes)
    }

    fn rebuild(&mut self) -> &mut BatchBuilder {
        let (batch, from, kept) = (self.batch, self.from, self.kept);
        self.rebuilt.get_or_insert_with(|| {
            let mut builder = BatchBuilder::default();
            for record in batch.records.iter().skip(from).take(kept) {
                builder.push(&record);
            }
            builder
        })
    }

    fn finish(self) -> (Bytes, Timestamp) {
        match self.rebuilt {
            None => (self.batch.encoded.bytes().clone(), self.batch.records.max_timestamp()),
            Some(builder) if builder.is_empty() => (Bytes::new(), Timestamp(0)),
            // A batch built anew carries no producer's numbers: they would be wrong for the events
            // behind a gap. The commit has them.
            Some(mut builder) => {
                let max_timestamp = builder.max_timestamp();
                (builder.finish(self.batch.encoded.header().compression), max_timestamp)
            }
        }
    }
}

//! Who publishes into one partition, and what of it is remembered, so that a retry is answered
//! from the record and nothing is judged twice.
//!
//! Promises: of an ordinary producer the last sequence and a window of its batches are kept; a
//! retry inside the window is a `Duplicate`, one behind it `Expired`, never a guess. Of a relay
//! only the last sequence is kept, for ever. Everything kept is a function of the log alone.
//!
//! Not here: the verdicts, which are read back from the log at the remembered positions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use weir_log::commit::Produced;
use weir_log::planted::{Bug, is_planted};
use weir_wire::ids::{Offset, Position, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// How long a batch is remembered, in partition time: a client that retries has given up by then.
pub const HORIZON_MS: u64 = 24 * 60 * 60 * 1000;
/// How far back a producer's sequences are remembered, in events.
pub const HORIZON_SEQUENCES: u32 = 1_000_000;
/// Batches remembered per producer: 400 KiB of window, and minutes of retries for a producer that
/// sends a batch every few milliseconds.
pub const BATCHES_PER_PRODUCER_MAX: usize = 10_000;
/// Batches remembered per partition: 100 MiB, however many producers share them. Beyond, the
/// oldest is forgotten first.
pub const BATCHES_MAX: usize = 1_000_000;
/// Producers known per partition: 20 MiB. Beyond, who was silent for longest makes room, but
/// nobody inside the horizon: then new producers have to wait.
pub const PRODUCERS_MAX: usize = 100_000;
/// How long a silent producer's last sequence is kept beyond its window, in partition time: a
/// service that slept over the holidays goes on where it was.
pub const PRODUCER_IDLE_MS_MAX: u64 = 7 * HORIZON_MS;
/// From half of the ring on, a distance means "ahead" and no longer "behind".
const HALF_RING: u32 = 1 << 30;

/// The producers of one partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Producers {
    clients: HashMap<ProducerId, Client>,
    relays: HashMap<ProducerId, (ProducerEpoch, Sequence)>,
    /// Invariant: exactly the batches of all windows; positions are in the order of time.
    by_position: BTreeMap<Position, ProducerId>,
    /// Invariant: exactly the clients, the longest silent first.
    by_use: BTreeSet<(Timestamp, ProducerId)>,
}

/// An ordinary producer.
///
/// Invariant: the batches of the window lie behind one another without a gap, up to `last`.
#[derive(Debug, PartialEq, Eq)]
struct Client {
    epoch: ProducerEpoch,
    last: Sequence,
    used: Timestamp,
    window: VecDeque<Remembered>,
}

/// A judged batch, as long as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// The sequence of its first event.
    pub first: Sequence,
    /// How many events were judged.
    pub count: u32,
    /// Where its commit is.
    pub position: Position,
    /// The commit's first offset.
    pub first_offset: Offset,
    /// Whether all were accepted: then there is nothing to read back.
    pub all_accepted: bool,
    /// The partition time at which it was judged.
    pub time: Timestamp,
}

/// What a batch that arrives is, by its producer's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// To be judged, but for the first `skip` events, which were judged before and are remembered.
    New {
        /// 0 unless the batch overlaps with what was judged.
        skip: u32,
    },
    /// All of it was judged before: answer with what is [`remembered`](Producers::remembered).
    Duplicate,
    /// A batch before this one is missing.
    OutOfOrder {
        /// The sequence that would be next.
        expected: Sequence,
    },
    /// A younger life of the producer has been here.
    Fenced {
        /// Its epoch.
        by: ProducerEpoch,
    },
    /// Judged before or not, the broker no longer knows.
    Expired,
    /// No room for another producer until others have been silent for the horizon.
    Full,
}

/// A stretch of events whose verdicts are in one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where the commit is.
    pub position: Position,
    /// The index of the stretch's first event among the commit's verdicts.
    pub from: u32,
    /// How many events.
    pub count: u32,
    /// The commit's first offset (not the stretch's: refused events take none).
    pub first_offset: Offset,
    /// Whether all events of the commit were accepted.
    pub all_accepted: bool,
}

/// What became of one producer or batch: for the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// A client published.
    Client(ProducerId, ClientHead),
    /// A client was forgotten.
    ClientGone(ProducerId),
    /// A batch is remembered.
    Batch(ProducerId, Remembered),
    /// A batch was forgotten.
    BatchGone(ProducerId, Position),
    /// A relay published.
    Relay(ProducerId, ProducerEpoch, Sequence),
}

/// What `changed`, in the order of the changes, amounts to since a checkpoint of everything below `base`:
/// each row once, and none of what came and went in between. `None` is a checkpoint of nothing.
pub(crate) fn latest(changed: &[Changed], base: Option<Position>) -> Vec<Changed> {
    let base = base.unwrap_or(Position(0));
    let mut heads = HashSet::new();
    let mut gone = HashSet::new();
    let is_last = |changed: &&Changed| match **changed {
        Changed::Client(id, _) | Changed::ClientGone(id) | Changed::Relay(id, ..) => {
            heads.insert(id)
        }
        // A position is of one batch only, so what went does not come again.
        Changed::BatchGone(id, position) => {
            gone.insert((id, position));
            position < base
        }
        Changed::Batch(id, batch) => !gone.contains(&(id, batch.position)),
    };
    changed.iter().rev().filter(is_last).copied().collect()
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHead {
    /// Its life.
    pub epoch: ProducerEpoch,
    /// The last sequence judged.
    pub last: Sequence,
    /// The partition time at which it was.
    pub used: Timestamp,
}

impl Producers {
    /// What the `count` events from `first` on are, at partition time `now`. For clients' ids;
    /// relays ask [`relay_skip`](Self::relay_skip).
    pub fn admit(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        first: Sequence,
        count: u32,
        now: Timestamp,
    ) -> Arrival {
        let Some(client) = self.clients.get(&id) else {
            return match first {
                Sequence::ZERO if self.is_full(now) => Arrival::Full,
                Sequence::ZERO => Arrival::New { skip: 0 },
                _ => Arrival::Expired,
            };
        };
        match epoch.cmp(&client.epoch) {
            Ordering::Less => Arrival::Fenced { by: client.epoch },
            Ordering::Greater if first == Sequence::ZERO => Arrival::New { skip: 0 },
            Ordering::Greater => Arrival::OutOfOrder { expected: Sequence::ZERO },
            Ordering::Equal => client.place(first, count, now),
        }
    }

    /// Where the verdicts of the `count` events from `first` on are, in order, in the producer's
    /// present epoch; `None` if one of them is not remembered.
    pub fn remembered(&self, id: ProducerId, first: Sequence, count: u32) -> Option<Vec<Piece>> {
        self.clients.get(&id)?.pieces(first, count)
    }

    /// How many leading ones of a relay's rising `sequences` have arrived before.
    pub fn relay_skip(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        sequences: &[Sequence],
    ) -> usize {
        let Some(last) = self.relays.get(&id) else { return 0 };
        sequences.iter().take_while(|sequence| (epoch, **sequence) <= *last).count()
    }

    /// Clients known.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Where the commits of all remembered batches are, rising.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.by_position.keys().copied()
    }

    /// Batches remembered.
    pub fn batches(&self) -> usize {
        self.by_position.len()
    }

    fn is_full(&self, now: Timestamp) -> bool {
        let oldest = self.by_use.first().map_or(now, |(used, _)| *used);
        PRODUCERS_MAX <= self.clients.len() && now.0 < oldest.0.saturating_add(HORIZON_MS)
    }

    /// A batch was judged. What `admit` allowed is asserted, in release builds too.
    pub(crate) fn apply(
        &mut self,
        produced: Produced,
        batch: Remembered,
        changed: &mut Vec<Changed>,
    ) {
        let Produced { id, epoch, first, last } = produced;
        if !id.is_for_clients() {
            let before = self.relays.insert(id, (epoch, last));
            assert!(before < Some((epoch, last)), "a relay's numbers rise");
            changed.push(Changed::Relay(id, epoch, last));
            return;
        }
        assert!(0 < batch.count, "a numbered batch has events");
        assert!(last == first.plus(batch.count - 1), "a client numbers without gaps");

        if let Some(client) = self.clients.get(&id) {
            assert!(client.epoch <= epoch, "a fenced producer is not judged");
            if client.epoch == epoch {
                assert!(first == client.next(), "a producer's batches follow on one another");
            } else {
                assert!(first == Sequence::ZERO, "a producer's life begins at 0");
                self.forget_batches(id, usize::MAX, changed);
            }
        } else if PRODUCERS_MAX <= self.clients.len() {
            self.forget_longest_silent(changed);
        }

        let client = self.clients.entry(id).or_insert_with(|| Client {
            epoch,
            last,
            used: batch.time,
            window: VecDeque::new(),
        });
        self.by_use.remove(&(client.used, id));
        self.by_use.insert((batch.time, id));
        self.by_position.insert(batch.position, id);
        (client.epoch, client.last, client.used) = (epoch, last, batch.time);
        client.window.push_back(batch);
        changed.push(Changed::Client(id, client.head()));
        changed.push(Changed::Batch(id, batch));

        let beyond = client.beyond_horizon();
        self.forget_batches(id, beyond, changed);
        while BATCHES_MAX < self.by_position.len() {
            self.forget_oldest_batch(changed);
        }
    }

    /// Time has come to `time`: what is past the horizon is forgotten.
    pub(crate) fn advance(&mut self, time: Timestamp, changed: &mut Vec<Changed>) {
        while let Some((_, id)) = self.by_position.first_key_value() {
            let window = self.clients.get(id).map(|client| &client.window);
            let oldest = window.and_then(VecDeque::front).expect("by_position is of the windows");
            if time.0 < oldest.time.0.saturating_add(HORIZON_MS) {
                break;
            }
            self.forget_oldest_batch(changed);
        }
        while let Some((used, _)) = self.by_use.first() {
            if time.0 < used.0.saturating_add(PRODUCER_IDLE_MS_MAX) {
                break;
            }
            self.forget_longest_silent(changed);
        }
    }

    fn forget_oldest_batch(&mut self, changed: &mut Vec<Changed>) {
        if let Some((_, id)) = self.by_position.first_key_value() {
            self.forget_batches(*id, 1, changed);
        }
    }

    fn forget_batches(&mut self, id: ProducerId, count: usize, changed: &mut Vec<Changed>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let count = count.min(client.window.len());
        for batch in client.window.drain(..count) {
            self.by_position.remove(&batch.position);
            changed.push(Changed::BatchGone(id, batch.position));
        }
    }

    fn forget_longest_silent(&mut self, changed: &mut Vec<Changed>) {
        let Some((_, id)) = self.by_use.pop_first() else { return };
        self.forget_batches(id, usize::MAX, changed);
        self.clients.remove(&id);
        changed.push(Changed::ClientGone(id));
    }

    /// Everything known, in no order: for a checkpoint from nothing.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Changed> {
        let clients = self.clients.iter().flat_map(|(&id, client)| {
            let batches = client.window.iter().map(move |&batch| Changed::Batch(id, batch));
            std::iter::once(Changed::Client(id, client.head())).chain(batches)
        });
        let relays =
            self.relays.iter().map(|(&id, &(epoch, last))| Changed::Relay(id, epoch, last));
        clients.chain(relays)
    }

    /// How many rows there are.
    pub(crate) fn rows_held(&self) -> usize {
        self.clients.len() + self.by_position.len() + self.relays.len()
    }

    /// Takes up where a checkpoint left it: clients before their batches, batches by position.
    /// `None` if the rows break an invariant.
    pub(crate) fn restore(rows: impl IntoIterator<Item = Changed>) -> Option<Self> {
        let mut producers = Self::default();
        for row in rows {
            match row {
                Changed::Client(id, ClientHead { epoch, last, used }) => {
                    let client = Client { epoch, last, used, window: VecDeque::new() };
                    producers.clients.insert(id, client);
                    producers.by_use.insert((used, id));
                }
                Changed::Batch(id, batch) => {
                    let client = producers.clients.get_mut(&id)?;
                    let follows = client.window.back().is_none_or(|before| {
                        before.end() == batch.first && before.position < batch.position
                    });
                    if batch.count == 0
                        || !follows
                        || producers.by_position.insert(batch.position, id).is_some()
                    {
                        return None;
                    }
                    client.window.push_back(batch);
                }
                Changed::Relay(id, epoch, last) => {
                    producers.relays.insert(id, (epoch, last));
                }
                Changed::ClientGone(_) | Changed::BatchGone(..) => return None,
            }
        }
        let ends_well = |client: &Client| {
            // A window that goes round the ring would have two places for one sequence.
            let events: u64 = client.window.iter().map(|batch| u64::from(batch.count)).sum();
            events < u64::from(HALF_RING)
                && client.window.back().is_none_or(|newest| newest.end() == client.next())
        };
        producers.clients.values().all(ends_well).then_some(producers)
    }
}

impl Client {
    fn head(&self) -> ClientHead {
        ClientHead { epoch: self.epoch, last: self.last, used: self.used }
    }

    fn next(&self) -> Sequence {
        self.last.plus(1)
    }

    /// What a batch of the present epoch is.
    fn place(&self, first: Sequence, count: u32, now: Timestamp) -> Arrival {
        let behind = self.next().distance_from(first);
        if HALF_RING <= behind {
            return Arrival::OutOfOrder { expected: self.next() };
        }
        let judged = behind.min(count);
        if is_planted(Bug::HorizonOffByOne) && behind == count {
            return Arrival::Expired;
        }
        if 0 < judged && !self.remembers(first, now) {
            Arrival::Expired
        } else if judged < count || behind == 0 {
            Arrival::New { skip: judged }
        } else {
            Arrival::Duplicate
        }
    }

    /// Whether everything from `first` on is inside the horizon at `now`.
    fn remembers(&self, first: Sequence, now: Timestamp) -> bool {
        let batch = self.index_of(first).map(|index| &self.window[index]);
        batch.is_some_and(|batch| now.0 < batch.time.0.saturating_add(HORIZON_MS))
    }

    /// The batch in the window that holds `sequence`.
    fn index_of(&self, sequence: Sequence) -> Option<usize> {
        let oldest = self.window.front()?.first;
        let into = sequence.distance_from(oldest);
        let ends_by = |batch: &Remembered| batch.end().distance_from(oldest) <= into;
        let index = self.window.partition_point(ends_by);
        (index < self.window.len()).then_some(index)
    }

    fn pieces(&self, first: Sequence, count: u32) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        let (mut next, mut left) = (first, count);
        let mut index = self.index_of(first)?;
        while 0 < left {
            let batch = self.window.get(index)?;
            let from = next.distance_from(batch.first);
            let count = left.min(batch.count - from);
            pieces.push(Piece {
                position: batch.position,
                from,
                count,
                first_offset: batch.first_offset,
                all_accepted: batch.all_accepted,
            });
            (next, left, index) = (next.plus(count), left - count, index + 1);
        }
        Some(pieces)
    }

    /// How many of the oldest batches are too many or too far back.
    fn beyond_horizon(&self) -> usize {
        let too_many = self.window.len().saturating_sub(BATCHES_PER_PRODUCER_MAX);
        let too_far =
            |batch: &Remembered| HORIZON_SEQUENCES <= self.next().distance_from(batch.end());
        self.window.partition_point(too_far).max(too_many)
    }
}

impl Remembered {
    /// The sequence behind its last event.
    fn end(&self) -> Sequence {
        self.first.plus(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence would be found in a batch that does not hold it.
    #[test]
    fn a_checkpoint_with_a_window_round_the_ring_is_none() {
        let restored = |count| {
            let batch = |first: Sequence, position, count| {
                let (position, first_offset) = (Position(position), Offset(0));
                let (all_accepted, time) = (true, Timestamp(1));
                let batch = Remembered { first, count, position, first_offset, all_accepted, time };
                Changed::Batch(ProducerId(7), batch)
            };
            let second = Sequence::ZERO.plus(count);
            let last = second.plus(9);
            let head = ClientHead { epoch: ProducerEpoch(0), last, used: Timestamp(1) };
            let rows = [batch(Sequence::ZERO, 1, count), batch(second, 2, 10)];
            Producers::restore(std::iter::once(Changed::Client(ProducerId(7), head)).chain(rows))
        };
        assert!(restored(1_000_000).is_some());
        assert!(restored(i32::MAX as u32).is_none());
        assert!(restored(u32::MAX).is_none());
    }
    use expect_test::{Expect, expect};
    use std::fmt::Write;

    const ALICE: ProducerId = ProducerId(1);

    /// Runs a script against one partition, one line after another, and answers each:
    /// `publish 1/0 5+3` is producer 1 in epoch 0 with the 3 events 5, 6, 7; what is new is judged.
    /// `ask 1 5+3` tells where the verdicts are. `wait 25h` lets partition time pass.
    fn check(script: &str, expected: Expect) {
        let (mut producers, mut now, mut position) = (Producers::default(), Timestamp(0), 0);
        let mut answers = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            let answer = match words[..] {
                ["wait", hours] => {
                    now.0 += hours.trim_end_matches('h').parse::<u64>().unwrap() * 3_600_000;
                    continue;
                }
                ["pass", hours] => {
                    now.0 += hours.trim_end_matches('h').parse::<u64>().unwrap() * 3_600_000;
                    producers.advance(now, &mut Vec::new());
                    format!("{} known, {} batches", producers.clients(), producers.batches())
                }
                ["publish", who, what] => {
                    let (id, epoch) = who.split_once('/').unwrap();
                    let (id, epoch) = (id.parse().unwrap(), epoch.parse().unwrap());
                    let (first, count) = events(what);
                    let (id, epoch) = (ProducerId(id), ProducerEpoch(epoch));
                    let arrival = producers.admit(id, epoch, first, count, now);
                    if let Arrival::New { skip } = arrival {
                        judge(
                            &mut producers,
                            (id, epoch),
                            first.plus(skip),
                            count - skip,
                            position,
                            now,
                        );
                        position += 1;
                    }
                    format!("{arrival:?}")
                }
                ["ask", id, what] => {
                    let (first, count) = events(what);
                    let id = ProducerId(id.parse().unwrap());
                    match producers.remembered(id, first, count) {
                        None => "forgotten".to_owned(),
                        Some(pieces) => {
                            let piece = |piece: &Piece| {
                                format!(
                                    "commit {} from {} x{}",
                                    piece.position, piece.from, piece.count
                                )
                            };
                            pieces.iter().map(piece).collect::<Vec<_>>().join(", ")
                        }
                    }
                }
                _ => panic!("{line}?"),
            };
            writeln!(answers, "{line}: {answer}").unwrap();
        }
        expected.assert_eq(&answers);
    }

    fn events(text: &str) -> (Sequence, u32) {
        let (first, count) = text.split_once('+').unwrap();
        (Sequence::new(first.parse().unwrap()), count.parse().unwrap())
    }

    fn judge(
        producers: &mut Producers,
        (id, epoch): (ProducerId, ProducerEpoch),
        first: Sequence,
        count: u32,
        position: u64,
        time: Timestamp,
    ) {
        let batch = Remembered {
            first,
            count,
            position: Position(position),
            first_offset: Offset(0),
            all_accepted: true,
            time,
        };
        let produced = Produced { id, epoch, first, last: first.plus(count - 1) };
        producers.apply(produced, batch, &mut Vec::new());
        producers.advance(time, &mut Vec::new());
    }

    #[test]
    fn a_producer_counts_from_zero_without_gaps() {
        check(
            "publish 1/0 3+2
             publish 1/0 0+3
             publish 1/0 4+1
             publish 1/0 3+2
             publish 2/0 0+1",
            expect![[r#"
                publish 1/0 3+2: Expired
                publish 1/0 0+3: New { skip: 0 }
                publish 1/0 4+1: OutOfOrder { expected: Sequence(3) }
                publish 1/0 3+2: New { skip: 0 }
                publish 2/0 0+1: New { skip: 0 }
            "#]],
        );
    }

    #[test]
    fn a_retry_is_a_duplicate_however_it_is_cut() {
        check(
            "publish 1/0 0+3
             publish 1/0 3+2
             publish 1/0 5+4
             publish 1/0 3+2
             ask 1 3+2
             publish 1/0 1+5
             ask 1 1+5
             publish 1/0 8+1
             ask 1 8+1
             ask 1 8+2
             ask 2 0+1",
            expect![[r#"
                publish 1/0 0+3: New { skip: 0 }
                publish 1/0 3+2: New { skip: 0 }
                publish 1/0 5+4: New { skip: 0 }
                publish 1/0 3+2: Duplicate
                ask 1 3+2: commit 1 from 0 x2
                publish 1/0 1+5: Duplicate
                ask 1 1+5: commit 0 from 1 x2, commit 1 from 0 x2, commit 2 from 0 x1
                publish 1/0 8+1: Duplicate
                ask 1 8+1: commit 2 from 3 x1
                ask 1 8+2: forgotten
                ask 2 0+1: forgotten
            "#]],
        );
    }

    #[test]
    fn a_batch_that_straddles_is_judged_from_where_it_is_new() {
        check(
            "publish 1/0 0+3
             publish 1/0 1+5
             ask 1 1+5
             publish 1/0 6+1",
            expect![[r#"
                publish 1/0 0+3: New { skip: 0 }
                publish 1/0 1+5: New { skip: 2 }
                ask 1 1+5: commit 0 from 1 x2, commit 1 from 0 x3
                publish 1/0 6+1: New { skip: 0 }
            "#]],
        );
    }

    #[test]
    fn a_younger_life_begins_at_zero_and_fences_the_older() {
        check(
            "publish 1/0 0+3
             publish 1/2 3+1
             publish 1/2 0+1
             publish 1/0 3+1
             publish 1/0 0+3
             publish 1/2 0+1
             ask 1 0+1
             ask 1 1+1",
            expect![[r#"
                publish 1/0 0+3: New { skip: 0 }
                publish 1/2 3+1: OutOfOrder { expected: Sequence(0) }
                publish 1/2 0+1: New { skip: 0 }
                publish 1/0 3+1: Fenced { by: ProducerEpoch(2) }
                publish 1/0 0+3: Fenced { by: ProducerEpoch(2) }
                publish 1/2 0+1: Duplicate
                ask 1 0+1: commit 1 from 0 x1
                ask 1 1+1: forgotten
            "#]],
        );
    }

    #[test]
    fn past_a_day_a_retry_is_expired_and_the_producer_goes_on() {
        check(
            "publish 1/0 0+3
             wait 23h
             publish 1/0 0+3
             publish 1/0 3+3
             wait 1h
             publish 1/0 0+3
             publish 1/0 2+3
             publish 1/0 3+3
             publish 1/0 2+5
             pass 22h
             publish 1/0 3+3
             pass 1h
             publish 1/0 3+3
             pass 143h
             publish 1/0 6+1
             pass 168h
             publish 1/0 7+1",
            expect![[r#"
                publish 1/0 0+3: New { skip: 0 }
                publish 1/0 0+3: Duplicate
                publish 1/0 3+3: New { skip: 0 }
                publish 1/0 0+3: Expired
                publish 1/0 2+3: Expired
                publish 1/0 3+3: Duplicate
                publish 1/0 2+5: Expired
                pass 22h: 1 known, 1 batches
                publish 1/0 3+3: Duplicate
                pass 1h: 1 known, 0 batches
                publish 1/0 3+3: Expired
                pass 143h: 1 known, 0 batches
                publish 1/0 6+1: New { skip: 0 }
                pass 168h: 0 known, 0 batches
                publish 1/0 7+1: Expired
            "#]],
        );
    }

    #[test]
    fn sequences_go_on_at_zero_after_the_end_of_the_ring() {
        let last = Sequence::new(u32::MAX);
        let begin = Sequence::new(last.number() - 2);
        let head = ClientHead {
            epoch: ProducerEpoch(0),
            last: Sequence::new(begin.number() - 1),
            used: Timestamp(0),
        };
        let mut producers = Producers::restore([Changed::Client(ALICE, head)]).unwrap();
        let arrival = |producers: &Producers, first: Sequence, count| {
            producers.admit(ALICE, ProducerEpoch(0), first, count, Timestamp(0))
        };
        assert_eq!(arrival(&producers, begin, 5), Arrival::New { skip: 0 });
        judge(&mut producers, (ALICE, ProducerEpoch(0)), begin, 5, 0, Timestamp(0));
        judge(&mut producers, (ALICE, ProducerEpoch(0)), Sequence::new(2), 2, 1, Timestamp(0));

        assert_eq!(arrival(&producers, Sequence::new(4), 1), Arrival::New { skip: 0 });
        assert_eq!(arrival(&producers, last, 3), Arrival::Duplicate);
        assert_eq!(arrival(&producers, last, 9), Arrival::New { skip: 5 });
        assert_eq!(
            arrival(&producers, Sequence::new(5), 1),
            Arrival::OutOfOrder { expected: Sequence::new(4) }
        );
        assert_eq!(arrival(&producers, Sequence::new(begin.number() - 1), 1), Arrival::Expired);
        let pieces = producers.remembered(ALICE, last, 4).unwrap();
        let pieces: Vec<_> =
            pieces.iter().map(|piece| (piece.position.0, piece.from, piece.count)).collect();
        assert_eq!(pieces, [(0, 2, 3), (1, 0, 1)]);
    }

    #[test]
    fn what_lies_half_the_ring_back_is_ahead() {
        let mut producers = Producers::default();
        judge(&mut producers, (ALICE, ProducerEpoch(0)), Sequence::ZERO, 1, 0, Timestamp(0));
        let expected = Sequence::new(1);
        let arrival = |first| producers.admit(ALICE, ProducerEpoch(0), first, 1, Timestamp(0));
        let back = |distance: u32| Sequence::new(expected.number().wrapping_sub(distance));
        assert_eq!(arrival(back(HALF_RING - 1)), Arrival::Expired);
        assert_eq!(arrival(back(HALF_RING)), Arrival::OutOfOrder { expected });
    }

    #[test]
    fn a_window_ends_at_a_million_events_or_ten_thousand_batches() {
        let mut producers = Producers::default();
        let mut next = Sequence::ZERO;
        for position in 0..11 {
            judge(
                &mut producers,
                (ALICE, ProducerEpoch(0)),
                next,
                HORIZON_SEQUENCES / 10,
                position,
                Timestamp(0),
            );
            next = next.plus(HORIZON_SEQUENCES / 10);
        }
        assert_eq!(producers.batches(), 10);
        for position in 11..11 + BATCHES_PER_PRODUCER_MAX as u64 {
            judge(&mut producers, (ALICE, ProducerEpoch(0)), next, 1, position, Timestamp(0));
            next = next.plus(1);
        }
        assert_eq!(producers.batches(), BATCHES_PER_PRODUCER_MAX);
        let retry = |first| producers.admit(ALICE, ProducerEpoch(0), first, 1, Timestamp(0));
        assert_eq!(retry(Sequence::new(1_100_000)), Arrival::Duplicate);
        assert_eq!(retry(Sequence::new(1_099_999)), Arrival::Expired);
    }

    #[test]
    fn a_full_house_takes_new_producers_when_others_have_been_silent_for_a_day() {
        let mut producers = Producers::default();
        for id in 0..PRODUCERS_MAX as u64 {
            judge(
                &mut producers,
                (ProducerId(id), ProducerEpoch(0)),
                Sequence::ZERO,
                1,
                id,
                Timestamp(id),
            );
        }
        let newcomer = ProducerId(1 << 40);
        let arrival =
            |now| producers.admit(newcomer, ProducerEpoch(0), Sequence::ZERO, 1, Timestamp(now));
        assert_eq!(arrival(HORIZON_MS - 1), Arrival::Full);
        assert_eq!(arrival(HORIZON_MS), Arrival::New { skip: 0 });
        let known = producers.admit(ALICE, ProducerEpoch(0), Sequence::new(1), 1, Timestamp(0));
        assert_eq!(known, Arrival::New { skip: 0 });

        judge(
            &mut producers,
            (newcomer, ProducerEpoch(0)),
            Sequence::ZERO,
            1,
            1 << 40,
            Timestamp(HORIZON_MS),
        );
        assert_eq!(producers.clients(), PRODUCERS_MAX);
        let first = producers.admit(
            ProducerId(0),
            ProducerEpoch(0),
            Sequence::new(1),
            1,
            Timestamp(HORIZON_MS),
        );
        assert_eq!(first, Arrival::Expired);
    }

    #[test]
    fn a_relay_is_known_by_its_last_number_for_ever() {
        let relay = ProducerId::relay(weir_wire::ids::TopicId(7), weir_wire::ids::PartitionId(0));
        let mut producers = Producers::default();
        let sequences = [3, 9, 20].map(Sequence::new);
        let skip = |producers: &Producers, epoch| {
            producers.relay_skip(relay, ProducerEpoch(epoch), &sequences)
        };
        assert_eq!(skip(&producers, 0), 0);
        let batch = Remembered {
            first: Sequence::new(3),
            count: 2,
            position: Position(0),
            first_offset: Offset(0),
            all_accepted: false,
            time: Timestamp(0),
        };
        let produced = Produced {
            id: relay,
            epoch: ProducerEpoch(1),
            first: Sequence::new(3),
            last: Sequence::new(9),
        };
        producers.apply(produced, batch, &mut Vec::new());
        producers.advance(Timestamp(u64::MAX), &mut Vec::new());
        assert_eq!((skip(&producers, 0), skip(&producers, 1), skip(&producers, 2)), (3, 2, 0));
        assert_eq!((producers.clients(), producers.batches()), (0, 0));
    }

    #[test]
    #[should_panic(expected = "a producer's batches follow on one another")]
    fn a_gap_in_the_log_is_not_folded() {
        let mut producers = Producers::default();
        judge(&mut producers, (ALICE, ProducerEpoch(0)), Sequence::ZERO, 1, 0, Timestamp(0));
        judge(&mut producers, (ALICE, ProducerEpoch(0)), Sequence::new(2), 1, 1, Timestamp(0));
    }
}

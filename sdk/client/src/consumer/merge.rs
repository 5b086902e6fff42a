//! Which event of several partitions is next in time. Pure: what came and when comes in, the next
//! event comes out.
//!
//! Promises: the order of each partition is kept, whatever its timestamps; where they rise within
//! each partition, and nobody has to be passed over for being silent, events come in the order of
//! (timestamp, partition, offset). Not here: who reads (`by_time.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use weir_wire::ids::{Offset, PartitionId, Timestamp};
use weir_wire::record_batch::Event;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Merge {
    lanes: BTreeMap<PartitionId, Lane>,
    /// The first event of each lane that has any.
    heads: BTreeSet<(Timestamp, PartitionId)>,
    /// Lanes without an event that may still get some.
    silent: BTreeSet<PartitionId>,
    /// How long an event waits for partitions that are silent at their tail.
    patience: Duration,
}

/// One partition.
#[derive(Debug)]
struct Lane {
    events: VecDeque<(Offset, Event)>,
    /// When they came.
    arrived: Instant,
    /// Where it goes on behind them.
    next: Offset,
    /// Everything below is known to be there, so it is waited for as long as it takes.
    known: Offset,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Step {
    /// This one is next.
    Give(PartitionId, Offset, Event),
    /// Nothing, until something comes in; at the latest then, if there is a time.
    Wait(Option<Instant>),
    /// Nothing any more.
    End,
}

impl Merge {
    /// Of partitions with the offset at which each begins, and the one below which it is known to
    /// have events.
    pub(super) fn new(
        lanes: impl IntoIterator<Item = (PartitionId, Offset, Offset)>,
        now: Instant,
        patience: Duration,
    ) -> Self {
        let lane = |(partition, next, known)| {
            (partition, Lane { events: VecDeque::new(), arrived: now, next, known })
        };
        let lanes: BTreeMap<_, _> = lanes.into_iter().map(lane).collect();
        let silent = lanes.keys().copied().collect();
        Self { lanes, heads: BTreeSet::new(), silent, patience }
    }

    /// The partitions that more is wanted of.
    pub(super) fn silent(&self) -> impl Iterator<Item = PartitionId> {
        self.silent.iter().copied()
    }

    /// Events of a silent partition, or only where it goes on.
    pub(super) fn push(
        &mut self,
        partition: PartitionId,
        events: Vec<(Offset, Event)>,
        next: Offset,
        now: Instant,
    ) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        assert!(lane.events.is_empty(), "one chunk of a partition at a time");
        (lane.events, lane.arrived, lane.next) = (events.into(), now, next);
        if let Some((_, first)) = lane.events.front() {
            self.heads.insert((first.timestamp, partition));
            self.silent.remove(&partition);
        }
    }

    /// Nothing more comes of a silent partition.
    pub(super) fn end(&mut self, partition: PartitionId) {
        self.silent.remove(&partition);
    }

    /// What to do.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        let Some((timestamp, partition)) = self.heads.first().copied() else {
            return if self.silent.is_empty() { Step::End } else { Step::Wait(None) };
        };
        let is_behind = |lane: &Lane| lane.next < lane.known;
        let mut silent = self.silent.iter().filter_map(|partition| self.lanes.get(partition));
        if silent.any(is_behind) {
            return Step::Wait(None);
        }
        let lane = self.lanes.get_mut(&partition).expect("heads are of lanes");
        let patient_until = lane.arrived + self.patience;
        if !self.silent.is_empty() && now < patient_until {
            return Step::Wait(Some(patient_until));
        }
        let (offset, event) = lane.events.pop_front().expect("it has a head");
        self.heads.remove(&(timestamp, partition));
        match lane.events.front() {
            Some((_, next)) => self.heads.insert((next.timestamp, partition)),
            None => self.silent.insert(partition),
        };
        Step::Give(partition, offset, event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    fn events(first: u64, times: &[u64]) -> Vec<(Offset, Event)> {
        let event = |at: &u64| Event { timestamp: Timestamp(*at), ..Event::default() };
        (first..).map(Offset).zip(times.iter().map(event)).collect()
    }

    fn merge(known: &[u64]) -> (Merge, Instant) {
        let now = Instant::now();
        let lane =
            |(partition, known): (u32, &u64)| (PartitionId(partition), Offset(0), Offset(*known));
        (Merge::new((0..).zip(known).map(lane), now, PATIENCE), now)
    }

    /// `partition/offset@timestamp` of all that is given now, and what it ends with.
    fn given(merge: &mut Merge, now: Instant) -> String {
        let mut words = Vec::new();
        loop {
            words.push(match merge.step(now) {
                Step::Give(partition, offset, event) => {
                    format!("{partition}/{offset}@{}", event.timestamp.0)
                }
                Step::Wait(None) => "waits".to_owned(),
                Step::Wait(Some(until)) => format!("waits {} ms", (until - now).as_millis()),
                Step::End => "ends".to_owned(),
            });
            if !words.last().unwrap().contains('@') {
                return words.join(" ");
            }
        }
    }

    #[test]
    fn a_partition_that_is_known_to_have_more_is_waited_for_without_an_end() {
        let (mut merge, now) = merge(&[2, 1]);
        merge.push(PartitionId(0), events(0, &[10, 30]), Offset(2), now);
        assert_eq!(given(&mut merge, now + 100 * PATIENCE), "waits");
        merge.push(PartitionId(1), events(0, &[20]), Offset(1), now);
        let told = "0/0@10 1/0@20 waits 500 ms";
        assert_eq!(given(&mut merge, now), told, "1 is at its tail, and may go on");
        merge.end(PartitionId(1));
        assert_eq!(given(&mut merge, now), "0/1@30 waits");
        merge.end(PartitionId(0));
        assert_eq!(given(&mut merge, now), "ends");
    }

    #[test]
    fn a_silent_tail_holds_an_event_up_for_so_long_and_no_longer() {
        let (mut merge, now) = merge(&[0, 0]);
        assert_eq!(given(&mut merge, now), "waits");
        merge.push(PartitionId(0), events(0, &[50]), Offset(1), now);
        let soon = now + PATIENCE / 2;
        assert_eq!(given(&mut merge, soon), "waits 250 ms");
        merge.push(PartitionId(1), events(0, &[40]), Offset(1), soon);
        assert_eq!(given(&mut merge, soon), "1/0@40 waits 250 ms", "it was late and comes first");
        assert_eq!(given(&mut merge, now + PATIENCE), "0/0@50 waits");
    }

    #[test]
    fn ties_go_by_partition_and_a_partition_whose_times_fall_keeps_its_order() {
        let (mut merge, now) = merge(&[3, 2]);
        merge.push(PartitionId(1), events(0, &[10, 10]), Offset(2), now);
        merge.push(PartitionId(0), events(0, &[10, 30, 5]), Offset(3), now);
        let all = given(&mut merge, now + PATIENCE);
        assert_eq!(all, "0/0@10 1/0@10 1/1@10 0/1@30 0/2@5 waits");
    }

    proptest! {
        #[test]
        fn rising_partitions_come_out_sorted_however_they_are_cut(
            gaps in prop::collection::vec(prop::collection::vec(0u64..4, 0..30), 1..6),
            chunk in 1usize..7,
        ) {
            let rising = |gaps: &Vec<u64>| {
                let mut at = 0;
                gaps.iter().map(|gap| { at += gap; at }).collect::<Vec<_>>()
            };
            let times: Vec<_> = gaps.iter().map(rising).collect();
            let known: Vec<_> = times.iter().map(|times| times.len() as u64).collect();
            let (mut merge, now) = merge(&known);
            let mut left: Vec<_> = times.iter().map(|times| (0, times.as_slice())).collect();
            let mut given = Vec::new();
            loop {
                for partition in merge.silent().collect::<Vec<_>>() {
                    let (first, rest) = &mut left[partition.0 as usize];
                    if rest.is_empty() {
                        merge.end(partition);
                        continue;
                    }
                    let (some, more) = rest.split_at(chunk.min(rest.len()));
                    let next = *first + some.len() as u64;
                    merge.push(partition, events(*first, some), Offset(next), now);
                    (*first, *rest) = (next, more);
                }
                match merge.step(now) {
                    Step::Give(partition, offset, event) => {
                        given.push((event.timestamp.0, partition.0, offset.0));
                    }
                    Step::End => break,
                    Step::Wait(until) => prop_assert!(false, "waits until {:?}", until),
                }
            }
            let mut all: Vec<_> = (0..)
                .zip(&times)
                .flat_map(|(partition, times)| {
                    (0..).zip(times).map(move |(offset, at)| (*at, partition, offset))
                })
                .collect();
            all.sort_unstable();
            prop_assert_eq!(given, all);
        }
    }
}

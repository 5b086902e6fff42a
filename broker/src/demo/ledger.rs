//! What happened in the demo, counted from what was seen, and whether it can be true. Pure.
//!
//! Promises: no figure is taken from anywhere but the evidence; each is counted a second time in
//! another way, and a difference is a sentence.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Serialize;
use weir_client::Event;
use weir_wire::admin::{ChangedAt, JudgedCounts};
use weir_wire::ids::{ChainRevision, Offset, PartitionId};

/// The refusal of one flight too many, in the plugin's words.
pub const OVER_LIMIT: &str = "daily-limit";
/// The refusal of a flight without a tail number, in the plugin's words.
pub const NO_KEY: &str = "no-key";
/// A UTC day.
const DAY_MS: u64 = 86_400_000;

/// A verdict as its publisher heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Where the flight was judged.
    pub partition: PartitionId,
    /// The chain that judged it.
    pub revision: ChainRevision,
    /// Its offset, or the code of its refusal.
    pub fate: Result<Offset, String>,
}

/// A rule that was at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Flights per aircraft and day.
    pub limit: u64,
    /// Its chain's revision.
    pub revision: ChainRevision,
}

/// Everything seen, each from its own source.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What was published, in order.
    pub flights: Vec<Event>,
    /// What the publisher heard of each.
    pub heard: Vec<Heard>,
    /// The first rule and the one after the swap.
    pub rules: [Rule; 2],
    /// Where the swap took effect, as the broker answered it.
    pub changed_at: Vec<ChangedAt>,
    /// The broker's own counts, all partitions together.
    pub counts: JudgedCounts,
    /// What a consumer found in the topic.
    pub read_back: BTreeMap<(PartitionId, Offset), Event>,
    /// What a consumer found in the notices' topic.
    pub notices: Vec<Event>,
    /// Mails in the inbox.
    pub mails: u64,
}

/// What became of flights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Flights judged.
    pub sent: u64,
    /// In the log.
    pub accepted: u64,
    /// Refused, by code.
    pub rejected: BTreeMap<String, u64>,
}

/// The figures at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// All flights.
    pub total: Counted,
    /// Those that the first rule judged.
    pub before_swap: Counted,
    /// Those that the second rule judged.
    pub after_swap: Counted,
    /// From which offset of each partition the second rule judged.
    pub swapped_at: Vec<ChangedAt>,
    /// Side events in the notices' topic.
    pub notices: u64,
    /// Mails sent.
    pub mails: u64,
    /// Flights a consumer read.
    pub read_back: u64,
}

impl Evidence {
    /// Counts.
    pub fn figures(&self) -> Figures {
        let [before_swap, after_swap] = self
            .rules
            .map(|rule| count(self.heard.iter().filter(|heard| heard.revision == rule.revision)));
        Figures {
            total: count(self.heard.iter()),
            before_swap,
            after_swap,
            swapped_at: self.changed_at.clone(),
            notices: self.notices.len() as u64,
            mails: self.mails,
            read_back: self.read_back.len() as u64,
        }
    }

    /// What cannot be true, a sentence each; empty if all agrees.
    pub fn contradictions(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, sentence: String| {
            if !holds {
                wrong.push(sentence);
            }
        };
        let Figures { total, before_swap, after_swap, .. } = self.figures();
        let flights = self.flights.len();
        must(
            self.heard.len() == flights,
            format!("{} verdicts for {flights} flights", self.heard.len()),
        );
        must(
            0 < before_swap.sent && 0 < after_swap.sent,
            "one of the two rules judged nothing, so nothing was swapped under way".to_owned(),
        );
        must(
            before_swap.sent + after_swap.sent == total.sent,
            "flights were judged by a chain that was never bound".to_owned(),
        );
        let refused: u64 = total.rejected.values().sum();
        let counts = self.counts;
        must(
            (counts.accepted, counts.rejected) == (total.accepted, refused),
            format!(
                "the broker counted {} accepted and {} refused, the publisher {} and {refused}",
                counts.accepted, counts.rejected, total.accepted
            ),
        );
        let unfair = self.unfair_verdicts();
        must(unfair == 0, format!("{unfair} verdicts are not what the rule in force says"));
        let misplaced = self.misplaced();
        must(misplaced == 0, format!("{misplaced} flights lie on the wrong side of the swap"));
        must(
            self.accepted_flights() == self.read_back,
            "what was read back is not what was accepted, byte for byte".to_owned(),
        );
        let told: BTreeSet<_> = self.notices.iter().filter_map(aircraft_day).collect();
        must(
            told == self.over_limit() && told.len() == self.notices.len(),
            "the notices are not one for each aircraft and day that went over".to_owned(),
        );
        must(
            self.mails == self.notices.len() as u64,
            format!("{} mails for {} notices", self.mails, self.notices.len()),
        );
        wrong
    }

    /// The rule applied once more, by other means than the plugin's.
    fn unfair_verdicts(&self) -> usize {
        let mut flown: BTreeMap<AircraftDay, u64> = BTreeMap::new();
        let mut unfair = 0;
        for (flight, heard) in self.flights.iter().zip(&self.heard) {
            let due = match aircraft_day(flight) {
                None => Err(NO_KEY),
                Some(aircraft_day) => {
                    let rule = self.rules.iter().find(|rule| rule.revision == heard.revision);
                    let flown = flown.entry(aircraft_day).or_default();
                    if rule.is_some_and(|rule| *flown < rule.limit) {
                        *flown += 1;
                        Ok(())
                    } else {
                        Err(OVER_LIMIT)
                    }
                }
            };
            let said = heard.fate.as_ref().map(|_| ()).map_err(String::as_str);
            unfair += usize::from(said != due);
        }
        unfair
    }

    /// Accepted flights whose offset and whose chain contradict the offset of the swap.
    fn misplaced(&self) -> usize {
        let swapped: BTreeMap<PartitionId, Offset> =
            self.changed_at.iter().map(|at| (at.partition, at.offset)).collect();
        let is_misplaced = |heard: &&Heard| {
            let (Ok(offset), Some(at)) = (&heard.fate, swapped.get(&heard.partition)) else {
                return heard.fate.is_ok();
            };
            (at <= offset) != (heard.revision == self.rules[1].revision)
        };
        self.heard.iter().filter(is_misplaced).count()
    }

    fn accepted_flights(&self) -> BTreeMap<(PartitionId, Offset), Event> {
        let accepted = self.flights.iter().zip(&self.heard).filter_map(|(flight, heard)| {
            let offset = heard.fate.as_ref().ok()?;
            Some(((heard.partition, *offset), flight.clone()))
        });
        accepted.collect()
    }

    /// Aircraft and days with a refusal for one flight too many.
    fn over_limit(&self) -> BTreeSet<AircraftDay> {
        let over = self
            .flights
            .iter()
            .zip(&self.heard)
            .filter(|(_, heard)| matches!(&heard.fate, Err(code) if code == OVER_LIMIT));
        over.filter_map(|(flight, _)| aircraft_day(flight)).collect()
    }
}

/// What the rule counts by: a tail number, and days since 1970.
type AircraftDay = (Bytes, u64);

fn aircraft_day(event: &Event) -> Option<AircraftDay> {
    Some((event.key.clone()?, event.timestamp.0 / DAY_MS))
}

fn count<'h>(heard: impl Iterator<Item = &'h Heard>) -> Counted {
    let mut counted = Counted::default();
    for heard in heard {
        counted.sent += 1;
        match &heard.fate {
            Ok(_) => counted.accepted += 1,
            Err(code) => *counted.rejected.entry(code.clone()).or_default() += 1,
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::ids::Timestamp;

    fn flight(aircraft: Option<&'static str>) -> Event {
        let (key, value) = (aircraft.map(Bytes::from), Some(Bytes::from_static(b"{}")));
        Event { timestamp: Timestamp(DAY_MS * 5 + 1), key, value, headers: Vec::new() }
    }

    fn heard(revision: u64, fate: Result<u64, &str>) -> Heard {
        let fate = fate.map(Offset).map_err(str::to_owned);
        Heard { partition: PartitionId(0), revision: ChainRevision(revision), fate }
    }

    /// One aircraft, twice a day and then three times; and a flight without one.
    fn truth() -> Evidence {
        let n1 = || flight(Some("N1"));
        let read_back = (0..3).map(|offset| ((PartitionId(0), Offset(offset)), n1())).collect();
        Evidence {
            flights: vec![n1(), n1(), n1(), flight(None), n1(), n1()],
            heard: vec![
                heard(1, Ok(0)),
                heard(1, Ok(1)),
                heard(1, Err(OVER_LIMIT)),
                heard(1, Err(NO_KEY)),
                heard(2, Ok(2)),
                heard(2, Err(OVER_LIMIT)),
            ],
            rules: [(2, 1), (3, 2)]
                .map(|(limit, revision)| Rule { limit, revision: ChainRevision(revision) }),
            changed_at: vec![ChangedAt { partition: PartitionId(0), offset: Offset(2) }],
            counts: JudgedCounts { accepted: 3, rejected: 3, ..JudgedCounts::default() },
            read_back,
            notices: vec![n1()],
            mails: 1,
        }
    }

    #[test]
    fn the_truth_contradicts_nothing() {
        let truth = truth();
        assert_eq!(truth.contradictions(), Vec::<String>::new());
        let figures = truth.figures();
        assert_eq!((figures.total.sent, figures.total.accepted), (6, 3));
        assert_eq!((figures.before_swap.sent, figures.after_swap.sent), (4, 2));
        assert_eq!(figures.total.rejected[OVER_LIMIT], 2);
    }

    #[test]
    fn every_lie_is_found_out() {
        let check = |says: &str, lie: fn(&mut Evidence)| {
            let mut evidence = truth();
            lie(&mut evidence);
            let found = evidence.contradictions();
            assert!(found.iter().any(|found| found.contains(says)), "{says:?} not in {found:?}");
        };
        check("5 verdicts for 6 flights", |told| drop(told.heard.pop()));
        check("judged nothing", |told| told.heard.truncate(4));
        check("never bound", |told| told.heard[0].revision = ChainRevision(9));
        check("the broker counted 4 accepted", |told| told.counts.accepted = 4);
        check("1 verdicts are not what the rule", |told| told.heard[5].fate = Ok(Offset(3)));
        check("1 verdicts are not what the rule", |told| {
            told.heard[3].fate = Err(OVER_LIMIT.to_owned());
        });
        check("wrong side of the swap", |told| told.changed_at[0].offset = Offset(3));
        check("wrong side of the swap", |told| told.changed_at.clear());
        check("not what was accepted", |told| drop(told.read_back.pop_last()));
        check("not what was accepted", |told| {
            told.read_back.entry((PartitionId(0), Offset(0))).and_modify(|event| event.key = None);
        });
        check("the notices are not one for each", |told| told.notices.push(flight(Some("N1"))));
        check("the notices are not one for each", |told| told.notices.clear());
        check("0 mails for 1 notices", |told| told.mails = 0);
    }
}

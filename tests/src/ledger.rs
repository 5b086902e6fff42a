//! The oracle: a ledger kept outside of weir of what was sent and what was answered, and the check
//! of a broker's topics against it. Every test that breaks something asks it whether anything was
//! lost, doubled or invented.
//!
//! The invariants, by the names they have in all of weir's tests:
//!
//! | name | holds when |
//! |---|---|
//! | I1 | every accepted event stands at its offset, with the bytes that were sent |
//! | I2 | every event in a topic was sent, or emitted by a plugin; none stands there twice; offsets are dense |
//! | I3 | of one producer in one partition, later events stand behind earlier ones |
//! | I4 | an event is judged once: a refused one is in no topic, and every answer about it is the same |
//! | I5 | the rule held: never more than its limit for one user and day, nobody refused below it |
//! | I6 | one side event for each cause, no more; one dead letter for each refused event, as it was sent |
//! | I7 | what a consumer was given stays; committed offsets never go back |
//! | I8 | the chain that judged changes at one offset, and never back |
//!
//! I9, damage is never served, is not a matter of the ledger: whoever damages something checks that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Milliseconds of a UTC day.
pub const DAY_MS: u64 = 86_400_000;

/// Names an event for the test: it stands in the event's value, weir makes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Which of the test's producers sent it.
    pub producer: u32,
    /// Rises by one with every event that this producer sends.
    pub number: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.producer, self.number)
    }
}

impl Name {
    /// The value of the event with this name: JSON with the name in `id`, `padding` bytes long at
    /// least.
    pub fn value(self, padding: usize) -> Vec<u8> {
        let pad = "x".repeat(padding);
        format!(r#"{{"id":"{self}","pad":"{pad}"}}"#).into_bytes()
    }

    /// The name in a value.
    pub fn in_value(value: &[u8]) -> Option<Self> {
        let rest = value.strip_prefix(br#"{"id":""#)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let (producer, number) = std::str::from_utf8(&rest[..end]).ok()?.split_once('-')?;
        Some(Self { producer: producer.parse().ok()?, number: number.parse().ok()? })
    }
}

/// What a publisher was told of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is stored.
    Accepted {
        /// In which partition.
        partition: u32,
        /// At which offset.
        offset: u64,
        /// The revision of the chain that judged it.
        chain: u64,
    },
    /// A plugin refused it, with this code.
    Rejected(String),
}

/// An event as a consumer gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands.
    pub offset: u64,
    /// Its value.
    pub value: Vec<u8>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Everything a broker has in its topics, each partition from its first event on.
#[derive(Debug, Default, Clone)]
pub struct Topics {
    /// The partitions of the topic that producers wrote to.
    pub events: Vec<Vec<Stored>>,
    /// The partitions of the topic that the rule's side events go to.
    pub notices: Vec<Vec<Stored>>,
    /// The partitions of the topic that keeps what the rule refuses; `None`: nothing does.
    pub refused: Option<Vec<Vec<Stored>>>,
}

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of which invariant.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

#[derive(Debug)]
struct Entry {
    user: String,
    day: u64,
    value: Vec<u8>,
    told: Option<Told>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Events of one user and day that the rule lets pass; `None`: no rule.
    limit: Option<u64>,
    events: BTreeMap<Name, Entry>,
    /// What consumers were given: by partition and offset.
    given: BTreeMap<(u32, u64), Vec<u8>>,
    /// By group and partition.
    committed: BTreeMap<(String, u32), u64>,
    /// By partition and revision: the first offset that a chain could fill.
    chains: BTreeMap<(u32, u64), u64>,
    violations: Vec<Violation>,
}

impl Ledger {
    /// A ledger of a topic without a rule, or with daily-limit by event time and this limit, keyed
    /// by the event's key, with a notice topic.
    pub fn new(limit: Option<u64>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The event is about to be sent, with `user` as its key and a timestamp in `day` (days since
    /// the epoch).
    pub fn sent(&mut self, name: Name, user: &str, day: u64, value: Vec<u8>) {
        let entry = Entry { user: user.to_owned(), day, value, told: None };
        let before = self.events.insert(name, entry);
        assert!(before.is_none(), "a defect of the test: {name} is sent twice under one name");
    }

    /// The broker's answer; a later one about the same event has to be the same.
    pub fn told(&mut self, name: Name, told: Told) {
        let entry = self.events.get_mut(&name).expect("only what was sent is answered");
        match &entry.told {
            Some(before) if *before != told => self.violations.push(Violation {
                invariant: "I4",
                what: format!("{name} was {before:?} and later {told:?}"),
            }),
            _ => entry.told = Some(told),
        }
    }

    /// A consumer was given an event.
    pub fn given(&mut self, partition: u32, stored: &Stored) {
        let before = self.given.insert((partition, stored.offset), stored.value.clone());
        if before.is_some_and(|before| before != stored.value) {
            self.violations.push(Violation {
                invariant: "I7",
                what: format!("offset {} of partition {partition} changed", stored.offset),
            });
        }
    }

    /// The broker confirmed that a group's next offset is `offset`.
    pub fn committed(&mut self, group: &str, partition: u32, offset: u64) {
        self.committed.insert((group.to_owned(), partition), offset);
    }

    /// The broker says a group's next offset is `offset`.
    pub fn cursor_found(&mut self, group: &str, partition: u32, offset: Option<u64>) {
        let committed = self.committed.get(&(group.to_owned(), partition)).copied();
        if offset < committed {
            self.violations.push(Violation {
                invariant: "I7",
                what: format!(
                    "{group} committed {committed:?} in partition {partition} and is at {offset:?}"
                ),
            });
        }
    }

    /// The operator was told that in this partition a chain judges from this offset on.
    pub fn chain_changed(&mut self, revision: u64, partition: u32, offset: u64) {
        self.chains.insert((partition, revision), offset);
    }

    /// How many events have an answer.
    pub fn answered(&self) -> usize {
        self.events.values().filter(|entry| entry.told.is_some()).count()
    }

    /// How many were sent.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Everything that is wrong, in the ledger itself and between it and the topics. All relays
    /// have come to rest, and every event has had its last retry.
    pub fn check(&self, topics: &Topics) -> Vec<Violation> {
        let mut found = self.violations.clone();
        let mut places = BTreeMap::new();
        for (partition, events) in (0..).zip(&topics.events) {
            self.check_partition(partition, events, &mut places, &mut found);
        }
        self.check_answers(topics, &places, &mut found);
        self.check_given(topics, &mut found);
        if let Some(limit) = self.limit {
            let refused = self.check_rule(limit, &places, &mut found);
            check_notices(&refused, &topics.notices, &mut found);
        }
        if let Some(letters) = &topics.refused {
            self.check_letters(letters, &places, &mut found);
        }
        found
    }

    /// I2 and I3.
    fn check_partition(
        &self,
        partition: u32,
        events: &[Stored],
        places: &mut BTreeMap<Name, (u32, u64)>,
        found: &mut Vec<Violation>,
    ) {
        let mut last: BTreeMap<u32, Name> = BTreeMap::new();
        for (expected, stored) in (0..).zip(events) {
            let at = format!("{partition}@{}", stored.offset);
            if stored.offset != expected {
                found.push(violation("I2", format!("{at} stands where {expected} should be")));
            }
            let name = Name::in_value(&stored.value);
            let Some((name, entry)) = name.and_then(|name| Some((name, self.events.get(&name)?)))
            else {
                found.push(violation("I2", format!("{at} was never sent")));
                continue;
            };
            if entry.value != stored.value {
                found.push(violation("I1", format!("{name} at {at} has other bytes")));
            }
            if let Some((other, offset)) = places.insert(name, (partition, stored.offset)) {
                let what = format!("{name} stands at {other}@{offset} and at {at}");
                found.push(violation("I2", what));
            }
            if let Some(before) = last.insert(name.producer, name)
                && name < before
            {
                found.push(violation("I3", format!("{name} at {at} stands behind {before}")));
            }
        }
    }

    /// I1, I4 and I8.
    fn check_answers(
        &self,
        topics: &Topics,
        places: &BTreeMap<Name, (u32, u64)>,
        found: &mut Vec<Violation>,
    ) {
        let mut chains: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for (name, entry) in &self.events {
            match (&entry.told, places.get(name)) {
                (Some(Told::Accepted { partition, offset, chain }), place) => {
                    if place != Some(&(*partition, *offset)) {
                        let what = format!(
                            "{name} was accepted at {partition}@{offset}, and is at {place:?}"
                        );
                        found.push(violation("I1", what));
                    }
                    chains.insert((*partition, *offset), *chain);
                }
                (Some(Told::Rejected(code)), Some((partition, offset))) => {
                    let what =
                        format!("{name} was refused ({code}), and is at {partition}@{offset}");
                    found.push(violation("I4", what));
                }
                _ => {}
            }
        }
        for ((partition, offset), revision) in &chains {
            let since = |revision| self.chains.get(&(*partition, revision)).copied();
            let is_early = since(*revision).is_some_and(|first| offset < &first);
            let is_late = since(revision + 1).is_some_and(|next| next <= *offset);
            if is_early || is_late {
                let what = format!(
                    "{partition}@{offset}: chain {revision}, which judged from {:?} on and up to {:?}",
                    since(*revision),
                    since(revision + 1)
                );
                found.push(violation("I8", what));
            }
        }
        for partition in 0..topics.events.len() as u32 {
            let of_it: Vec<_> = chains
                .range((partition, 0)..(partition + 1, 0))
                .map(|((_, at), of)| (at, of))
                .collect();
            for pair in of_it.windows(2) {
                if pair[1].1 < pair[0].1 {
                    let what = format!(
                        "{partition}@{}: chain {} behind chain {}",
                        pair[1].0, pair[1].1, pair[0].1
                    );
                    found.push(violation("I8", what));
                }
            }
        }
    }

    /// I7.
    fn check_given(&self, topics: &Topics, found: &mut Vec<Violation>) {
        for ((partition, offset), value) in &self.given {
            let events = topics.events.get(*partition as usize);
            let there = events.and_then(|events| events.get(*offset as usize));
            if there.is_none_or(|stored| stored.value != *value) {
                let what = format!("a consumer was given {partition}@{offset}, which is gone");
                found.push(violation("I7", what));
            }
        }
    }

    /// I6 for dead letters.
    fn check_letters(
        &self,
        letters: &[Vec<Stored>],
        places: &BTreeMap<Name, (u32, u64)>,
        found: &mut Vec<Violation>,
    ) {
        let mut kept = BTreeSet::new();
        for stored in letters.iter().flatten() {
            let name = Name::in_value(&stored.value);
            let Some((name, entry)) = name.and_then(|name| Some((name, self.events.get(&name)?)))
            else {
                let what = format!("a dead letter of what was never sent: {:?}", stored.value);
                found.push(violation("I6", what));
                continue;
            };
            let code = stored.headers.iter().find(|(name, _)| name == "weir-dead-letter-code");
            let code = code.map(|(_, code)| String::from_utf8_lossy(code).into_owned());
            let is_as_told = match &entry.told {
                Some(Told::Rejected(told)) => code.as_deref() == Some(told),
                Some(Told::Accepted { .. }) => false,
                None => code.is_some(),
            };
            if !is_as_told || entry.value != stored.value || places.contains_key(&name) {
                let what = format!("{name} is kept as refused with {code:?}: {:?}", entry.told);
                found.push(violation("I6", what));
            }
            if !kept.insert(name) {
                found.push(violation("I6", format!("two dead letters of {name}")));
            }
        }
        for (name, entry) in &self.events {
            if matches!(entry.told, Some(Told::Rejected(_))) && !kept.contains(name) {
                found.push(violation("I6", format!("no dead letter of {name}")));
            }
        }
    }

    /// I5. Gives, for each user and day, whether someone was told of a refusal (`true`), or events
    /// are neither stored nor answered and may have been refused (`false`).
    fn check_rule(
        &self,
        limit: u64,
        places: &BTreeMap<Name, (u32, u64)>,
        found: &mut Vec<Violation>,
    ) -> BTreeMap<(String, u64), bool> {
        let mut counts: BTreeMap<(&str, u64), (u64, u64, u64)> = BTreeMap::new();
        for (name, entry) in &self.events {
            let count = counts.entry((&entry.user, entry.day)).or_default();
            match (&entry.told, places.contains_key(name)) {
                (_, true) => count.0 += 1,
                (Some(Told::Rejected(_)), false) => count.1 += 1,
                (_, false) => count.2 += 1,
            }
        }
        let mut refused = BTreeMap::new();
        for ((user, day), (accepted, rejected, unknown)) in counts {
            if accepted > limit || (rejected > 0 && accepted < limit) {
                let what = format!(
                    "{user} on day {day}: {accepted} accepted and {rejected} refused with a limit of {limit}"
                );
                found.push(violation("I5", what));
            }
            if rejected > 0 || (unknown > 0 && accepted == limit) {
                refused.insert((user.to_owned(), day), rejected > 0);
            }
        }
        refused
    }
}

/// I6: one notice for each user and day that was refused, and one cause for each notice.
fn check_notices(
    refused: &BTreeMap<(String, u64), bool>,
    notices: &[Vec<Stored>],
    found: &mut Vec<Violation>,
) {
    let mut causes = BTreeSet::new();
    let mut noticed = BTreeSet::new();
    for stored in notices.iter().flatten() {
        let cause = stored.headers.iter().find(|(name, _)| name == "weir-cause");
        if !causes.insert(cause.map(|(_, value)| value.clone())) {
            found.push(violation("I6", format!("two notices with one cause: {cause:?}")));
        }
        let Some(about) = about(&stored.value) else {
            found.push(violation(
                "I6",
                format!("no notice: {:?}", String::from_utf8_lossy(&stored.value)),
            ));
            continue;
        };
        if !refused.contains_key(&about) {
            found.push(violation("I6", format!("a notice without a refusal: {about:?}")));
        }
        if !noticed.insert(about.clone()) {
            found.push(violation("I6", format!("two notices for {about:?}")));
        }
    }
    for (about, is_certain) in refused {
        if *is_certain && !noticed.contains(about) {
            found.push(violation("I6", format!("no notice for {about:?}")));
        }
    }
}

/// User and day of a notice.
fn about(value: &[u8]) -> Option<(String, u64)> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    let day = day_number(value.get("day")?.as_str()?)?;
    Some((value.get("key")?.as_str()?.to_owned(), day))
}

/// Days since the epoch of a date as `1970-01-31` (the inverse of Howard Hinnant's civil_from_days).
fn day_number(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)
}

fn violation(invariant: &'static str, what: String) -> Violation {
    Violation { invariant, what }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn name(number: u64) -> Name {
        Name { producer: 1, number }
    }

    fn stored(offset: u64, number: u64) -> Stored {
        Stored { offset, value: name(number).value(3), headers: vec![] }
    }

    fn accepted(offset: u64) -> Told {
        Told::Accepted { partition: 0, offset, chain: 1 }
    }

    /// One user with three events on a day, of which the limit lets two pass.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(Some(2));
        for number in 0..3 {
            ledger.sent(name(number), "ann", 19_723, name(number).value(3));
        }
        ledger.told(name(0), accepted(0));
        ledger.told(name(1), accepted(1));
        ledger.told(name(2), Told::Rejected("daily-limit".into()));
        ledger
    }

    fn letter(offset: u64, number: u64) -> Stored {
        let headers = vec![("weir-dead-letter-code".into(), b"daily-limit".into())];
        Stored { headers, ..stored(offset, number) }
    }

    fn letters(topics: &mut Topics) -> &mut Vec<Stored> {
        &mut topics.refused.as_mut().unwrap()[0]
    }

    fn notice(offset: u64, cause: &str) -> Stored {
        Stored {
            offset,
            value: br#"{"key":"ann","day":"2024-01-01"}"#.to_vec(),
            headers: vec![("weir-cause".into(), cause.into())],
        }
    }

    fn topics() -> Topics {
        Topics {
            events: vec![vec![stored(0, 0), stored(1, 1)]],
            notices: vec![vec![notice(0, "a")]],
            refused: Some(vec![vec![letter(0, 2)]]),
        }
    }

    fn invariants(ledger: &Ledger, topics: &Topics) -> BTreeSet<&'static str> {
        ledger.check(topics).iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn what_is_right_passes() {
        let mut ledger = ledger();
        ledger.chain_changed(1, 0, 0);
        ledger.chain_changed(2, 0, 2);
        assert_eq!(ledger.check(&topics()), []);
        assert_eq!(day_number("1970-01-01"), Some(0));
        assert_eq!(day_number("2024-02-29"), Some(19_782));
    }

    /// An oracle that sees nothing proves nothing: one wrong world for each invariant.
    #[test]
    fn what_is_wrong_is_found() {
        let found = |change: fn(&mut Ledger, &mut Topics)| {
            let (mut ledger, mut topics) = (ledger(), topics());
            change(&mut ledger, &mut topics);
            invariants(&ledger, &topics)
        };
        let has = |change, invariant| {
            let found = found(change);
            assert!(found.contains(invariant), "{invariant} is not among {found:?}");
        };
        has(|_, topics| drop(topics.events[0].pop()), "I1");
        has(|_, topics| topics.events[0][1].value[20] = b'y', "I1");
        has(|_, topics| topics.events[0].push(stored(2, 1)), "I2");
        has(|_, topics| topics.events[0].push(stored(2, 9)), "I2");
        has(|_, topics| topics.events[0][1].offset = 2, "I2");
        has(|_, topics| topics.events[0].swap(0, 1), "I3");
        has(|_, topics| topics.events[0].push(stored(2, 2)), "I4");
        has(|ledger, _| ledger.told(name(2), accepted(2)), "I4");
        has(
            |ledger, topics| {
                ledger.sent(name(3), "ann", 19_723, name(3).value(3));
                topics.events[0].push(stored(2, 3));
            },
            "I5",
        );
        has(
            |ledger, _| {
                ledger.sent(name(3), "bob", 19_723, name(3).value(3));
                ledger.told(name(3), Told::Rejected("daily-limit".into()));
            },
            "I5",
        );
        has(|_, topics| topics.notices[0].clear(), "I6");
        has(|_, topics| topics.notices[0].push(notice(1, "a")), "I6");
        has(|_, topics| topics.notices[0].push(notice(1, "b")), "I6");
        has(|_, topics| letters(topics).clear(), "I6");
        has(|_, topics| letters(topics).push(letter(1, 2)), "I6");
        has(|_, topics| letters(topics).push(letter(1, 1)), "I6");
        has(|_, topics| letters(topics).push(letter(1, 9)), "I6");
        has(|_, topics| letters(topics)[0].value[20] = b'y', "I6");
        has(|_, topics| letters(topics)[0].headers.clear(), "I6");
        has(|ledger, _| ledger.given(0, &stored(2, 9)), "I7");
        has(
            |ledger, _| {
                ledger.committed("mailer", 0, 5);
                ledger.cursor_found("mailer", 0, Some(4));
            },
            "I7",
        );
        has(
            |ledger, topics| {
                ledger.sent(name(3), "bob", 19_723, name(3).value(3));
                ledger.told(name(3), Told::Accepted { partition: 0, offset: 2, chain: 0 });
                topics.events[0].push(stored(2, 3));
            },
            "I8",
        );
        has(|ledger, _| ledger.chain_changed(1, 0, 1), "I8");
        has(|ledger, _| ledger.chain_changed(2, 0, 1), "I8");
    }
}

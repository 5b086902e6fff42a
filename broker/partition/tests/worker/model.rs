//! What a partition should do, as plain as it can be said: a list of records and a fold over it in
//! `BTreeMap`s. Shares no code with the product, not even its types.

use std::collections::BTreeMap;

pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Events whose value begins so are dropped.
pub const DROP: &str = "drop";

/// How many events of a key a chain lets pass a day.
pub fn limit_of(revision: u64) -> u64 {
    2 + revision % 3
}

/// Whether a chain stamps what it lets pass.
pub fn swaps(revision: u64) -> bool {
    revision.is_multiple_of(2)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Dropped,
    Refused(String),
    Aborted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Fault(&'static str),
    Judged { first_offset: u64, outcomes: Vec<Outcome>, time: u64, chain: u64, duplicate: bool },
    Changed { offset: u64 },
}

/// What somebody is to hear, and how many records have to be durable before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub told: Told,
    pub after: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Batch,
    Chain,
    Mark,
}

/// What one commit should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    pub time: u64,
    pub chain: u64,
    pub first_offset: u64,
    pub relayed: u64,
    /// Id, epoch and first sequence.
    pub producer: Option<(u64, u16, u32)>,
    pub outcomes: Vec<Outcome>,
    pub stored: Vec<String>,
    pub notices: Vec<String>,
    pub counts: BTreeMap<(u8, u64), (u64, bool)>,
}

/// One batch on its way.
#[derive(Debug, Clone)]
pub struct Sent {
    pub producer: Option<(u64, u16, u32)>,
    pub all_or_nothing: bool,
    /// Key and value.
    pub events: Vec<(u8, String)>,
}

#[derive(Debug, Clone, Default)]
struct Producer {
    epoch: u16,
    next: u32,
    used: u64,
    /// By first sequence: the index of its record.
    batches: BTreeMap<u32, usize>,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub records: Vec<Record>,
    /// The machine's clock.
    pub clock: u64,
    /// The partition time.
    pub time: u64,
    pub offset: u64,
    pub chain: u64,
    /// What the relay said last, recorded or not.
    pub relayed: u64,
    pub counts: BTreeMap<(u8, u64), (u64, bool)>,
    /// Where each notice is, and its text.
    pub notices: Vec<(usize, String)>,
    producers: BTreeMap<u64, Producer>,
}

impl Model {
    /// Of an empty log.
    pub fn begin(clock: u64) -> Self {
        Self { clock, ..Self::default() }
    }

    fn now(&self) -> u64 {
        self.clock.max(self.time)
    }

    fn empty(&self, kind: Kind, chain: u64) -> Record {
        Record {
            kind,
            time: self.now(),
            chain,
            first_offset: self.offset,
            relayed: self.relayed,
            producer: None,
            outcomes: Vec::new(),
            stored: Vec::new(),
            notices: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    fn push(&mut self, record: Record) {
        let index = self.records.len();
        self.time = record.time;
        self.chain = record.chain;
        self.offset += record.stored.len() as u64;
        self.counts.extend(record.counts.clone());
        self.notices.extend(record.notices.iter().map(|notice| (index, notice.clone())));
        if let Some((id, epoch, first)) = record.producer {
            let producer = self.producers.entry(id).or_default();
            if producer.epoch != epoch {
                *producer = Producer { epoch, ..Producer::default() };
            }
            producer.batches.insert(first, index);
            producer.next = first + record.outcomes.len() as u32;
            producer.used = record.time;
        }
        // A week after their verdicts are forgotten, producers are.
        self.producers.retain(|_, producer| record.time < producer.used + 7 * DAY_MS);
        self.records.push(record);
    }

    /// A crash left the first `count` records.
    pub fn cut(&mut self, count: usize) {
        let mut left = Self { clock: self.clock, ..Self::default() };
        for record in self.records.drain(..count) {
            left.relayed = record.relayed;
            left.push(record);
        }
        *self = left;
    }

    /// The same where only a group is gone: what the relay said is remembered.
    pub fn take_back(&mut self, count: usize) {
        let relayed = self.relayed;
        self.cut(count);
        self.relayed = relayed;
    }

    pub fn change_chain(&mut self, revision: u64) -> Expected {
        let offset = self.offset;
        self.push(self.empty(Kind::Chain, revision));
        Expected { told: Told::Changed { offset }, after: self.records.len() }
    }

    pub fn mark(&mut self) {
        self.push(self.empty(Kind::Mark, self.chain));
    }

    /// What the producer's next sequence is, if it is known.
    pub fn next_sequence(&self, id: u64) -> (u16, u32) {
        self.producers.get(&id).map_or((0, 0), |producer| (producer.epoch, producer.next))
    }

    pub fn publish(&mut self, sent: &Sent) -> Expected {
        if let Some(known) = self.known(sent) {
            return known;
        }
        let now = self.now();
        let mut record = self.empty(Kind::Batch, self.chain);
        record.producer = sent.producer;
        for (key, value) in &sent.events {
            let outcome = self.judge(&mut record, *key, value, now / DAY_MS);
            record.outcomes.push(outcome);
        }
        let all_accepted = record.outcomes.iter().all(|outcome| *outcome == Outcome::Accepted);
        if sent.all_or_nothing && !all_accepted {
            for outcome in &mut record.outcomes {
                if *outcome == Outcome::Accepted {
                    *outcome = Outcome::Aborted;
                }
            }
            record.stored.clear();
            record.notices.clear();
            record.counts.clear();
        }
        let told = Told::Judged {
            first_offset: self.offset,
            outcomes: record.outcomes.clone(),
            time: now,
            chain: self.chain,
            duplicate: false,
        };
        let leaves_something = record.producer.is_some()
            || !record.stored.is_empty()
            || !record.counts.is_empty()
            || !record.notices.is_empty();
        if leaves_something {
            self.push(record);
        }
        // A refusal that leaves nothing rests upon all that was judged before.
        Expected { told, after: self.records.len() }
    }

    fn judge(&self, record: &mut Record, key: u8, value: &str, day: u64) -> Outcome {
        if value.starts_with(DROP) {
            return Outcome::Dropped;
        }
        let at = (key, day);
        let count = record.counts.get(&at).or_else(|| self.counts.get(&at));
        let (passed, noticed) = count.copied().unwrap_or_default();
        if passed < limit_of(self.chain) {
            record.counts.insert(at, (passed + 1, noticed));
            record.stored.push(match swaps(self.chain) {
                true => format!("{value} r{}", self.chain),
                false => value.to_owned(),
            });
            return Outcome::Accepted;
        }
        if !noticed {
            record.counts.insert(at, (passed, true));
            record.notices.push(format!("{key} on day {day}"));
        }
        Outcome::Refused(passed.to_string())
    }

    /// What the numbers of a batch alone decide.
    fn known(&self, sent: &Sent) -> Option<Expected> {
        let (id, epoch, first) = sent.producer?;
        let count = sent.events.len() as u32;
        let fault = |code| Some(Expected { told: Told::Fault(code), after: 0 });
        let Some(producer) = self.producers.get(&id) else {
            return if first == 0 { None } else { fault("expired") };
        };
        if epoch < producer.epoch {
            return fault("producer-fenced");
        }
        if epoch > producer.epoch {
            return if first == 0 { None } else { fault("out-of-order-sequence") };
        }
        if first == producer.next {
            return None;
        }
        if first > producer.next {
            return fault("out-of-order-sequence");
        }
        let remembered = |sequence: u32| {
            let (from, index) = producer.batches.range(..=sequence).next_back()?;
            let fresh = self.now() < self.records[*index].time + DAY_MS;
            fresh.then_some((*from, *index))
        };
        if remembered(first).is_none() {
            return fault("expired");
        }
        if first + count > producer.next {
            return fault("out-of-order-sequence");
        }
        let mut outcomes: Vec<Outcome> = Vec::new();
        let mut head: Option<(u64, u64, u64)> = None;
        let (mut end, mut split, mut last) = (0, false, 0);
        let mut next = first;
        while next < first + count {
            let (from, index) = remembered(next)?;
            let record = &self.records[index];
            let skip = (next - from) as usize;
            let take = ((first + count - next) as usize).min(record.outcomes.len() - skip);
            let accepted = |outcomes: &[Outcome]| {
                outcomes.iter().filter(|outcome| **outcome == Outcome::Accepted).count() as u64
            };
            let part = &record.outcomes[skip..skip + take];
            let begins = record.first_offset + accepted(&record.outcomes[..skip]);
            // An answer has room for one first offset.
            split |= accepted(&outcomes) > 0 && accepted(part) > 0 && begins != end;
            let (offset, time, chain) = head.unwrap_or((begins, record.time, record.chain));
            head = Some((if accepted(&outcomes) == 0 { begins } else { offset }, time, chain));
            if accepted(part) > 0 {
                end = begins + accepted(part);
            }
            outcomes.extend_from_slice(part);
            last = index + 1;
            next += take as u32;
        }
        let (first_offset, time, chain) = head?;
        let told = match split {
            true => Told::Fault("out-of-order-sequence"),
            false => Told::Judged { first_offset, outcomes, time, chain, duplicate: true },
        };
        Some(Expected { told, after: last })
    }
}

//! A partition on a simulated disk, who publishes to it and who reads it, and what is left of it
//! after a power cut.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::FutureExt;
use tokio::runtime::Handle;
use weir::subscription::Subscription;
use weir_log::PartitionLog;
use weir_log::blocking::Blocking;
use weir_log::commit::{Identity, Kind, Stored as StoredCommit};
use weir_log::segment::{Machine, Options, SegmentLog};
use weir_log::simulated_disk::{Fate, SimulatedDisk};
use weir_log::turn::pause;
use weir_partition::{Answer, Batch, Chain, Mode, Origin, Partition, PartitionOptions, Source};
use weir_views::store::Store;
use weir_wire::admin::Durability;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{
    Offset, PartitionId, Position, Principal, ProducerEpoch, ProducerId, Sequence, Timestamp,
    TopicId, TopicName,
};
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Compression, Event, RecordBatch};
use weir_wire::verdict::Verdict;

use super::parity::refusal;
use super::turns::Turns;
use crate::ledger::{Ledger, Name, Stored, Told, Topics};

/// A few commits of a few events, so that a schedule rolls more than once.
const SEGMENT_BYTES: u64 = 900;
const FOLDER: &str = "/log";

/// What stays when everything that runs is gone.
#[derive(Clone)]
pub struct Ground {
    pub turns: Turns,
    pub disk: SimulatedDisk,
    store: Store,
    ledger: Arc<Mutex<Ledger>>,
}

fn identity() -> Identity {
    Identity { topic: TopicId(17), partition: PartitionId(0) }
}

impl Ground {
    pub fn new(turns: &Turns) -> Self {
        let disk = SimulatedDisk::default();
        disk.set_hook(|_| {
            pause();
            Fate::Done
        });
        let ledger = Arc::new(Mutex::new(Ledger::new(None)));
        Self { turns: turns.clone(), disk, store: Store::in_memory(), ledger }
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// The disk, and whoever takes turns in working for it.
    pub fn machine(&self) -> Machine {
        Machine { disk: Arc::new(self.disk.clone()), blocking: self.turns.blocking() }
    }

    /// The same where nothing takes turns, and nothing waits.
    pub fn machine_at_rest(&self) -> Machine {
        Machine { disk: Arc::new(self.disk.clone()), blocking: Blocking::by(|work| work()) }
    }

    pub async fn open(&self, chain: Chain) -> Partition {
        let options = Options { segment_bytes: SEGMENT_BYTES, ..Options::default() };
        self.open_on(self.machine(), options, chain).await
    }

    pub async fn open_on(&self, machine: Machine, options: Options, chain: Chain) -> Partition {
        let log = SegmentLog::open(&machine, Path::new(FOLDER), identity(), options);
        let options = PartitionOptions {
            topic: TopicName::parse("events").unwrap(),
            partition: PartitionId(0),
            log: Arc::new(log.unwrap()),
            durability: Durability::Durable,
            fold: self.store.partition(identity().topic, identity().partition),
            chain,
            chain_note: Bytes::new(),
            blocking: machine.blocking,
            clock: Arc::new(|| Timestamp(1_000)),
        };
        Partition::open(options, &Handle::current()).await.unwrap().0
    }

    /// Publishes `batches` batches of one or two events, some before the answers of others came,
    /// some twice, until all are told or the partition closes.
    pub async fn publish(self, partition: Partition, producer: u32, batches: u64) {
        let (mut number, mut waiting) = (0, Vec::new());
        for _ in 0..batches {
            let first = number;
            number += 1 + self.turns.below(2);
            let names: Vec<_> = (first..number).map(|number| Name { producer, number }).collect();
            for name in &names {
                let day = 20_000 + name.number;
                self.ledger().sent(*name, &format!("u{producer}"), day, name.value(0));
            }
            for _ in 0..1 + u64::from(self.turns.below(4) == 0) {
                match partition.submit(batch(&names)).await {
                    Ok(pending) => waiting.push((names.clone(), pending.answer())),
                    Err(fault) => return self.refused(&fault),
                }
            }
            if self.turns.below(2) == 0 {
                let (names, answer) = waiting.remove(0);
                self.told(&names, answer.await);
            }
        }
        for (names, answer) in waiting {
            self.told(&names, answer.await);
        }
    }

    fn refused(&self, fault: &Fault) {
        // The only reason that there is here. What was refused at the door was not judged, and has
        // no answer in the ledger.
        assert!(fault.code == Code::ShuttingDown, "{fault}");
    }

    pub fn told(&self, names: &[Name], answer: Result<Answer, Fault>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return self.refused(&fault),
        };
        let mut offset = answer.first_offset.0;
        for (name, verdict) in names.iter().zip(answer.verdicts.iter()) {
            let told = match verdict {
                Verdict::Accepted => {
                    offset += 1;
                    Told::Accepted { partition: 0, offset: offset - 1, chain: answer.chain.0 }
                }
                Verdict::Rejected(why) => Told::Rejected(why.code.clone()),
                other => panic!("the rule does not say {other:?}"),
            };
            self.ledger().told(*name, told);
        }
    }

    /// Reads until it was given `events` of them.
    pub async fn read(self, partition: Partition, events: usize) {
        let mut given = 0;
        let mut subscription = Subscription::new(partition, Offset(0), None, 0, None);
        while given < events {
            let Ok(Some((batches, ..))) = subscription.next().await else { return };
            for stored in events_in(batches) {
                self.ledger().given(0, &stored);
                given += 1;
            }
        }
    }

    /// What the disk kept, against everything that was told. At rest, after a power cut.
    pub fn judge(&self, findings: &mut Vec<String>) {
        let options = Options { may_create: false, verify_all: true, ..Options::default() };
        let machine = self.machine_at_rest();
        let log = match SegmentLog::open(&machine, Path::new(FOLDER), identity(), options) {
            Ok(log) => log,
            Err(error) => return findings.push(format!("the log does not open: {error}")),
        };
        let commits = log.read(Position(0), usize::MAX).now_or_never().unwrap().unwrap();
        let fetched = log.fetch(Offset(0), usize::MAX).now_or_never().unwrap().unwrap();
        check_chains(&commits, findings);
        let saved = self.store.partition(identity().topic, identity().partition).load();
        let end = log.tail().borrow().position;
        if saved.is_some_and(|saved| end < saved.position()) {
            findings.push(format!("a checkpoint knows more than the log, which ends at {end}"));
        }
        let events = vec![events_in(fetched.batches)];
        let topics = Topics { events, ..Topics::default() };
        let found = self.ledger().check(&topics);
        findings.extend(found.iter().map(ToString::to_string));
    }
}

/// I8: an event is judged by the chain that was at work where it stands, and by no other.
fn check_chains(commits: &[StoredCommit], findings: &mut Vec<String>) {
    let mut chain = 0;
    for StoredCommit { position, commit } in commits {
        match commit.kind {
            Kind::Chain if commit.chain.0 <= chain => {
                findings.push(format!("{position}: chain {} behind {chain}", commit.chain));
            }
            Kind::Chain => chain = commit.chain.0,
            Kind::Batch if commit.chain.0 != chain => {
                findings.push(format!("{position}: judged by {}, not by {chain}", commit.chain));
            }
            _ => {}
        }
        let events = if commit.events == 0 { Vec::new() } else { vec![commit.data.clone()] };
        for stored in events_in(events) {
            let name = Name::in_value(&stored.value).unwrap();
            if refusal(chain, name.number).is_some() {
                findings.push(format!("{position}: {name} was not judged by chain {chain}"));
            }
        }
    }
}

pub fn batch(names: &[Name]) -> Batch {
    let mut builder = BatchBuilder::default();
    for name in names {
        let event = Event { value: Some(name.value(0).into()), ..Event::default() };
        builder.push(&event.as_record());
    }
    let encoded = RecordBatch::parse(builder.finish(Compression::None)).unwrap();
    let records = encoded.open(&BatchLimits::default()).unwrap();
    let origin = Origin::Producer {
        id: ProducerId(names[0].producer.into()),
        epoch: ProducerEpoch(0),
        first: Sequence::new(names[0].number as u32),
    };
    let publisher = Principal::parse("tester").unwrap();
    Batch { publisher, mode: Mode::PerEvent, origin, source: Source::Untold, encoded, records }
}

fn events_in(batches: Vec<Bytes>) -> Vec<Stored> {
    let mut events = Vec::new();
    for bytes in batches {
        let batch = RecordBatch::parse(bytes).unwrap();
        let first = u64::try_from(batch.header().base_offset).unwrap();
        let records = batch.open(&BatchLimits::default()).unwrap();
        for (offset, event) in (first..).zip(records.events()) {
            let value = event.value.as_ref().map_or(vec![], |value| value.to_vec());
            events.push(Stored { offset, value, headers: Vec::new() });
        }
    }
    events
}

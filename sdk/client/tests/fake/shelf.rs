//! What the broker of paper knows: logs, sequences, committed offsets, and what it has seen.

use std::collections::HashMap;

use bytes::Bytes;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{Offset, Timestamp};
use weir_wire::proto::client_frame::Kind as Ask;
use weir_wire::proto::list_offsets_request::At;
use weir_wire::proto::server_frame::Kind as Answer;
use weir_wire::proto::{self, Edge, PartitionOffset};
use weir_wire::record_batch::{BatchBuilder, Compression, Event, RecordBatch, stamp};
use weir_wire::verdict::{Rejection, Verdict, Verdicts};

use super::TOPIC;

/// One publish request that arrived, judged or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub partition: u32,
    pub producer: i64,
    pub sequence: i32,
    pub values: Vec<String>,
    pub bytes: Bytes,
}

pub struct Shelf {
    partitions: u32,
    /// Per partition, batches with the offset behind each.
    logs: Vec<Vec<(u64, Bytes)>>,
    producers: i64,
    /// The next sequence of each producer in each partition.
    expected: HashMap<(i64, u32), i32>,
    judged: HashMap<(i64, u32, i32), proto::Judged>,
    /// What retention has left, per partition.
    earliest: Vec<u64>,
    pub committed: HashMap<u32, u64>,
    /// Every commit that came, in order: partition and offset.
    pub commits: Vec<(u32, u64)>,
    pub seen: Vec<Seen>,
}

impl Shelf {
    pub fn new(partitions: u32) -> Self {
        Self {
            partitions,
            logs: vec![Vec::new(); partitions as usize],
            producers: 0,
            expected: HashMap::new(),
            judged: HashMap::new(),
            earliest: vec![0; partitions as usize],
            committed: HashMap::new(),
            commits: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// The values in a partition's log.
    pub fn values(&self, partition: u32) -> Vec<String> {
        let log = self.logs[partition as usize].iter();
        log.flat_map(|(_, batch)| values(batch)).collect()
    }

    pub fn see(&mut self, partition: u32, batch: &Bytes) {
        let header = *RecordBatch::parse(batch.clone()).unwrap().header();
        self.seen.push(Seen {
            partition,
            producer: header.producer_id,
            sequence: header.base_sequence,
            values: values(batch),
            bytes: batch.clone(),
        });
    }

    pub fn judge(&mut self, partition: u32, bytes: &Bytes) -> Result<proto::Judged, Fault> {
        let batch = RecordBatch::parse(bytes.clone())?;
        let header = batch.header();
        let key = (header.producer_id, partition, header.base_sequence);
        if let Some(judged) = self.judged.get(&key) {
            return Ok(proto::Judged { duplicate: true, ..judged.clone() });
        }
        let expected = self.expected.entry((header.producer_id, partition)).or_default();
        if *expected != header.base_sequence {
            let sentence = format!("expected {expected}, got {}", header.base_sequence);
            return Err(Fault::new(Code::OutOfOrderSequence, sentence));
        }
        *expected += header.records as i32;
        let (mut verdicts, mut admitted) = (Verdicts::default(), Vec::new());
        for event in batch.open(&Default::default())?.events() {
            let value = event.value.clone().unwrap_or_default();
            verdicts.push(if value.starts_with(b"no") {
                Verdict::Rejected(Rejection {
                    plugin: "paper".into(),
                    code: "no".into(),
                    message: "it begins with no".into(),
                    retry_after_ms: Some(1000),
                    fault: false,
                })
            } else if value.starts_with(b"drop") {
                Verdict::Dropped { plugin: "paper".into() }
            } else {
                admitted.push(event);
                Verdict::Accepted
            });
        }
        let judged = proto::Judged {
            first_offset: self.append(partition, admitted),
            verdicts: Some((&verdicts).into()),
            partition_time_ms: 1,
            chain_revision: 1,
            durability: proto::Durability::Durable.into(),
            duplicate: false,
            consumed: false,
        };
        self.judged.insert(key, judged.clone());
        Ok(judged)
    }

    /// Stores events as one batch and returns the offset of the first.
    pub fn append(&mut self, partition: u32, events: Vec<Event>) -> u64 {
        let first = self.end(partition);
        if !events.is_empty() {
            let mut builder = BatchBuilder::default();
            let next = first + events.len() as u64;
            events.iter().for_each(|event| builder.push(&event.as_record()));
            let mut batch = builder.finish(Compression::None).to_vec();
            stamp(&mut batch, Offset(first), 0);
            self.logs[partition as usize].push((next, batch.into()));
        }
        first
    }

    /// Retention removes the batches before `offset`, which begins one.
    pub fn trim(&mut self, partition: u32, offset: u64) {
        self.earliest[partition as usize] = offset;
        self.logs[partition as usize].retain(|(next, _)| offset < *next);
    }

    /// Where nothing is to be read, and never will be.
    pub fn missing(&self, partition: u32, offset: u64) -> Option<Fault> {
        let (earliest, end) = (self.earliest[partition as usize], self.end(partition));
        let sentence = format!("offset {offset} is not there: {earliest} to {end} is");
        let is_there = (earliest..=end).contains(&offset);
        (!is_there).then(|| Fault::new(Code::OffsetOutOfRange, sentence))
    }

    fn end(&self, partition: u32) -> u64 {
        self.logs[partition as usize]
            .last()
            .map_or(self.earliest[partition as usize], |(next, _)| *next)
    }

    /// The batch that has `offset`.
    pub fn read(&self, partition: u32, offset: u64) -> Option<(proto::Fetched, Bytes)> {
        let (next, batch) =
            self.logs[partition as usize].iter().find(|(next, _)| offset < *next)?;
        let high_watermark = self.end(partition);
        Some((proto::Fetched { next_offset: *next, high_watermark }, batch.clone()))
    }

    pub fn call(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::DescribeTopic(request) if request.topic == TOPIC => {
                Answer::DescribeTopic(proto::DescribeTopicAnswer {
                    topic: request.topic,
                    topic_id: 1,
                    partitions: self.partitions,
                    durability: 0,
                })
            }
            Ask::DescribeTopic(request) => {
                let sentence = format!("there is no topic {:?}", request.topic);
                Answer::Fault(Fault::new(Code::UnknownTopic, sentence).into())
            }
            Ask::InitProducer(_) => {
                self.producers += 1;
                let producer_id = self.producers as u64;
                Answer::InitProducer(proto::InitProducerAnswer { producer_id, producer_epoch: 0 })
            }
            Ask::ListOffsets(request) => {
                let all = match request.partitions.is_empty() {
                    true => (0..self.partitions).collect(),
                    false => request.partitions,
                };
                let place = |partition: u32| match request.at.unwrap() {
                    At::Edge(edge) if edge == Edge::Earliest as i32 => {
                        self.earliest[partition as usize]
                    }
                    At::Edge(_) => self.end(partition),
                    At::TimestampMs(time) => self.first_since(partition, Timestamp(time)),
                };
                let offsets = all
                    .into_iter()
                    .map(|partition| PartitionOffset { partition, offset: place(partition) });
                Answer::ListOffsets(proto::ListOffsetsAnswer { offsets: offsets.collect() })
            }
            Ask::CommitOffsets(request) => {
                let offsets = request.offsets.iter().map(|at| (at.partition, at.offset));
                self.commits.extend(offsets.clone());
                self.committed.extend(offsets);
                Answer::CommitOffsets(proto::CommitOffsetsAnswer::default())
            }
            Ask::FetchOffsets(_) => {
                let committed = self.committed.iter();
                let offsets =
                    committed.map(|(&partition, &offset)| PartitionOffset { partition, offset });
                Answer::FetchOffsets(proto::FetchOffsetsAnswer { offsets: offsets.collect() })
            }
            // The only member there ever is has everything.
            Ask::JoinGroup(_) | Ask::Heartbeat(_) => Answer::Assignment(proto::Assignment {
                member_id: 1,
                generation: 1,
                partitions: (0..self.partitions).collect(),
                is_complete: true,
            }),
            other => panic!("{other:?} is no call"),
        }
    }

    fn first_since(&self, partition: u32, time: Timestamp) -> u64 {
        let log = self.logs[partition as usize].iter();
        let times = log.flat_map(|(_, batch)| events(batch)).map(|event| event.timestamp);
        (0..)
            .zip(times)
            .find(|(_, at)| time <= *at)
            .map_or(self.end(partition), |(offset, _)| offset)
    }
}

fn events(batch: &Bytes) -> Vec<Event> {
    RecordBatch::parse(batch.clone()).unwrap().open(&Default::default()).unwrap().events().collect()
}

fn values(batch: &Bytes) -> Vec<String> {
    let text = |event: Event| String::from_utf8(event.value.unwrap_or_default().to_vec()).unwrap();
    events(batch).into_iter().map(text).collect()
}

//! `weir dead-letter redrive`: sends refused events once more to where they were refused.
//!
//! Promises: what is on its way when the command starts is what it sends, so it ends although events
//! refused anew come back behind; a letter is remembered as sent only after the broker's verdict, so
//! nothing is lost at any interruption, and no more than [`CHUNK_LETTERS`] can be sent twice by one.
//! Not here: judging; a letter stays in its topic, whatever became of the event.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use weir_client::{
    Client, ClientError, Consumer, ConsumerOptions, Delivery, Event, From, Producer,
    ProducerOptions,
};
use weir_wire::dead_letter::{DeadLetter, original};
use weir_wire::ids::{GroupName, Offset, PartitionId, TopicName};

use super::Selection;
use super::memory::{GROUP_BYTES_MAX, Kind, Memory};
use crate::cli::Failure;
use crate::cli::context;
use crate::cli::output::Output;
use crate::cli::progress;
use crate::cli::start::start;
use crate::cli::tally::{RefusedFile, Tally};
use crate::table::thousands;

/// Letters that are sent, answered and remembered together: what a kill -9 can make to be sent twice.
/// Enough that waiting for the disk twice per chunk costs little.
const CHUNK_LETTERS: usize = 500;

/// Send the events that a dead-letter topic keeps once more to where they were refused.
///
/// They are judged anew, each in the partition where it was refused. What is accepted is in its topic;
/// what is refused again comes back as a new dead letter, if its plugin still keeps them. The letters
/// stay. How far a redrive came is remembered, for everything or for each selection, so that a
/// second run sends only what was not sent before, also after Ctrl-C. After a kill -9 or a lost
/// answer it is at least once: up to 500 events may be sent a second time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir dead-letter redrive refused
  weir dead-letter redrive refused --code plugin-timeout --dry-run
  weir dead-letter redrive refused --plugin daily-limit --to flights-late --rejected again.jsonl")]
pub struct Redrive {
    /// The dead-letter topic.
    topic: TopicName,
    /// Send to this topic, by key, instead of where each event was refused.
    #[arg(long, value_name = "TOPIC")]
    to: Option<TopicName>,
    #[command(flatten)]
    selection: Selection,
    /// Begin here instead of where --group stopped, and send again what was sent already: earliest,
    /// an offset, or a time of the events. What lies before is passed over.
    #[arg(long, value_name = "earliest|OFFSET|RFC3339", value_parser = start)]
    from: Option<From>,
    /// End after this many.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Count what would be sent, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Whose memory of what was sent to use; run one redrive of a group at a time.
    #[arg(long, default_value = "redrive", value_parser = group)]
    group: GroupName,
    /// Gets one line {"partition":N,"offset":N,"code":…,"message":…} per event refused again.
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
}

/// A group's name that has room for the kinds of letters.
fn group(text: &str) -> Result<GroupName, String> {
    if text.len() > GROUP_BYTES_MAX {
        return Err(format!("a redrive's group has {GROUP_BYTES_MAX} bytes at most"));
    }
    GroupName::parse(text).map_err(|error| error.to_string())
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Summary {
    #[serde(flatten)]
    tally: Tally,
    /// Events of the dead-letter topic that are no dead letters: not sent.
    #[serde(skip_serializing_if = "is_zero")]
    others: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where a letter stands that was refused again.
#[derive(Debug, Serialize)]
struct Place {
    partition: PartitionId,
    offset: Offset,
}

/// A letter on its way.
struct Letter {
    partition: PartitionId,
    offset: Offset,
    why: DeadLetter,
    event: Event,
}

impl Redrive {
    /// Connects, reads, sends, remembers, and prints the summary.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        if self.to.as_ref() == Some(&self.topic) {
            return Err(Failure::new(
                "--to names the dead-letter topic itself; choose another, or leave it out",
            ));
        }
        let client = context::patient_client(context).await?;
        let memory = Memory::open(&client, &self.topic, self.group.clone()).await?;
        let width = client.topic(&self.topic).await?.partitions;
        let options = ConsumerOptions {
            // All of them, and as no member: what is done is committed letter by letter.
            partitions: Some((0..width).map(PartitionId).collect()),
            from: self.from.unwrap_or(From::Committed),
            until_end: true,
            group: Some(self.group.clone()),
            ..ConsumerOptions::default()
        };
        let consumer = client.consumer(&self.topic, options).await?;
        let total = match self.from {
            None => Some(self.waiting(&client).await?),
            Some(_) => None,
        };
        let mut driving = Driving {
            refused: RefusedFile::create(self.rejected.as_deref().filter(|_| !self.dry_run))?,
            left: self.count.unwrap_or(u64::MAX),
            redrive: self,
            client: client.clone(),
            consumer,
            memory,
            producers: HashMap::new(),
            read: BTreeMap::new(),
            summary: Summary::default(),
            bar: progress::over_events(total, "redriving"),
        };
        let end = driving.run().await;
        driving.bar.finish_and_clear();
        let Driving { redrive, consumer, producers, summary, .. } = driving;
        let printed = output.answer(&summary, |summary| redrive.told(summary));
        let closed = consumer.close().await;
        for (_, (producer, _)) in producers {
            producer.close().await;
        }
        client.close().await;
        end.and(printed).and(closed.map_err(Failure::from))
    }

    /// How many events of the topic the group has not passed.
    async fn waiting(&self, client: &Client) -> Result<u64, Failure> {
        let earliest = client.earliest_offsets(&self.topic).await?;
        let mut begins: BTreeMap<_, _> = earliest.into_iter().collect();
        for (partition, next) in client.committed_offsets(&self.group, &self.topic).await? {
            let begin = begins.entry(partition).or_insert(next);
            *begin = next.max(*begin);
        }
        let ends = client.latest_offsets(&self.topic).await?;
        let left = |(at, end): (PartitionId, Offset)| {
            end.0.saturating_sub(begins.get(&at).map_or(0, |begin| begin.0))
        };
        Ok(ends.into_iter().map(left).sum())
    }

    fn told(&self, summary: &Summary) -> String {
        let mut text = match self.dry_run {
            true => {
                format!("{} events would be sent; nothing was\n", thousands(summary.tally.sent))
            }
            false => summary.tally.table(),
        };
        if 0 < summary.others {
            text += &format!(
                "{} events of {} are no dead letters and were left alone\n",
                thousands(summary.others),
                self.topic
            );
        }
        text
    }
}

/// A redrive at work.
struct Driving {
    redrive: Redrive,
    client: Client,
    consumer: Consumer,
    memory: Memory,
    /// One per topic, with the topic's width.
    producers: HashMap<TopicName, (Producer, u32)>,
    /// Behind the last event that was read and needs nothing more, or is in the chunk at hand.
    read: BTreeMap<PartitionId, Offset>,
    /// How many letters may still be sent.
    left: u64,
    summary: Summary,
    refused: RefusedFile,
    bar: ProgressBar,
}

impl Driving {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        loop {
            let (chunk, end) = self.read_chunk(interrupt.as_mut()).await;
            let is_last = chunk.len() < CHUNK_LETTERS;
            if !self.redrive.dry_run {
                self.send_chunk(chunk).await?;
            } else {
                self.summary.tally.sent += chunk.len() as u64;
            }
            end?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// The next letters to be sent; fewer than a chunk at the end, or for the reason given.
    async fn read_chunk(
        &mut self,
        mut interrupt: Pin<&mut impl Future<Output = std::io::Result<()>>>,
    ) -> (Vec<Letter>, Result<(), Failure>) {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK_LETTERS && 0 < self.left {
            let next = tokio::select! {
                biased;
                _ = interrupt.as_mut() => return (chunk, Err(Failure::new(
                    "interrupted: what was sent is remembered; run the same command to go on",
                ))),
                next = self.consumer.next() => next,
            };
            let consumed = match next {
                None => break,
                Some(Ok(consumed)) => consumed,
                Some(Err(error)) => return (chunk, Err(error.into())),
            };
            let (partition, offset) = (consumed.partition, consumed.offset);
            match DeadLetter::read(&consumed.event) {
                None => self.summary.others += 1,
                Some(Err(error)) => {
                    return (
                        chunk,
                        Err(Failure::new(format!(
                            "the dead letter at offset {offset} of partition {partition} cannot be read: \
                         {error}; pass over it with --from {}",
                            offset.plus(1)
                        ))),
                    );
                }
                Some(Ok(why)) => match self.wants(&why, partition, offset).await {
                    Ok(false) => {}
                    Ok(true) => {
                        let event = original(consumed.event);
                        chunk.push(Letter { partition, offset, why, event });
                        self.left -= 1;
                    }
                    Err(error) => return (chunk, Err(error.into())),
                },
            }
            self.read.insert(partition, offset.plus(1));
            self.bar.inc(1);
        }
        (chunk, Ok(()))
    }

    async fn wants(
        &mut self,
        why: &DeadLetter,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<bool, ClientError> {
        let is_wanted = self.redrive.selection.has(why);
        // Whoever says where to begin wants to send again what was sent.
        if !is_wanted || self.redrive.from.is_some() {
            return Ok(is_wanted);
        }
        Ok(!self.memory.has(&Kind::of(why), partition, offset).await?)
    }

    /// Sends, waits for every verdict, and remembers what has one.
    async fn send_chunk(&mut self, chunk: Vec<Letter>) -> Result<(), Failure> {
        let mut end = Ok(());
        let mut sent = Vec::new();
        // Places of letters that have no verdict: nothing behind them is remembered.
        let mut open: BTreeMap<PartitionId, Offset> = BTreeMap::new();
        for letter in chunk {
            let Letter { partition, offset, why, event } = letter;
            let kind = Kind::of(&why);
            match end.is_ok() {
                false => drop(open.entry(partition).or_insert(offset)),
                true => match self.send(&why, event).await {
                    Ok(delivery) => sent.push((Place { partition, offset }, kind, delivery)),
                    Err(error) => {
                        open.entry(partition).or_insert(offset);
                        end = Err(at(partition, offset, &why.topic, &error));
                    }
                },
            }
        }
        for (producer, _) in self.producers.values() {
            producer.flush().await;
        }
        let mut kinds: HashMap<Kind, BTreeMap<PartitionId, Offset>> = HashMap::new();
        for (place, kind, delivery) in sent {
            let Place { partition, offset } = place;
            let outcome = delivery.await;
            if let Some(refused) = self.summary.tally.count(place, &outcome) {
                self.refused.write(&refused)?;
            }
            match outcome {
                Ok(_) if open.get(&partition).is_none_or(|open| offset < *open) => {
                    kinds.entry(kind).or_default().insert(partition, offset.plus(1));
                }
                Ok(_) => {}
                Err(error) => {
                    open.entry(partition).or_insert(offset);
                    end = end.and(Err(without_verdict(partition, offset, &error)));
                }
            }
        }
        self.refused.flush()?;
        let remembered = self.remember(kinds, &open).await;
        end.and(remembered.map_err(Failure::from))
    }

    async fn send(&mut self, why: &DeadLetter, event: Event) -> Result<Delivery, ClientError> {
        let topic = self.redrive.to.as_ref().unwrap_or(&why.topic);
        if !self.producers.contains_key(topic) {
            let producer = self.client.producer(topic, ProducerOptions::default()).await?;
            let width = self.client.topic(topic).await?.partitions;
            self.producers.insert(topic.clone(), (producer, width));
        }
        let (producer, width) = &self.producers[topic];
        // Where it was judged, its key's state is; a topic made anew may have fewer partitions.
        if self.redrive.to.is_none() && why.partition.0 < *width {
            producer.send_to(why.partition, event).await
        } else {
            producer.send(event).await
        }
    }

    async fn remember(
        &mut self,
        kinds: HashMap<Kind, BTreeMap<PartitionId, Offset>>,
        open: &BTreeMap<PartitionId, Offset>,
    ) -> Result<(), ClientError> {
        if !self.redrive.selection.is_all() {
            for (kind, places) in &kinds {
                self.memory.kind_done(kind, places).await?;
            }
            return Ok(());
        }
        let place = |(&partition, &read): (&PartitionId, &Offset)| {
            (partition, open.get(&partition).map_or(read, |open| read.min(*open)))
        };
        self.memory.all_done(&self.read.iter().map(place).collect()).await
    }
}

fn at(partition: PartitionId, offset: Offset, topic: &TopicName, error: &ClientError) -> Failure {
    Failure::new(format!(
        "the event at offset {offset} of partition {partition} cannot be sent to {topic}: {error}; \
         --to sends it to another topic. Run again to go on from there"
    ))
}

fn without_verdict(partition: PartitionId, offset: Offset, error: &ClientError) -> Failure {
    Failure::new(match error {
        ClientError::Unknown => format!(
            "from offset {offset} of partition {partition} on the broker's answer was lost for good: \
             events counted as unknown may be in their topic or not, and the next run sends them again"
        ),
        error => format!(
            "the event at offset {offset} of partition {partition} has no verdict: {error}; the next \
             run sends it again"
        ),
    })
}

//! `weir consume`: every event one line of JSON.
//!
//! Promises: a group's offsets are committed only after the events before them were written out,
//! so an event may be printed twice and is never missed. A reader that goes away ends it quietly.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::Path;
use std::pin::pin;

use clap::Args;
use futures::FutureExt;
use weir_client::{ConsumedEvent, Consumer, ConsumerOptions, From};
use weir_wire::ids::{GroupName, Offset, PartitionId, TopicName};

use super::Failure;
use super::context;
use super::event_json;
use super::output::unwritable;
use super::start::start;

/// Events printed between two looks at Ctrl-C and two commits, while more are ready.
const EVENTS_PER_COMMIT: u64 = 1_000;
/// Bytes of lines that wait to be written at most.
const OUT_BYTES: usize = 256 << 10;

/// Print the events of a topic, one line of JSON each.
///
/// Follows the topic until Ctrl-C, --count or --until-end. Each line is
/// {"topic","partition","offset","timestamp","key","value","headers"}; the timestamp is the
/// producer's, in ms since 1970; bytes that are not UTF-8 are {"base64":…}; headers are a list of
/// {"name","value"}. Events of one partition come in order.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir consume flights --from earliest --until-end
  weir consume flights --from 2013-01-02T00:00:00Z --count 10
  weir consume notices --group mailer          goes on where the group stopped; several of these
                                               share the partitions")]
pub struct Consume {
    /// Which topic.
    topic: TopicName,
    /// Read as a member of this group: go on where it stopped, share the partitions with its other
    /// members, and remember how far it got.
    #[arg(long)]
    group: Option<GroupName>,
    /// earliest, latest, an offset, or a time (the first event with that timestamp or a later
    /// one) [default: where --group stopped, else earliest].
    #[arg(long, value_name = "earliest|latest|OFFSET|RFC3339", value_parser = start)]
    from: Option<From>,
    /// Only this partition.
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// End after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End where the topic ends now.
    #[arg(long)]
    until_end: bool,
}

impl Consume {
    /// Prints events until there is a reason to end.
    pub async fn run(self, context: Option<&Path>) -> Result<(), Failure> {
        let client = context::client(context).await?;
        let begin = if self.group.is_some() { From::Committed } else { From::Earliest };
        let options = ConsumerOptions {
            partitions: self.partition.map(|partition| vec![PartitionId(partition)]),
            from: self.from.unwrap_or(begin),
            until_end: self.until_end,
            group: self.group.clone(),
            ..ConsumerOptions::default()
        };
        if let Some(From::Offset(offset)) = self.from {
            self.check(offset, &client.latest_offsets(&self.topic).await?)?;
        }
        let consumer = client.consumer(&self.topic, options).await?;
        let mut printing = Printing {
            consumer,
            commits: self.group.is_some(),
            out: BufWriter::with_capacity(OUT_BYTES, io::stdout().lock()),
            unsettled: 0,
        };
        let end = printing.run(self.count.unwrap_or(u64::MAX)).await;
        let settled = printing.settle().await;
        let closed = printing.consumer.close().await;
        client.close().await;
        end.and(settled).and(closed.map_err(Failure::from))
    }
}

impl Consume {
    /// Partitions differ in length, so an offset has to be within one of those to be read only.
    fn check(&self, offset: Offset, ends: &[(PartitionId, Offset)]) -> Result<(), Failure> {
        let is_wanted =
            |partition: PartitionId| self.partition.is_none_or(|one| one == partition.0);
        let longest =
            ends.iter().filter(|(partition, _)| is_wanted(*partition)).max_by_key(|(_, end)| end);
        match longest {
            Some((partition, end)) if *end < offset => Err(Failure::new(format!(
                "--from {offset} is beyond the end of {}: partition {partition} ends at {end}",
                self.topic
            ))),
            _ => Ok(()),
        }
    }
}

/// A consumer and the lines that were made of its events.
struct Printing {
    consumer: Consumer,
    commits: bool,
    out: BufWriter<StdoutLock<'static>>,
    /// Events given by the consumer that may not have been written out yet.
    unsettled: u64,
}

impl Printing {
    async fn run(&mut self, count: u64) -> Result<(), Failure> {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        for _ in 0..count {
            if self.unsettled == EVENTS_PER_COMMIT {
                self.settle().await?;
                if interrupt.as_mut().now_or_never().is_some() {
                    break;
                }
            }
            let next = match self.consumer.next().now_or_never() {
                Some(next) => next,
                None => {
                    // Nothing is ready: who reads us should have what there is.
                    self.settle().await?;
                    tokio::select! {
                        next = self.consumer.next() => next,
                        _ = interrupt.as_mut() => break,
                    }
                }
            };
            let Some(event) = next else { break };
            self.print(&event?)?;
        }
        Ok(())
    }

    fn print(&mut self, consumed: &ConsumedEvent) -> Result<(), Failure> {
        self.unsettled += 1;
        let ConsumedEvent { topic, partition, offset, event } = consumed;
        event_json::write(&mut self.out, topic, *partition, *offset, event).map_err(unwritable)
    }

    /// Writes out what was printed, then commits it: never the other way round.
    async fn settle(&mut self) -> Result<(), Failure> {
        if self.unsettled == 0 {
            return Ok(());
        }
        self.out.flush().map_err(unwritable)?;
        if self.commits {
            self.consumer.commit().await?;
        }
        self.unsettled = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_offset_behind_every_end_is_a_mistake() {
        let check = |partition: Option<u32>, offset| {
            let topic = TopicName::parse("flights").unwrap();
            let consume =
                Consume { topic, group: None, from: None, partition, count: None, until_end: true };
            let ends = [(PartitionId(0), Offset(3)), (PartitionId(1), Offset(9))];
            consume.check(Offset(offset), &ends).err().map(|failure| failure.to_string())
        };
        assert_eq!(check(None, 9), None);
        assert_eq!(check(Some(0), 3), None);
        expect!["--from 10 is beyond the end of flights: partition 1 ends at 9"]
            .assert_eq(&check(None, 10).unwrap());
        expect!["--from 4 is beyond the end of flights: partition 0 ends at 3"]
            .assert_eq(&check(Some(0), 4).unwrap());
    }
}

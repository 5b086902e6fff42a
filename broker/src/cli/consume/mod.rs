//! `weir consume`: every event one line of JSON.
//!
//! Promises: a group's offsets are committed only after the events before them were written out,
//! so an event may be printed twice and is never missed; at Ctrl-C and SIGTERM what was printed is
//! committed and the group left. A reader that goes away ends it quietly.

mod printing;
mod reading;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use weir_client::{Client, ConsumerOptions, Filter, From, HeaderFilter, Until};
use weir_wire::ids::{GroupName, Offset, PartitionId, TopicName};

use super::start::{end, start};
use super::{Failure, context, progress, remark};
use printing::Printing;
use reading::Reading;

/// How often a group's progress is stored: at most the events of this time are printed again after
/// a kill, and the broker's disk has one write in it.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// With --by-time, how long an event waits for partitions that are silent.
const PATIENCE: Duration = Duration::from_millis(500);

/// Print the events of a topic, one line of JSON each.
///
/// Follows the topic until Ctrl-C, --count, --until or --until-end. Each line is
/// {"topic","partition","offset","timestamp","key","value","headers"}; the timestamp is the
/// producer's, in ms since 1970; bytes that are not UTF-8 are {"base64":…}; headers are a list of
/// {"name","value"}. Events of one partition come in order.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir consume flights --from earliest --until-end
  weir consume flights --from 2013-01-02T00:00:00Z --count 10
  weir consume flights --from 2013-06-01T00:00:00Z --until 2013-06-02T00:00:00Z --by-time
                                               a day again, all partitions in the order of time
  weir consume bookings --key-prefix N14 --header region=eu-
  weir consume notices --group mailer          goes on where the group stopped; several of these
                                               share the partitions")]
pub struct Consume {
    /// Which topic.
    topic: TopicName,
    /// Read as a member of this group: go on where it stopped, share the partitions with its other
    /// members, and remember once a second how far it got.
    #[arg(long)]
    group: Option<GroupName>,
    /// earliest, latest, an offset, or a time (the first event with that timestamp or a later
    /// one) [default: where --group stopped, else earliest].
    #[arg(long, value_name = "earliest|latest|OFFSET|RFC3339", value_parser = start)]
    from: Option<From>,
    /// End before this offset of each partition, or before its first event with that timestamp or
    /// a later one; where a partition has not come so far, at its end as it is now.
    #[arg(long, value_name = "OFFSET|RFC3339", value_parser = end)]
    until: Option<Until>,
    /// End where the topic ends now.
    #[arg(long)]
    until_end: bool,
    /// Only this partition.
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// Only events whose key begins so; the broker does not send the others.
    #[arg(long, value_name = "TEXT")]
    key_prefix: Option<String>,
    /// Only events with this header, or with one whose value begins so.
    #[arg(long, value_name = "NAME[=PREFIX]", value_parser = header)]
    header: Option<HeaderFilter>,
    /// The events of all partitions in the order of their timestamps, as far as these rise within
    /// each partition; an event waits half a second for partitions that are silent.
    #[arg(long, conflicts_with = "group")]
    by_time: bool,
    /// End after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Consume {
    /// Prints events until there is a reason to end.
    pub async fn run(self, context: Option<&Path>) -> Result<(), Failure> {
        let client = context::client(context).await?;
        if let Some(From::Offset(offset)) = self.from {
            self.check(offset, &client.latest_offsets(&self.topic).await?)?;
        }
        let mut printing = Printing::new(self.open(&client).await?, bar());
        let end = printing.run(self.count.unwrap_or(u64::MAX)).await;
        // What was printed before something went wrong is printed, and the group's.
        let settled = printing.settle();
        let reading = printing.end();
        let skipped = reading.skipped();
        if 0 < skipped {
            remark(&format!(
                "{skipped} offsets of {} were passed over: their events were removed before they were read",
                self.topic
            ));
        }
        let closed = reading.close().await;
        client.close().await;
        end.and(settled).and(closed.map_err(Failure::from))
    }

    async fn open(&self, client: &Client) -> Result<Reading, Failure> {
        let begin = if self.group.is_some() { From::Committed } else { From::Earliest };
        let options = ConsumerOptions {
            partitions: self.partition.map(|partition| vec![PartitionId(partition)]),
            from: self.from.unwrap_or(begin),
            until_end: self.until_end,
            until: self.until,
            group: self.group.clone(),
            filter: self.filter(),
            auto_commit: self.group.as_ref().map(|_| COMMIT_INTERVAL),
            ..ConsumerOptions::default()
        };
        if self.by_time {
            let merged = client.merged_by_time(&self.topic, options, PATIENCE).await?;
            return Ok(Reading::ByTime(Box::new(merged)));
        }
        let consumer = Box::new(client.consumer(&self.topic, options).await?);
        Ok(if self.group.is_some() { Reading::Group(consumer) } else { Reading::Alone(consumer) })
    }

    fn filter(&self) -> Option<Filter> {
        let key_prefix = self.key_prefix.clone().map(Into::into);
        let filter = Filter { key_prefix, header: self.header.clone() };
        (filter != Filter::default()).then_some(filter)
    }

    /// Partitions differ in length, so an offset has to be within one of those to be read only; who
    /// follows reads them all, and there it has to be within each.
    fn check(&self, offset: Offset, ends: &[(PartitionId, Offset)]) -> Result<(), Failure> {
        let is_wanted =
            |partition: PartitionId| self.partition.is_none_or(|one| one == partition.0);
        let wanted = || ends.iter().filter(|(partition, _)| is_wanted(*partition));
        let (longest, shortest) =
            (wanted().max_by_key(|(_, end)| end), wanted().min_by_key(|(_, end)| end));
        let follows = !self.until_end && self.until.is_none();
        match (longest, shortest) {
            (Some((partition, end)), _) if *end < offset => Err(Failure::new(format!(
                "--from {offset} is beyond the end of {}: partition {partition} ends at {end}",
                self.topic
            ))),
            (_, Some((partition, end))) if *end < offset && follows => Err(Failure::new(format!(
                "--from {offset} is beyond the end of partition {partition} of {}, {end}: name one \
                 with --partition, or read to the end with --until-end",
                self.topic
            ))),
            _ => Ok(()),
        }
    }
}

/// `NAME` or `NAME=PREFIX`.
fn header(raw: &str) -> Result<HeaderFilter, String> {
    let (name, value_prefix) = raw.split_once('=').unwrap_or((raw, ""));
    match name {
        "" => Err("name the header, as in region or region=eu-".to_owned()),
        name => Ok(HeaderFilter {
            name: name.to_owned(),
            value_prefix: value_prefix.as_bytes().to_vec().into(),
        }),
    }
}

/// Where the lines go to a file or a program, people want to see how many there are.
fn bar() -> ProgressBar {
    match io::stdout().is_terminal() {
        true => ProgressBar::hidden(),
        false => progress::over_events(None, "printed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_offset_behind_every_end_is_a_mistake() {
        let check = |partition: Option<u32>, until_end, offset| {
            let topic = TopicName::parse("flights").unwrap();
            let consume = Consume {
                topic,
                group: None,
                from: None,
                until: None,
                until_end,
                partition,
                key_prefix: None,
                header: None,
                by_time: false,
                count: None,
            };
            let ends = [(PartitionId(0), Offset(3)), (PartitionId(1), Offset(9))];
            consume.check(Offset(offset), &ends).err().map(|failure| failure.to_string())
        };
        assert_eq!(check(None, true, 9), None);
        assert_eq!(check(None, false, 3), None);
        assert_eq!(check(Some(0), true, 3), None);
        expect!["--from 10 is beyond the end of flights: partition 1 ends at 9"]
            .assert_eq(&check(None, true, 10).unwrap());
        expect!["--from 4 is beyond the end of flights: partition 0 ends at 3"]
            .assert_eq(&check(Some(0), true, 4).unwrap());
        expect!["--from 4 is beyond the end of partition 0 of flights, 3: name one with --partition, or read to the end with --until-end"]
            .assert_eq(&check(None, false, 4).unwrap());
    }
}

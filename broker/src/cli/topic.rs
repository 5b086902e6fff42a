//! `weir topic`: create, list, describe, alter, clean, delete.

use std::path::Path;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use weir_wire::admin::{
    Durability, PartitionCleaned, PartitionDescription, TopicDescription, TopicSettings, TopicSpec,
};
use weir_wire::ids::TopicName;
use weir_wire::retention::Cleanup;

use super::Failure;
use super::context;
use super::output::Output;
use crate::table::{Align, Table, bytes, thousands};

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum Topic {
    /// Create a topic.
    #[command(after_help = "\
Examples:
  weir topic create flights --partitions 4
  weir topic create clicks --durability os --retention-ms 604800000")]
    Create {
        /// Its name: 1 to 249 of a-z A-Z 0-9 . _ -
        name: TopicName,
        /// How many partitions; events with one key are in one partition, in order.
        #[arg(long, default_value_t = 1, value_name = "N")]
        partitions: u32,
        /// When a publisher hears "accepted".
        #[arg(long, default_value = "durable")]
        durability: DurabilityName,
        /// Milliseconds from when an event was stored until it may go, 1000 or more
        /// [default: kept for ever].
        #[arg(long, value_name = "N")]
        retention_ms: Option<u64>,
        /// Bytes that a partition keeps: its oldest segments go as long as so much is left
        /// [default: any size].
        #[arg(long, value_name = "N")]
        retention_bytes: Option<u64>,
        /// What becomes of old events: delete (by age and size), compact (of each key the last stays), or
        /// compact,delete.
        #[arg(long, value_name = "POLICY", default_value_t = Cleanup::Delete)]
        cleanup: Cleanup,
        /// Bytes of a segment, which goes as a whole: 65536 to 1073741824 [default: 64 MiB].
        #[arg(long, value_name = "N")]
        segment_bytes: Option<u64>,
    },
    /// List all topics.
    #[command(after_help = "Example:\n  weir topic list --json")]
    List,
    /// Show a topic and each of its partitions.
    #[command(after_help = "Example:\n  weir topic describe flights")]
    Describe {
        /// Which.
        name: TopicName,
    },
    /// Change what a topic keeps, while it serves.
    #[command(after_help = "\
What is not named stays as it is; `none` takes a limit away.

Examples:
  weir topic alter clicks --retention-ms 86400000
  weir topic alter clicks --retention-bytes none
  weir topic alter users --cleanup compact")]
    Alter {
        /// Which.
        name: TopicName,
        /// Milliseconds from when an event was stored until it may go, or `none`.
        #[arg(long, value_name = "N", value_parser = limit)]
        retention_ms: Option<Limit>,
        /// Bytes that a partition keeps, or `none`.
        #[arg(long, value_name = "N", value_parser = limit)]
        retention_bytes: Option<Limit>,
        /// delete, compact, or compact,delete.
        #[arg(long, value_name = "POLICY")]
        cleanup: Option<Cleanup>,
        /// Bytes of a segment, or `none`.
        #[arg(long, value_name = "N", value_parser = limit)]
        segment_bytes: Option<Limit>,
    },
    /// Remove now what a topic's settings do not keep; by itself the broker does so when it is worth it.
    #[command(after_help = "Example:\n  weir topic clean clicks")]
    Clean {
        /// Which.
        name: TopicName,
    },
    /// Delete a topic with all its events.
    #[command(after_help = "Example:\n  weir topic delete flights")]
    Delete {
        /// Which.
        name: TopicName,
    },
}

/// A number, or `none`.
#[derive(Debug, Clone, Copy)]
pub struct Limit(Option<u64>);

fn limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    text.parse()
        .map(|number| Limit(Some(number)))
        .map_err(|_| "write a number or `none`".to_owned())
}

/// `--durability`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DurabilityName {
    /// After the event is on the disk (fdatasync).
    Durable,
    /// After the write: faster, and a power cut can lose the last events.
    Os,
}

impl From<DurabilityName> for Durability {
    fn from(name: DurabilityName) -> Self {
        match name {
            DurabilityName::Durable => Self::Durable,
            DurabilityName::Os => Self::Os,
        }
    }
}

impl Topic {
    /// Does it.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        let admin = context::admin(context)?;
        match self {
            Self::Create {
                name,
                partitions,
                durability,
                retention_ms,
                retention_bytes,
                cleanup,
                segment_bytes,
            } => {
                let spec = TopicSpec {
                    name,
                    partitions,
                    durability: durability.into(),
                    retention_ms,
                    retention_bytes,
                    cleanup,
                    segment_bytes,
                };
                output.answer(&admin.create_topic(&spec).await?, created)
            }
            Self::List => output.answer(&admin.topics().await?, |topics| listed(topics)),
            Self::Describe { name } => output.answer(&admin.topic(&name).await?, described),
            Self::Alter { name, retention_ms, retention_bytes, cleanup, segment_bytes } => {
                let limit = |limit: Option<Limit>| limit.map(|Limit(limit)| limit);
                let settings = TopicSettings {
                    cleanup,
                    retention_ms: limit(retention_ms),
                    retention_bytes: limit(retention_bytes),
                    segment_bytes: limit(segment_bytes),
                };
                if settings == TopicSettings::default() {
                    return Err(Failure::new(
                        "nothing to change: name --retention-ms, --retention-bytes, --cleanup or --segment-bytes",
                    ));
                }
                output.answer(&admin.change_topic(&name, &settings).await?, kept)
            }
            Self::Clean { name } => {
                let done = admin.clean_topic(&name).await?;
                output.answer(&done, |done| cleaned(done))?;
                match done.iter().find_map(|partition| partition.failed.as_ref()) {
                    None => Ok(()),
                    Some(why) => Err(Failure::new(format!("not all of {name} was cleaned: {why}"))),
                }
            }
            Self::Delete { name } => {
                admin.delete_topic(&name).await?;
                output.answer(&json!({ "deleted": name }), |_| format!("topic {name} is deleted\n"))
            }
        }
    }
}

fn created(topic: &TopicDescription) -> String {
    let partitions = match topic.partitions.len() {
        1 => "1 partition".to_owned(),
        many => format!("{many} partitions"),
    };
    format!("topic {} is created with {partitions}\n", topic.name)
}

fn listed(topics: &[TopicDescription]) -> String {
    if topics.is_empty() {
        return "there are no topics; create one with `weir topic create NAME`\n".to_owned();
    }
    let mut table = Table::new([
        ("TOPIC", Align::Left),
        ("PARTITIONS", Align::Right),
        ("EVENTS", Align::Right),
        ("STORED", Align::Right),
        ("DURABILITY", Align::Left),
        ("STATE", Align::Left),
    ]);
    for topic in topics {
        let sum = |of: fn(&_) -> u64| topic.partitions.iter().map(of).sum();
        let stopped = topic.partitions.iter().filter(|partition| partition.stopped.is_some());
        table.row([
            topic.name.to_string(),
            topic.partitions.len().to_string(),
            thousands(sum(|partition| partition.high_watermark.0 - partition.earliest.0)),
            bytes(sum(|partition| partition.stored_bytes)),
            durability(topic.durability).to_owned(),
            match stopped.count() {
                0 => "serving".to_owned(),
                count => format!("{count} stopped"),
            },
        ]);
    }
    table.to_string()
}

fn described(topic: &TopicDescription) -> String {
    let mut text = format!(
        "topic       {} (id {})\ndurability  {}\n{}\n",
        topic.name,
        topic.id,
        durability(topic.durability),
        kept(topic),
    );
    let mut table = Table::new([
        ("PARTITION", Align::Right),
        ("EARLIEST", Align::Right),
        ("NEXT", Align::Right),
        ("STORED", Align::Right),
        ("CHAIN", Align::Right),
        ("ACCEPTED", Align::Right),
        ("DROPPED", Align::Right),
        ("REJECTED", Align::Right),
        ("FAULTED", Align::Right),
        ("KEPT", Align::Right),
        ("OUTBOX", Align::Right),
        ("LOST", Align::Right),
        ("STATE", Align::Left),
    ]);
    for partition in &topic.partitions {
        table.row([
            partition.partition.to_string(),
            thousands(partition.earliest.0),
            thousands(partition.high_watermark.0),
            bytes(partition.stored_bytes),
            format!("r{}", partition.chain_revision),
            thousands(partition.judged.accepted),
            thousands(partition.judged.dropped),
            thousands(partition.judged.rejected),
            thousands(partition.judged.faulted),
            thousands(partition.judged.dead_letters),
            thousands(partition.outbox_pending),
            thousands(lost(partition)),
            partition
                .stopped
                .as_ref()
                .map_or("serving".to_owned(), |why| format!("stopped: {why}")),
        ]);
    }
    text += &table.to_string();
    text += "\nACCEPTED to FAULTED count what was judged since the broker started, KEPT the refused events\n\
             that became dead letters, OUTBOX side events (and dead letters) on their way, LOST those\n\
             that their topics refused or could not take; the log names each.\n";
    text
}

/// What a topic keeps, in a line.
fn kept(topic: &TopicDescription) -> String {
    let by_age =
        topic.retention_ms.map_or("for ever".to_owned(), |ms| format!("{} ms", thousands(ms)));
    let by_size = topic
        .retention_bytes
        .map_or("any size".to_owned(), |limit| format!("the last {} of a partition", bytes(limit)));
    let segment = topic
        .segment_bytes
        .map_or(String::new(), |limit| format!(", in segments of {}", bytes(limit)));
    match topic.cleanup {
        Cleanup::Delete => format!("kept        {by_age}, {by_size}{segment}\n"),
        Cleanup::Compact => format!("kept        of each key the last event{segment}\n"),
        Cleanup::CompactDelete => {
            format!("kept        of each key the last event, {by_age}, {by_size}{segment}\n")
        }
    }
}

fn cleaned(partitions: &[PartitionCleaned]) -> String {
    let mut table = Table::new([
        ("PARTITION", Align::Right),
        ("EARLIEST", Align::Right),
        ("BEFORE", Align::Right),
        ("NOW", Align::Right),
        ("STATE", Align::Left),
    ]);
    for partition in partitions {
        table.row([
            partition.partition.to_string(),
            thousands(partition.earliest.0),
            bytes(partition.bytes_before),
            bytes(partition.bytes_after),
            partition
                .failed
                .as_ref()
                .map_or("clean".to_owned(), |why| format!("not cleaned: {why}")),
        ]);
    }
    table.to_string()
}

/// Side events and dead letters that are in no topic.
fn lost(partition: &PartitionDescription) -> u64 {
    let relayed = partition.side_events_lost + partition.side_events_refused;
    relayed + partition.judged.dead_letters_lost
}

fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Durable => "durable",
        Durability::Os => "os",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use weir_wire::admin::JudgedCounts;
    use weir_wire::ids::{ChainRevision, Offset, PartitionId, Timestamp, TopicId};

    fn flights() -> TopicDescription {
        TopicDescription {
            name: TopicName::parse("flights").unwrap(),
            id: TopicId(1),
            durability: Durability::Durable,
            retention_ms: None,
            retention_bytes: Some(1 << 30),
            cleanup: Cleanup::Delete,
            segment_bytes: None,
            partitions: vec![PartitionDescription {
                partition: PartitionId(0),
                earliest: Offset(0),
                high_watermark: Offset(9_531),
                stored_bytes: 1_377_996,
                partition_time: Timestamp(0),
                chain_revision: ChainRevision(2),
                stopped: None,
                judged: JudgedCounts {
                    accepted: 9_531,
                    rejected: 469,
                    dead_letters: 469,
                    ..JudgedCounts::default()
                },
                outbox_pending: 12,
                side_events_lost: 1,
                side_events_refused: 2,
            }],
        }
    }

    #[test]
    fn topics_are_tables_for_people() {
        expect![[r#"
            TOPIC    PARTITIONS  EVENTS   STORED  DURABILITY  STATE
            flights           1   9,531  1.3 MiB  durable     serving
        "#]]
        .assert_eq(&listed(&[flights()]));
        expect![[r#"
            topic       flights (id 1)
            durability  durable
            kept        for ever, the last 1.0 GiB of a partition

            PARTITION  EARLIEST   NEXT   STORED  CHAIN  ACCEPTED  DROPPED  REJECTED  FAULTED  KEPT  OUTBOX  LOST  STATE
                    0         0  9,531  1.3 MiB     r2     9,531        0       469        0   469      12     3  serving

            ACCEPTED to FAULTED count what was judged since the broker started, KEPT the refused events
            that became dead letters, OUTBOX side events (and dead letters) on their way, LOST those
            that their topics refused or could not take; the log names each.
        "#]].assert_eq(&described(&flights()));
        expect![[r#"
            topic flights is created with 1 partition
        "#]]
        .assert_eq(&created(&flights()));
    }
}

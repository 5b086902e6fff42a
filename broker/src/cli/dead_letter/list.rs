//! `weir dead-letter list`: what was refused, by whom and why.

use std::path::Path;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use weir_client::{ConsumedEvent, ConsumerOptions, From};
use weir_wire::dead_letter::DeadLetter;
use weir_wire::ids::{Digest, Offset, PartitionId, PluginName, Principal, Timestamp, TopicName};

use super::Selection;
use crate::cli::Failure;
use crate::cli::context;
use crate::cli::event_json;
use crate::cli::output::Output;
use crate::cli::start::start;
use crate::table::{Align, Table, thousands};

/// Characters of a key or a reason in the table; all of it with --json.
const SHOWN_CHARS_MAX: usize = 60;

/// List the dead letters of a topic: what was refused, by which plugin, and why.
///
/// The events themselves: weir consume TOPIC.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir dead-letter list refused
  weir dead-letter list refused --code plugin-timeout --count 1000 --json")]
pub struct List {
    /// The dead-letter topic.
    topic: TopicName,
    #[command(flatten)]
    selection: Selection,
    /// earliest, an offset, or a time: of the event itself, as its publisher gave it.
    #[arg(long, value_name = "earliest|OFFSET|RFC3339", value_parser = start, default_value = "earliest")]
    from: From,
    /// End after this many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    count: u64,
}

/// One letter, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    partition: PartitionId,
    offset: Offset,
    topic: TopicName,
    topic_partition: PartitionId,
    plugin: PluginName,
    version: u32,
    digest: Digest,
    code: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    failed: bool,
    refused_at: Timestamp,
    publisher: Principal,
    timestamp: Timestamp,
    #[serde(serialize_with = "event_json::text")]
    key: Option<Bytes>,
}

/// The answer.
#[derive(Debug, Default, Serialize)]
struct Listed {
    letters: Vec<Row>,
    /// Events of the topic that are no dead letters.
    others: u64,
    /// There may be more behind those listed.
    more: bool,
}

impl List {
    /// Reads and prints.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        let client = context::client(context).await?;
        let options =
            ConsumerOptions { from: self.from, until_end: true, ..ConsumerOptions::default() };
        let mut consumer = client.consumer(&self.topic, options).await?;
        let mut listed = Listed::default();
        while let Some(consumed) = consumer.next().await.transpose()? {
            if listed.letters.len() as u64 == self.count {
                listed.more = true;
                break;
            }
            match DeadLetter::read(&consumed.event) {
                Some(Ok(letter)) if self.selection.has(&letter) => {
                    listed.letters.push(row(consumed, letter));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => listed.others += 1,
            }
        }
        consumer.close().await?;
        client.close().await;
        // Partitions come as they are read: in the order of the refusals they mean more.
        listed.letters.sort_by_key(|row| (row.refused_at, row.partition, row.offset));
        output.answer(&listed, |listed| table(&self.topic, listed))
    }
}

fn row(consumed: ConsumedEvent, letter: DeadLetter) -> Row {
    Row {
        partition: consumed.partition,
        offset: consumed.offset,
        topic: letter.topic,
        topic_partition: letter.partition,
        plugin: letter.plugin,
        version: letter.version,
        digest: letter.digest,
        code: letter.code,
        reason: letter.reason,
        retry_after_ms: letter.retry_after_ms,
        failed: letter.failed,
        refused_at: letter.time,
        publisher: letter.publisher,
        timestamp: consumed.event.timestamp,
        key: consumed.event.key,
    }
}

fn table(topic: &TopicName, listed: &Listed) -> String {
    if listed.letters.is_empty() {
        return format!("topic {topic} keeps no such dead letters\n");
    }
    let mut table = Table::new([
        ("PARTITION", Align::Right),
        ("OFFSET", Align::Right),
        ("FROM", Align::Left),
        ("PLUGIN", Align::Left),
        ("CODE", Align::Left),
        ("KEY", Align::Left),
        ("REASON", Align::Left),
    ]);
    for row in &listed.letters {
        let key = row.key.as_deref().map(String::from_utf8_lossy);
        table.row([
            row.partition.to_string(),
            thousands(row.offset.0),
            format!("{}/{}", row.topic, row.topic_partition),
            format!("{}@{}", row.plugin, row.version),
            shown(&row.code),
            key.map_or("-".to_owned(), |key| shown(&key)),
            shown(&row.reason),
        ]);
    }
    let more = match listed.more {
        true => format!("the first {} there were; --count shows more\n", listed.letters.len()),
        false => String::new(),
    };
    format!("{table}{more}")
}

/// Foreign text on one line of a terminal: nothing that moves the cursor, and not too much.
fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).map(plain).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn a_row(offset: u64, key: Option<&'static [u8]>, reason: &str) -> Row {
        Row {
            partition: PartitionId(0),
            offset: Offset(offset),
            topic: TopicName::parse("flights").unwrap(),
            topic_partition: PartitionId(3),
            plugin: PluginName::parse("daily-limit").unwrap(),
            version: 2,
            digest: Digest([0xAB; 32]),
            code: "daily-limit".to_owned(),
            reason: reason.to_owned(),
            retry_after_ms: None,
            failed: false,
            refused_at: Timestamp(7),
            publisher: Principal::parse("admin").unwrap(),
            timestamp: Timestamp(5),
            key: key.map(Bytes::from_static),
        }
    }

    #[test]
    fn letters_are_a_table_for_people_and_json_for_programs() {
        let topic = TopicName::parse("refused").unwrap();
        let letters = vec![
            a_row(1_204, Some(b"N14228"), "N14228 has had its 2 of today"),
            a_row(1_205, None, &format!("\x1b[2J{}", "x".repeat(SHOWN_CHARS_MAX))),
        ];
        let listed = Listed { letters, others: 0, more: true };
        expect![[r#"
            PARTITION  OFFSET  FROM       PLUGIN         CODE         KEY     REASON
                    0   1,204  flights/3  daily-limit@2  daily-limit  N14228  N14228 has had its 2 of today
                    0   1,205  flights/3  daily-limit@2  daily-limit  -       �[2Jxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
            the first 2 there were; --count shows more
        "#]].assert_eq(&table(&topic, &listed));
        expect![[r#"{"partition":0,"offset":1204,"topic":"flights","topic_partition":3,"plugin":"daily-limit","version":2,"digest":"abababababababababababababababababababababababababababababababab","code":"daily-limit","reason":"N14228 has had its 2 of today","failed":false,"refused_at":7,"publisher":"admin","timestamp":5,"key":"N14228"}"#]].assert_eq(&serde_json::to_string(&listed.letters[0]).unwrap());
        expect![[r#"
            topic refused keeps no such dead letters
        "#]]
        .assert_eq(&table(&topic, &Listed::default()));
    }
}

//! `weir group`: who reads for a group, how far it has come, and how to put it elsewhere.

use std::path::Path;

use clap::{Args, Subcommand};
use weir_client::From;
use weir_wire::admin::{
    GroupDescription, GroupPartition, GroupReset, GroupSummary, GroupTopic, ResetSpec, ResetTo,
};
use weir_wire::ids::{GroupName, PartitionId, TopicName};

use super::Failure;
use super::context;
use super::output::Output;
use super::start::start;
use crate::table::{Align, Table, thousands};

/// What to do with consumer groups.
#[derive(Debug, Subcommand)]
pub enum Group {
    /// List all groups, with their members and their lag.
    #[command(after_help = "Example:\n  weir group list")]
    List,
    /// Show a group's members, and how far it has come in each partition.
    #[command(after_help = "Example:\n  weir group describe mailer")]
    Describe {
        /// Which.
        name: GroupName,
    },
    Reset(Reset),
}

/// Put a group's committed offsets elsewhere; without --execute only show where.
///
/// Refused while the group has members in the topic: stop them first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir group reset mailer notices --to earliest              shows what would be done
  weir group reset mailer notices --to earliest --execute    does it
  weir group reset mailer notices --to 2013-06-01T00:00:00Z --partition 2 --execute")]
pub struct Reset {
    /// Which group.
    name: GroupName,
    /// In which topic.
    topic: TopicName,
    /// earliest, latest, an offset (or the nearest that is there), or a time (the first event with
    /// that timestamp or a later one).
    #[arg(long, value_name = "earliest|latest|OFFSET|RFC3339", value_parser = start)]
    to: From,
    /// Only in this partition; may be given more than once.
    #[arg(long, value_name = "P")]
    partition: Vec<u32>,
    /// Do it.
    #[arg(long)]
    execute: bool,
}

impl Group {
    /// Does it.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        let admin = context::admin(context)?;
        match self {
            Self::List => output.answer(&admin.groups().await?, |groups| listed(groups)),
            Self::Describe { name } => output.answer(&admin.group(&name).await?, described),
            Self::Reset(reset) => {
                let name = reset.name.clone();
                output.answer(&admin.reset_group(&name, &reset.spec()).await?, was_reset)
            }
        }
    }
}

impl Reset {
    fn spec(self) -> ResetSpec {
        let to = match self.to {
            From::Latest => ResetTo::Latest,
            From::Offset(offset) => ResetTo::Offset(offset),
            From::Time(time) => ResetTo::Time(time),
            // No word on the command line means "committed".
            From::Earliest | From::Committed => ResetTo::Earliest,
        };
        let partitions: Vec<_> = self.partition.into_iter().map(PartitionId).collect();
        let partitions = (!partitions.is_empty()).then_some(partitions);
        ResetSpec { topic: self.topic, to, partitions, execute: self.execute }
    }
}

fn listed(groups: &[GroupSummary]) -> String {
    if groups.is_empty() {
        return "there are no groups; `weir consume TOPIC --group NAME` makes one\n".to_owned();
    }
    let mut table = Table::new([
        ("GROUP", Align::Left),
        ("MEMBERS", Align::Right),
        ("LAG", Align::Right),
        ("TOPICS", Align::Left),
    ]);
    for group in groups {
        let topics: Vec<_> = group.topics.iter().map(TopicName::as_str).collect();
        table.row([
            group.name.to_string(),
            group.members.to_string(),
            thousands(group.lag),
            topics.join(" "),
        ]);
    }
    table.to_string()
}

fn described(group: &GroupDescription) -> String {
    let topics: Vec<_> = group.topics.iter().map(topic).collect();
    topics.join("\n")
}

fn topic(topic: &GroupTopic) -> String {
    let members = match topic.members.as_slice() {
        [] => "no members".to_owned(),
        [_] => "1 member".to_owned(),
        many => format!("{} members", many.len()),
    };
    let mut text = format!("{}: {members}, generation {}\n", topic.topic, topic.generation);
    if !topic.members.is_empty() {
        let columns =
            [("MEMBER", Align::Left), ("CLIENT", Align::Left), ("PARTITIONS", Align::Left)];
        let mut table = Table::new(columns);
        for member in &topic.members {
            let held: Vec<_> = member.partitions.iter().map(ToString::to_string).collect();
            table.row([
                member.member.to_string(),
                member.client.clone().unwrap_or_else(|| "not connected".to_owned()),
                if held.is_empty() { "-".to_owned() } else { held.join(" ") },
            ]);
        }
        text += &table.to_string();
    }
    let mut table = Table::new([
        ("PARTITION", Align::Right),
        ("COMMITTED", Align::Right),
        ("END", Align::Right),
        ("LAG", Align::Right),
        ("MEMBER", Align::Left),
    ]);
    for at in &topic.partitions {
        table.row([
            at.partition.to_string(),
            committed(at.committed),
            thousands(at.end.0),
            thousands(at.lag),
            at.holder.map_or("-".to_owned(), |member| member.to_string()),
        ]);
    }
    text + &table.to_string()
}

fn was_reset(reset: &GroupReset) -> String {
    let mut table = Table::new([
        ("PARTITION", Align::Right),
        ("FROM", Align::Right),
        ("TO", Align::Right),
        ("LAG", Align::Right),
    ]);
    for GroupPartition { partition, from, committed: to, lag, .. } in &reset.partitions {
        let lag = thousands(*lag);
        table.row([partition.to_string(), committed(*from), committed(*to), lag]);
    }
    let what = match reset.done {
        true => format!("group {} goes on in {} from here:\n", reset.group, reset.topic),
        false => format!(
            "group {} would go on in {} from here; add --execute to do it:\n",
            reset.group, reset.topic
        ),
    };
    what + &table.to_string()
}

fn committed(offset: Option<weir_wire::ids::Offset>) -> String {
    offset.map_or("-".to_owned(), |offset| thousands(offset.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn groups_are_tables_for_people() {
        let group: GroupDescription = serde_json::from_value(json!({
            "name": "mailer",
            "topics": [{
                "topic": "notices", "generation": 3,
                "members": [
                    { "member": 7, "client": "127.0.0.1:40000", "partitions": [0] },
                    { "member": 9, "client": null, "partitions": [] },
                ],
                "partitions": [
                    { "partition": 0, "committed": 1200, "end": 1500, "lag": 300, "holder": 7 },
                    { "partition": 1, "committed": null, "end": 4, "lag": 4, "holder": null },
                ],
            }],
        }))
        .unwrap();
        expect![[r#"
            notices: 2 members, generation 3
            MEMBER  CLIENT           PARTITIONS
            7       127.0.0.1:40000  0
            9       not connected    -
            PARTITION  COMMITTED    END  LAG  MEMBER
                    0      1,200  1,500  300  7
                    1          -      4    4  -
        "#]]
        .assert_eq(&described(&group));
        let reset: GroupReset = serde_json::from_value(json!({
            "group": "mailer", "topic": "notices", "done": false,
            "partitions": [
                { "partition": 0, "from": 1200, "committed": 0, "end": 1500, "lag": 1500, "holder": null },
            ],
        }))
        .unwrap();
        expect![[r#"
            group mailer would go on in notices from here; add --execute to do it:
            PARTITION   FROM  TO    LAG
                    0  1,200   0  1,500
        "#]]
        .assert_eq(&was_reset(&reset));
    }
}

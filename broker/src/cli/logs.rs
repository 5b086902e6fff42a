//! `weir plugin logs`: what a plugin said lately, and with `--follow` from now on.
//!
//! Promises: every line is shown once, or it is said how many were missed; what a plugin writes says
//! nothing to the terminal. `--follow` ends with Ctrl-C, and rides through a broker that is started
//! anew.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use time::OffsetDateTime;
use weir_client::AdminError;
use weir_wire::admin::{LineSource, PluginLine, PluginLog};
use weir_wire::ids::{PluginName, Timestamp, TopicName};

use super::Failure;
use super::context;
use super::input::printable;
use super::output::{Output, print};

/// How long the broker waits for a line at once.
const POLL_WAIT: Duration = Duration::from_secs(20);
/// How long a broker may be gone while it is followed: a restart with a long log takes some seconds.
const OUTAGE_MAX: Duration = Duration::from_secs(60);
/// Between two attempts to find it again.
const OUTAGE_POLL: Duration = Duration::from_millis(250);

/// Show what a plugin said lately, and what the broker said of it: failures, and what became of them.
///
/// The broker keeps the last 2,000 lines of each plugin, until it is started anew.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir plugin logs daily-limit
  weir plugin logs daily-limit --topic flights --follow")]
pub struct Logs {
    /// The plugin.
    name: PluginName,
    /// Only what it says on this topic.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<TopicName>,
    /// Wait for more lines until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    /// Does it.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        tokio::select! {
            done = self.read(context, output) => done,
            // What was printed is whole: lines go out page by page.
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }

    async fn read(&self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        let mut after: Option<String> = None;
        loop {
            // What is there already is not waited for.
            let wait = if self.follow && after.is_some() { POLL_WAIT } else { Duration::ZERO };
            let page = self.page(context, after.as_deref(), wait).await?;
            print(&shown(&self.name, &page, output))?;
            if !page.more && !self.follow {
                return Ok(());
            }
            after = Some(page.next);
        }
    }

    async fn page(
        &self,
        context: Option<&Path>,
        after: Option<&str>,
        wait: Duration,
    ) -> Result<PluginLog, Failure> {
        let began = tokio::time::Instant::now();
        let mut is_said = false;
        loop {
            // Read anew each time: a broker that was started again may have other ports.
            let admin = context::admin(context)?;
            match admin.plugin_log(&self.name, after, self.topic.as_ref(), wait).await {
                Err(AdminError::Unreachable { .. })
                    if self.follow && after.is_some() && began.elapsed() < OUTAGE_MAX =>
                {
                    if !is_said {
                        super::remark("the broker does not answer; waiting until it is back");
                        is_said = true;
                    }
                    tokio::time::sleep(OUTAGE_POLL).await;
                }
                done => return Ok(done?),
            }
        }
    }
}

/// The lines of an answer, and what is missing before them.
fn shown(plugin: &PluginName, page: &PluginLog, output: Output) -> String {
    let mut text = String::new();
    if page.restarted {
        text += &match output.json {
            true => json!({ "restarted": true }).to_string(),
            false => "-- the broker was started anew; what it kept before is gone".to_owned(),
        };
        text.push('\n');
    }
    if page.lost > 0 {
        text += &match output.json {
            true => json!({ "lost": page.lost }).to_string(),
            false => format!("-- {} lines were lost: newer ones pushed them out", page.lost),
        };
        text.push('\n');
    }
    for line in &page.lines {
        text += &match output.json {
            true => serde_json::to_string(line).expect("a line is made of strings and numbers"),
            false => for_people(plugin, line),
        };
        text.push('\n');
    }
    text
}

fn for_people(plugin: &PluginName, line: &PluginLine) -> String {
    let partition = line.partition.map_or("-".to_owned(), |partition| partition.to_string());
    let says = match line.source {
        LineSource::Plugin => "",
        LineSource::Host => "broker: ",
    };
    format!(
        "{} {:5} {}/{partition} {plugin}@{} {says}{}",
        to_the_ms(line.at),
        line.level.as_str(),
        line.topic,
        line.version,
        printable(&line.text)
    )
}

/// A time to the millisecond; the number itself where it lies beyond the calendar.
fn to_the_ms(time: Timestamp) -> String {
    let date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000).ok();
    let Some(date) = date else { return time.to_string() };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second(),
        date.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use weir_wire::admin::LogLevel;
    use weir_wire::ids::PartitionId;

    fn line(source: LineSource, level: LogLevel, text: &str) -> PluginLine {
        PluginLine {
            at: Timestamp(1_357_034_400_123),
            level,
            source,
            topic: TopicName::parse("flights").unwrap(),
            partition: Some(PartitionId(3)),
            version: 2,
            text: text.to_owned(),
        }
    }

    #[test]
    fn lines_are_for_people_or_for_programs() {
        let page = PluginLog {
            lines: vec![
                line(LineSource::Plugin, LogLevel::Info, "saw \u{1b}[2J N104UW\u{202e}"),
                line(LineSource::Host, LogLevel::Error, "plugin-trap: unreachable"),
                PluginLine { partition: None, ..line(LineSource::Plugin, LogLevel::Debug, "hm") },
            ],
            next: "7-10".to_owned(),
            more: false,
            lost: 7,
            restarted: true,
        };
        let limit = PluginName::parse("daily-limit").unwrap();
        expect![[r#"
            -- the broker was started anew; what it kept before is gone
            -- 7 lines were lost: newer ones pushed them out
            2013-01-01T10:00:00.123Z info  flights/3 daily-limit@2 saw \u{1b}[2J N104UW\u{202e}
            2013-01-01T10:00:00.123Z error flights/3 daily-limit@2 broker: plugin-trap: unreachable
            2013-01-01T10:00:00.123Z debug flights/- daily-limit@2 hm
        "#]]
        .assert_eq(&shown(&limit, &page, Output { json: false }));
        let json = shown(&limit, &page, Output { json: true });
        let lines: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[..2], [json!({ "restarted": true }), json!({ "lost": 7 })]);
        assert_eq!(lines[2]["text"], "saw \u{1b}[2J N104UW\u{202e}", "programs get it as it is");
        assert_eq!((lines.len(), &lines[3]["source"]), (5, &json!("host")));
    }
}

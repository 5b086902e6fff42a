//! `weir plugin bind | unbind | chain | rollback | pause | resume`: which plugins judge a topic, in which order.

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use weir_wire::admin::{self, BindingSpec, ChainChange, FailurePolicy};
use weir_wire::ids::{PluginName, TopicName};

use super::Failure;
use super::context;
use super::limits::{self, LimitFlag, limits};
use super::output::Output;
use super::version::VersionChoice;
use crate::table::{Align, Table, thousands};

/// What to do with a topic's chain. A change holds from one exact offset of each partition on.
#[derive(Debug, Subcommand)]
pub enum Chain {
    #[command(after_help = bind_help())]
    Bind(Bind),
    /// Take a plugin off a topic; its state is kept.
    #[command(after_help = "Example:\n  weir plugin unbind flights daily-limit")]
    Unbind {
        /// The topic.
        topic: TopicName,
        /// The plugin.
        name: PluginName,
    },
    /// Show the plugins of a topic in the order they judge.
    #[command(name = "chain", after_help = "Example:\n  weir plugin chain flights")]
    Show {
        /// The topic.
        topic: TopicName,
    },
    /// Bind what was bound before the last change of this plugin on this topic.
    #[command(after_help = "Example:\n  weir plugin rollback flights daily-limit")]
    Rollback {
        /// The topic.
        topic: TopicName,
        /// The plugin.
        name: PluginName,
    },
    /// Let events pass a plugin by; it keeps its place, config, limits and state.
    #[command(after_help = "\
Example:
  weir plugin pause flights daily-limit
  weir plugin resume flights daily-limit

A pause is your decision and no failure of the plugin: events pass, whatever its --on-failure says.")]
    Pause {
        /// The topic.
        topic: TopicName,
        /// The plugin.
        name: PluginName,
    },
    /// Put a paused plugin back to work.
    #[command(after_help = "Example:\n  weir plugin resume flights daily-limit")]
    Resume {
        /// The topic.
        topic: TopicName,
        /// The plugin.
        name: PluginName,
    },
}

/// Put a plugin on a topic; if it is there already, swap its version, config and limits.
///
/// Where the plugin is bound already, what is not said stays as it is.
#[derive(Debug, Args)]
pub struct Bind {
    /// The topic.
    topic: TopicName,
    /// The plugin; its newest version if none is named.
    #[arg(value_name = "NAME[@VERSION]")]
    plugin: VersionChoice,
    /// Its place: chains run in rising order, equal ones by name [default: 0].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    order: Option<i32>,
    /// Handed to the plugin: JSON, or @FILE with JSON in it [default: {}].
    #[arg(long, value_name = "JSON|@FILE")]
    config: Option<String>,
    /// What becomes of an event on which the plugin fails: closed rejects it, open lets it pass.
    /// [default: closed]
    #[arg(long)]
    on_failure: Option<PolicyName>,
    /// A topic the plugin may emit side events to; may be given more than once. Without it: the
    /// topics that the config names.
    #[arg(long, value_name = "TOPIC")]
    emit: Vec<TopicName>,
    /// What the plugin may use up; may be given more than once. A limit that is not named stays as it
    /// is; of a new binding, it has its default.
    #[arg(long = "limit", value_name = "KEY=VALUE")]
    limits: Vec<LimitFlag>,
    /// A topic that keeps every event the plugin refuses, whole and with the reason, for `weir
    /// dead-letter`.
    #[arg(long, value_name = "TOPIC")]
    dead_letter: Option<TopicName>,
    /// Keep refused events no longer; those that are kept already stay.
    #[arg(long, conflicts_with = "dead_letter")]
    no_dead_letter: bool,
}

/// `--on-failure`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PolicyName {
    /// The event is rejected with a retryable code.
    Closed,
    /// The event passes, stamped with a header.
    Open,
}

impl From<PolicyName> for FailurePolicy {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::Closed => Self::Closed,
            PolicyName::Open => Self::Open,
        }
    }
}

fn bind_help() -> String {
    format!(
        "\
Examples:
  weir plugin bind flights daily-limit --emit notices \\
       --config '{{\"limit\":2,\"key\":\"event\",\"time\":\"event\",\"notice\":\"notices\"}}'
  weir plugin bind flights daily-limit@2 --config @limits.json --limit memory_bytes=128MiB
  weir plugin bind flights daily-limit@2 --limit fuel=20000000    # one limit, all else as it is
  weir plugin bind flights daily-limit        # swap for the newest version, all else as it is
  weir plugin bind flights daily-limit --dead-letter refused

{}",
        limits::help()
    )
}

impl Chain {
    /// Does it.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        match self {
            Self::Bind(bind) => {
                let (topic, plugin, spec) = bind.spec()?;
                let change = context::admin(context)?.bind(&topic, &plugin, &spec).await?;
                output.answer(&change, |change| {
                    let binding = change.chain.bindings.iter().find(|link| link.plugin == plugin);
                    let version =
                        binding.map_or(String::new(), |link| format!("@{}", link.version));
                    let emits = match binding.map(|link| link.emit.as_slice()) {
                        None | Some([]) => "emits nothing".to_owned(),
                        Some(topics) => {
                            let topics: Vec<_> = topics.iter().map(TopicName::as_str).collect();
                            format!("may emit to {}", topics.join(", "))
                        }
                    };
                    let judges = match binding.is_some_and(|link| link.paused) {
                        false => format!("judges {topic} and {emits}"),
                        true => format!(
                            "on {topic} is paused; `weir plugin resume {topic} {plugin}` puts it to work"
                        ),
                    };
                    changed(&format!("{plugin}{version} {judges}"), change)
                })
            }
            Self::Unbind { topic, name } => {
                let change = context::admin(context)?.unbind(&topic, &name).await?;
                output.answer(&change, |change| {
                    changed(&format!("{name} no longer judges {topic}"), change)
                })
            }
            Self::Show { topic } => {
                let chain = context::admin(context)?.chain(&topic).await?;
                output.answer(&chain, |chain| shown(&topic, chain))
            }
            Self::Rollback { topic, name } => {
                let change = context::admin(context)?.rollback(&topic, &name).await?;
                output.answer(&change, |change| {
                    let is_paused =
                        change.chain.bindings.iter().any(|link| link.plugin == name && link.paused);
                    let paused = if is_paused { ", and still paused" } else { "" };
                    changed(
                        &format!("{name} on {topic} is as it was before its last change{paused}"),
                        change,
                    )
                })
            }
            Self::Pause { topic, name } => {
                let change = context::admin(context)?.pause(&topic, &name).await?;
                output.answer(&change, |change| {
                    changed(&format!("events of {topic} pass {name} by"), change)
                })
            }
            Self::Resume { topic, name } => {
                let change = context::admin(context)?.resume(&topic, &name).await?;
                output.answer(&change, |change| {
                    changed(&format!("{name} judges {topic} again"), change)
                })
            }
        }
    }
}

impl Bind {
    fn spec(self) -> Result<(TopicName, PluginName, BindingSpec), Failure> {
        let VersionChoice { name, version } = self.plugin;
        let spec = BindingSpec {
            version,
            order: self.order,
            config: self.config.as_deref().map(config).transpose()?,
            on_failure: self.on_failure.map(Into::into),
            emit: self.emit,
            limits: (!self.limits.is_empty()).then(|| limits(&self.limits)),
            dead_letter: match (self.dead_letter, self.no_dead_letter) {
                (None, false) => None,
                (topic, _) => Some(topic),
            },
        };
        Ok((self.topic, name, spec))
    }
}

/// JSON, or the file behind an `@`.
pub fn config(text: &str) -> Result<serde_json::Value, Failure> {
    let (text, whence) = match text.strip_prefix('@') {
        None => (text.to_owned(), "--config".to_owned()),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Failure::new(format!(
                    "cannot read {file}: {error}; check the path behind --config @"
                ))
            })?;
            (text, file.to_owned())
        }
    };
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("{whence} is not valid JSON ({error}); nothing was changed"))
    })
}

/// A sentence, and from where it holds.
fn changed(what: &str, change: &ChainChange) -> String {
    let mut text = format!("{what} (chain revision {})\n", change.chain.revision);
    if !change.since.is_empty() {
        let mut table = Table::new([("PARTITION", Align::Right), ("FROM OFFSET", Align::Right)]);
        for at in &change.since {
            table.row([at.partition.to_string(), thousands(at.offset.0)]);
        }
        text += &table.to_string();
    }
    for pending in &change.pending {
        text += &format!("partition {} did not change yet: {}\n", pending.partition, pending.why);
    }
    for left in &change.unmigrated {
        text += &format!("partition {} judges nothing: {}\n", left.partition, left.why);
    }
    text
}

fn shown(topic: &TopicName, chain: &admin::Chain) -> String {
    if chain.bindings.is_empty() {
        return format!(
            "no plugin judges {topic}; bind one with `weir plugin bind {topic} NAME`\n"
        );
    }
    let mut table = Table::new([
        ("ORDER", Align::Right),
        ("PLUGIN", Align::Left),
        ("DIGEST", Align::Left),
        ("STATE", Align::Left),
        ("ON FAILURE", Align::Left),
        ("EMITS TO", Align::Left),
        ("DEAD LETTERS", Align::Left),
        ("CONFIG", Align::Left),
    ]);
    for link in &chain.bindings {
        let topics: Vec<String> = link.emit.iter().map(ToString::to_string).collect();
        table.row([
            link.order.to_string(),
            format!(
                "{}@{}{}",
                link.plugin,
                link.version,
                if link.paused { " (paused)" } else { "" }
            ),
            link.digest.short(),
            if link.keyspace.is_first() { "-".to_owned() } else { link.keyspace.to_string() },
            match link.on_failure {
                FailurePolicy::Closed => "closed".to_owned(),
                FailurePolicy::Open => "open".to_owned(),
            },
            if topics.is_empty() { "-".to_owned() } else { topics.join(" ") },
            link.dead_letter.as_ref().map_or("-".to_owned(), ToString::to_string),
            link.config.to_string(),
        ]);
    }
    format!("chain of {topic}, revision {}\n{table}", chain.revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::io::Write;
    use weir_wire::admin::{ChangedAt, Limits};
    use weir_wire::ids::{ChainRevision, Digest, Offset, PartitionId};

    fn check_config(text: &str, expected: Expect) {
        let said = match config(text) {
            Ok(value) => value.to_string(),
            Err(failure) => failure.to_string(),
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn a_config_is_json_or_a_file_of_it() {
        check_config("{\"limit\": 2}", expect![[r#"{"limit":2}"#]]);
        check_config(
            "{limit:2}",
            expect![
                "--config is not valid JSON (key must be a string at line 1 column 2); nothing was changed"
            ],
        );
        check_config(
            "@/nowhere/limits.json",
            expect![
                "cannot read /nowhere/limits.json: No such file or directory (os error 2); check the path behind --config @"
            ],
        );
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{{\"limit\": 3}}").unwrap();
        check_config(&format!("@{}", file.path().display()), expect![[r#"{"limit":3}"#]]);
    }

    fn chain() -> admin::Chain {
        let binding = admin::Binding {
            plugin: PluginName::parse("daily-limit").unwrap(),
            version: 2,
            digest: Digest([0xAB; 32]),
            order: 0,
            config: serde_json::json!({"limit": 2}),
            on_failure: FailurePolicy::Closed,
            emit: vec![TopicName::parse("notices").unwrap()],
            limits: Limits::default(),
            dead_letter: Some(TopicName::parse("refused").unwrap()),
            paused: false,
            keyspace: Default::default(),
        };
        admin::Chain { revision: ChainRevision(3), bindings: vec![binding] }
    }

    #[test]
    fn a_chain_is_a_table_for_people() {
        let topic = TopicName::parse("flights").unwrap();
        expect![[r#"
            chain of flights, revision 3
            ORDER  PLUGIN         DIGEST        STATE  ON FAILURE  EMITS TO  DEAD LETTERS  CONFIG
                0  daily-limit@2  abababababab  -      closed      notices   refused       {"limit":2}
        "#]]
        .assert_eq(&shown(&topic, &chain()));
        expect![[r#"
            no plugin judges flights; bind one with `weir plugin bind flights NAME`
        "#]]
        .assert_eq(&shown(&topic, &admin::Chain::default()));
        let mut paused = chain();
        paused.bindings[0].paused = true;
        assert!(shown(&topic, &paused).contains(" daily-limit@2 (paused)  abab"));
        let at = |partition, offset| ChangedAt {
            partition: PartitionId(partition),
            offset: Offset(offset),
        };
        let change = ChainChange {
            chain: chain(),
            since: vec![at(0, 1_204), at(1, 98)],
            pending: vec![],
            unmigrated: vec![],
        };
        expect![[r#"
            daily-limit@2 judges flights (chain revision 3)
            PARTITION  FROM OFFSET
                    0        1,204
                    1           98
        "#]]
        .assert_eq(&changed("daily-limit@2 judges flights", &change));
    }
}

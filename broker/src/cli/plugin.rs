//! `weir plugin`: upload, list, delete; how one does is in `describe`, what it says in `logs`, and what
//! binds plugins to topics in `chain`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use weir_wire::admin::{PluginDescription, PluginVersion};
use weir_wire::ids::PluginName;

use super::Failure;
use super::bench::Test;
use super::chain::Chain;
use super::component_file;
use super::context;
use super::describe::described;
use super::logs::Logs;
use super::output::Output;
use super::template::New;
use super::version::OneVersion;
use super::wrap::Wrap;
use crate::table::{Align, Table, bytes, thousands};

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    New(New),
    Wrap(Wrap),
    /// Upload a component as the newest version of a plugin.
    #[command(after_help = "\
Example:
  weir plugin push daily-limit plugins/daily-limit/daily-limit.wasm

A pushed plugin judges nothing until it is bound to a topic.")]
    Push {
        /// The plugin: 1 to 64 of a-z 0-9 -, beginning with a letter.
        name: PluginName,
        /// The component: a WebAssembly component of the world weir:plugin/filter.
        #[arg(value_name = "FILE.wasm")]
        file: PathBuf,
    },
    /// List all plugins.
    #[command(after_help = "Example:\n  weir plugin list")]
    List,
    /// Show a plugin's versions, and how it does wherever it is bound.
    ///
    /// Per binding and partition: what it said, by code and cause; how long it took (a sample of one
    /// event in sixteen); fuel, memory and state beside their limits; whether its breaker is open; and
    /// since which offset the version judges. Counted since the broker started.
    #[command(after_help = "Example:\n  weir plugin describe daily-limit")]
    Describe {
        /// Which.
        name: PluginName,
    },
    /// Delete a version that is bound nowhere.
    #[command(after_help = "Example:\n  weir plugin delete daily-limit@1")]
    Delete {
        /// Which: the version is a number, a digest, or the beginning of one.
        #[arg(value_name = "NAME@VERSION")]
        version: OneVersion,
    },
    Test(Box<Test>),
    Logs(Logs),
    #[command(flatten)]
    Chain(Chain),
}

impl Plugin {
    /// Does it.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(output),
            Self::Wrap(wrap) => wrap.run(output),
            Self::Push { name, file } => {
                let component = component_file::read(&file)?;
                let admin = context::admin(context)?;
                output.answer(&admin.push_plugin(&name, component.into()).await?, pushed)
            }
            Self::List => {
                let plugins = context::admin(context)?.plugins().await?;
                output.answer(&plugins, |plugins| listed(plugins))
            }
            Self::Describe { name } => {
                output.answer(&context::admin(context)?.plugin(&name).await?, described)
            }
            Self::Delete { version: OneVersion { name, version } } => {
                context::admin(context)?.delete_plugin_version(&name, &version).await?;
                let deleted = json!({ "deleted": format!("{name}@{version}") });
                output.answer(&deleted, |_| format!("plugin {name}@{version} is deleted\n"))
            }
            Self::Test(test) => test.run(output),
            Self::Logs(logs) => logs.run(context, output).await,
            Self::Chain(chain) => chain.run(context, output).await,
        }
    }
}

fn pushed(version: &PluginVersion) -> String {
    format!(
        "{}@{} sha256:{} ({})\n",
        version.name,
        version.version,
        version.digest,
        bytes(version.bytes)
    )
}

fn listed(plugins: &[PluginDescription]) -> String {
    if plugins.is_empty() {
        return "there are no plugins; upload one with `weir plugin push NAME FILE.wasm`\n"
            .to_owned();
    }
    let mut table = Table::new([
        ("PLUGIN", Align::Left),
        ("VERSIONS", Align::Right),
        ("NEWEST", Align::Right),
        ("DIGEST", Align::Left),
        ("BOUND TO", Align::Left),
    ]);
    for plugin in plugins {
        let newest = plugin.versions.last();
        let bound = plugin.versions.iter().flat_map(|version| &version.bound_to);
        let topics: Vec<String> = bound.map(ToString::to_string).collect();
        table.row([
            plugin.name.to_string(),
            thousands(plugin.versions.len() as u64),
            newest.map_or("-".to_owned(), |version| format!("@{}", version.version)),
            newest.map_or("-".to_owned(), |version| version.digest.short()),
            if topics.is_empty() { "-".to_owned() } else { topics.join(" ") },
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::describe::versions;
    use super::*;
    use expect_test::expect;
    use weir_wire::ids::{Digest, Timestamp, TopicName};

    #[test]
    fn plugins_are_tables_for_people() {
        let name = PluginName::parse("daily-limit").unwrap();
        let version = |number: u32, bound_to: &[&str]| PluginVersion {
            name: name.clone(),
            version: number,
            digest: Digest([number as u8; 32]),
            bytes: 70_000,
            pushed_at: Timestamp(1_357_034_400_123),
            schema: Default::default(),
            bound_to: bound_to.iter().map(|topic| TopicName::parse(topic).unwrap()).collect(),
        };
        let plugin = PluginDescription {
            name: name.clone(),
            versions: vec![version(1, &["flights"]), version(2, &[])],
        };
        expect![[r#"
            daily-limit@1 sha256:0101010101010101010101010101010101010101010101010101010101010101 (68.4 KiB)
        "#]].assert_eq(&pushed(&plugin.versions[0]));
        expect![[r#"
            VERSION        DIGEST                                                                SIZE  SCHEMA  PUSHED                BOUND TO
            daily-limit@1  0101010101010101010101010101010101010101010101010101010101010101  68.4 KiB  -       2013-01-01T10:00:00Z  flights
            daily-limit@2  0202020202020202020202020202020202020202020202020202020202020202  68.4 KiB  -       2013-01-01T10:00:00Z  -
        "#]].assert_eq(&versions(&plugin.versions));
        expect![[r#"
            PLUGIN       VERSIONS  NEWEST  DIGEST        BOUND TO
            daily-limit         2      @2  020202020202  flights
        "#]]
        .assert_eq(&listed(&[plugin]));
    }
}

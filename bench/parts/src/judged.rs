//! Partitions under a rule, and what they make of batches.

use std::path::Path;

use weir_log::Commit;
use weir_log::commit::Identity;
use weir_partition::{Bench, Chain, Judge, Link, Planned};
use weir_plugin_host::{BindingSettings, Host, HostOptions, Stage};
use weir_wire::admin::{FailurePolicy, Limits};
use weir_wire::ids::{ChainRevision, Digest, PartitionId, PluginName, TopicId, TopicName};

use crate::events::{NOW, batch};
use crate::native_rule::NativeRule;

/// More than any key comes: all is accepted.
pub const NEVER_REACHED: u64 = 1_000_000;
/// Each key comes four times in a batch of 1,000: all of the first one are accepted and half of the
/// second.
pub const REACHED_BY_THE_SECOND: u64 = 6;

/// Whose commits they are.
pub const IDENTITY: Identity = Identity { topic: TopicId(7), partition: PartitionId(0) };

/// A partition without a rule.
pub fn without_rule() -> Bench {
    Bench::new(topic("bookings"), PartitionId(0), Chain::default())
}

/// A partition under the rule in Rust.
pub fn under_native_rule(limit: u64) -> Bench {
    under(NativeRule::new(limit, topic("notices")))
}

/// A partition under `plugins/daily-limit`.
pub fn under_daily_limit(limit: u64) -> Bench {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/daily-limit/daily-limit.wasm");
    let component = std::fs::read(file).expect("plugins/daily-limit has its component");
    let host = Host::new(HostOptions::default()).expect("an engine");
    let artefact = host.compile(&component).expect("our own component compiles");
    let plugin = host.load(name(), Digest([0; 32]), &artefact).expect("and loads");
    let settings = BindingSettings {
        config: format!(r#"{{"limit":{limit},"notice":"notices"}}"#),
        emit: vec![topic("notices")],
        // Under valgrind an event takes some fifty times as long.
        limits: Limits { deadline_ms: Limits::MAX.deadline_ms, ..Limits::default() },
    };
    under(plugin.stage(settings).expect("it takes its config"))
}

fn under(stage: impl Stage + 'static) -> Bench {
    let judge = Judge { plugin: name(), version: 1, digest: Digest([0; 32]) };
    let link = Link::new(judge, FailurePolicy::Closed, Box::new(stage));
    let chain = Chain { revision: ChainRevision(1), links: vec![link] };
    Bench::new(topic("bookings"), PartitionId(0), chain)
}

fn name() -> PluginName {
    PluginName::parse("daily-limit").expect("a name")
}

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("a name")
}

/// What the first `count` batches, of so many events each, are stored as.
pub fn commits(mut bench: Bench, count: u32, events: u32) -> Vec<Commit> {
    let mut commits = Vec::new();
    for number in 0..count {
        let planned = bench.plan(&batch(number, events), NOW).expect("a batch that is judged");
        let Planned::Commit(commit) = planned else { panic!("a numbered batch is stored") };
        bench.apply(&commit);
        commits.push(*commit);
    }
    commits
}

//! How a plugin does wherever it is bound, and what it said lately.

use std::time::Duration;

use futures::future::join_all;
use weir_partition::{Meter, Partition, PluginUse};
use weir_views::catalog::CatalogError;
use weir_wire::admin::{
    BindingReport, BreakerReport, BreakerState, PartitionReport, PluginLog, PluginReport,
};
use weir_wire::fault::Fault;
use weir_wire::ids::{PartitionId, PluginName, TopicName};

use super::{Control, ControlError, Kind, plugin};
use crate::plugin_logs::Cursor;
use crate::router::Topic;

impl Control {
    /// One plugin, and how it does.
    pub async fn plugin(&self, name: &PluginName) -> Result<PluginReport, ControlError> {
        let catalog = self.registry.catalog();
        let described =
            plugin(&catalog, name).ok_or_else(|| CatalogError::UnknownPlugin(name.clone()))?;
        let mut bindings = Vec::new();
        for topic in self.topics.router.topics() {
            let chain = catalog.chain(topic.id).into_iter();
            let bound = chain.flat_map(|chain| &chain.bindings).find(|of| of.plugin == *name);
            let Some(binding) = bound.cloned() else { continue };
            let (total, partitions) = figures(&topic, name).await;
            bindings.push(BindingReport { topic: topic.name.clone(), binding, total, partitions });
        }
        let counted_since = self.topics.logs.since();
        Ok(PluginReport {
            name: name.clone(),
            versions: described.versions,
            counted_since,
            bindings,
        })
    }

    /// What it said lately, from a place on; waits for a line if there is none.
    pub async fn plugin_log(
        &self,
        name: &PluginName,
        after: Option<Cursor>,
        topic: Option<&TopicName>,
        wait: Duration,
    ) -> Result<PluginLog, ControlError> {
        if self.registry.catalog().versions(name).is_empty() {
            return Err(CatalogError::UnknownPlugin(name.clone()).into());
        }
        let stopping = self.topics.stop.clone();
        let read = self.topics.logs.read(name, after, topic, wait, stopping).await;
        read.map_err(|error| ControlError::new(Kind::Unavailable, "overloaded", error.to_string()))
    }
}

/// The plugin in every partition of a topic, and in all of them together.
async fn figures(topic: &Topic, name: &PluginName) -> (PartitionReport, Vec<PartitionReport>) {
    let ask = |partition: &Result<Partition, Fault>| {
        let partition = partition.clone();
        async move { partition?.plugin_use(name).await }
    };
    let told = join_all(topic.partitions.iter().map(ask)).await;
    let mut total = PartitionReport::default();
    let mut all = Meter::default();
    let mut partitions = Vec::new();
    for (number, told) in (0..).map(PartitionId).zip(told) {
        let report = match told {
            Ok(told) => {
                all.add(&told.figures);
                report(number, told)
            }
            Err(fault) => PartitionReport {
                partition: Some(number),
                silent: Some(fault.to_string()),
                ..PartitionReport::default()
            },
        };
        total.memory_bytes = total.memory_bytes.max(report.memory_bytes);
        total.state_keys = total.state_keys.max(report.state_keys);
        total.state_bytes = total.state_bytes.max(report.state_bytes);
        total.breaker = worse(total.breaker, &report.breaker);
        partitions.push(report);
    }
    // Where all agree on it, and not in the middle of a change.
    let at_work = |report: &PartitionReport| (report.version, report.digest);
    if let Some(first) = partitions.first().map(at_work)
        && partitions.iter().all(|report| at_work(report) == first)
    {
        (total.version, total.digest) = first;
    }
    (with_figures(total, &all), partitions)
}

fn report(number: PartitionId, told: PluginUse) -> PartitionReport {
    let report = PartitionReport {
        partition: Some(number),
        version: told.judge.as_ref().map(|judge| judge.version),
        digest: told.judge.as_ref().map(|judge| judge.digest),
        since: told.since,
        unmigrated: told.unmigrated,
        memory_bytes: told.memory_bytes,
        state_keys: told.state_keys,
        state_bytes: told.state_bytes,
        breaker: told.breaker,
        ..PartitionReport::default()
    };
    with_figures(report, &told.figures)
}

fn with_figures(report: PartitionReport, figures: &Meter) -> PartitionReport {
    PartitionReport {
        verdicts: figures.verdicts(),
        latency: figures.latency(),
        fuel: figures.fuel(),
        instances: figures.instances(),
        side_events: figures.side_events(),
        log_bytes_cut: figures.log_bytes_cut(),
        ..report
    }
}

/// Of two breakers the one that calls less, and how often both opened.
fn worse(one: BreakerReport, other: &BreakerReport) -> BreakerReport {
    let rank = |breaker: &BreakerReport| match breaker.state {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open => 2,
    };
    let opened = one.opened + other.opened;
    let is_worse = (rank(&one), one.opened) < (rank(other), other.opened);
    BreakerReport { opened, ..if is_worse { other.clone() } else { one } }
}

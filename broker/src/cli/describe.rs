//! `weir plugin describe`: a plugin's versions, and how it does wherever it is bound.

use weir_wire::admin::{
    BindingReport, BreakerReport, BreakerState, FailurePolicy, PartitionReport, PluginReport,
    PluginVersion, VerdictCounts,
};
use weir_wire::ids::Timestamp;

use crate::table::{Align, Table, bytes, thousands, when};

/// A plugin, for people.
pub fn described(plugin: &PluginReport) -> String {
    let mut text = versions(&plugin.versions);
    for binding in &plugin.bindings {
        text.push('\n');
        text += &bound(binding, plugin.counted_since);
    }
    text
}

/// The versions of a plugin as a table.
pub fn versions(versions: &[PluginVersion]) -> String {
    let mut table = Table::new([
        ("VERSION", Align::Left),
        ("DIGEST", Align::Left),
        ("SIZE", Align::Right),
        ("SCHEMA", Align::Left),
        ("PUSHED", Align::Left),
        ("BOUND TO", Align::Left),
    ]);
    for version in versions {
        let topics: Vec<String> = version.bound_to.iter().map(ToString::to_string).collect();
        table.row([
            format!("{}@{}", version.name, version.version),
            version.digest.to_string(),
            bytes(version.bytes),
            if version.schema.is_empty() { "-".to_owned() } else { version.schema.to_string() },
            when(version.pushed_at),
            if topics.is_empty() { "-".to_owned() } else { topics.join(" ") },
        ]);
    }
    table.to_string()
}

fn bound(report: &BindingReport, since: Timestamp) -> String {
    let BindingReport { topic, binding, total, partitions } = report;
    let policy = match binding.on_failure {
        FailurePolicy::Closed => "closed",
        FailurePolicy::Open => "open",
    };
    let paused = if binding.paused { ", paused" } else { "" };
    let keyspace = match binding.keyspace.is_first() {
        true => String::new(),
        false => format!(", state {}", binding.keyspace),
    };
    let mut text = format!(
        "on {topic}: {}@{}, order {}, on failure {policy}{paused}{keyspace}\ncounted since {}, when the broker started\n",
        binding.plugin,
        binding.version,
        binding.order,
        when(since)
    );
    text += &judged(partitions);
    text += &refusals(&total.verdicts);
    text += &in_use(report);
    for partition in partitions {
        let Some(number) = partition.partition else { continue };
        if let Some(why) = &partition.silent {
            text += &format!("partition {number} says nothing: {why}\n");
        }
        if let Some(why) = &partition.unmigrated {
            text += &format!("partition {number} judges nothing: {why}\n");
        }
        if partition.breaker.state != BreakerState::Closed {
            text += &format!("partition {number}: {}\n", broken(&partition.breaker));
        }
    }
    text
}

fn judged(partitions: &[PartitionReport]) -> String {
    let mut table = Table::new([
        ("PARTITION", Align::Right),
        ("VERSION", Align::Left),
        ("DIGEST", Align::Left),
        ("FROM OFFSET", Align::Right),
        ("ACCEPTED", Align::Right),
        ("REPLACED", Align::Right),
        ("DROPPED", Align::Right),
        ("REJECTED", Align::Right),
        ("FAILED", Align::Right),
        ("P50", Align::Right),
        ("P99", Align::Right),
        ("P99.9", Align::Right),
        ("MAX", Align::Right),
        ("BREAKER", Align::Left),
    ]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for partition in partitions {
        let PartitionReport { verdicts, latency, .. } = partition;
        let breaker = match partition.breaker.state {
            _ if partition.version.is_none() => "-",
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half open",
        };
        table.row([
            or_dash(partition.partition.map(|number| number.to_string())),
            or_dash(partition.version.map(|version| format!("@{version}"))),
            or_dash(partition.digest.map(|digest| digest.short())),
            or_dash(partition.since.map(|offset| thousands(offset.0))),
            thousands(verdicts.accepted),
            thousands(verdicts.replaced),
            thousands(verdicts.dropped),
            thousands(verdicts.rejected_total()),
            thousands(verdicts.faults_total()),
            time(latency.p50_ns),
            time(latency.p99_ns),
            time(latency.p999_ns),
            time(latency.max_ns),
            breaker.to_owned(),
        ]);
    }
    table.to_string()
}

/// The codes behind the sums.
fn refusals(verdicts: &VerdictCounts) -> String {
    let list = |counts: Vec<(&str, u64)>| {
        let counts = counts.iter().filter(|(_, count)| *count > 0);
        let each = counts.map(|(of, count)| format!("{of} {}", thousands(*count)));
        each.collect::<Vec<_>>().join(", ")
    };
    let mut codes: Vec<_> =
        verdicts.rejected.iter().map(|(code, count)| (code.as_str(), *count)).collect();
    codes.push(("with other codes", verdicts.rejected_otherwise));
    let causes = verdicts.faults.iter().map(|(cause, count)| (cause.as_str(), *count)).collect();
    let mut text = String::new();
    if verdicts.rejected_total() > 0 {
        text += &format!("rejected: {}\n", list(codes));
    }
    if verdicts.faults_total() > 0 {
        text += &format!("failed: {}", list(causes));
        text += &match verdicts.passed_open {
            0 => "\n".to_owned(),
            passed => format!("; let pass by its policy: {}\n", thousands(passed)),
        };
    }
    text
}

/// The limits beside what is used of them.
fn in_use(report: &BindingReport) -> String {
    let (total, limits) = (&report.total, &report.binding.limits);
    let mut table = Table::new([
        ("OF EACH PARTITION", Align::Left),
        ("USED", Align::Left),
        ("LIMIT", Align::Right),
    ]);
    let fuel = format!(
        "p50 {}, p99 {}, max {}",
        thousands(total.fuel.p50),
        thousands(total.fuel.p99),
        thousands(total.fuel.max)
    );
    let most = |text: String| format!("{text} at most");
    for (what, used, limit) in [
        ("fuel per event", fuel, thousands(limits.fuel)),
        ("memory", most(bytes(total.memory_bytes)), bytes(limits.memory_bytes)),
        ("state keys", most(thousands(total.state_keys)), thousands(limits.state_keys)),
        ("state", most(bytes(total.state_bytes)), bytes(limits.state_bytes)),
    ] {
        table.row([what.to_owned(), used, limit]);
    }
    format!(
        "{table}{} side events, {} instances made, {} of log lines cut\n",
        thousands(total.side_events),
        thousands(total.instances),
        bytes(total.log_bytes_cut)
    )
}

fn broken(breaker: &BreakerReport) -> String {
    let why = breaker.why.as_deref().unwrap_or("it keeps failing");
    match breaker.open_until {
        Some(until) => format!("not called until {} because {why}", when(until)),
        None => format!("the next event tries it again; it was not called because {why}"),
    }
}

/// A time in the largest unit that keeps it at 1 or above.
fn time(ns: u64) -> String {
    match ns {
        0 => "-".to_owned(),
        1..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use weir_wire::admin::{Binding, FuelUse, Latency, Limits};
    use weir_wire::ids::{Digest, Offset, PartitionId, PluginName, TopicName};

    fn partition() -> PartitionReport {
        PartitionReport {
            partition: Some(PartitionId(0)),
            version: Some(2),
            digest: Some(Digest([0xAB; 32])),
            since: Some(Offset(1_204)),
            verdicts: VerdictCounts {
                accepted: 9_531,
                rejected: [("daily-limit".to_owned(), 455), ("no-key".to_owned(), 14)].into(),
                rejected_otherwise: 3,
                faults: [("plugin-trap".to_owned(), 6)].into(),
                passed_open: 6,
                ..VerdictCounts::default()
            },
            latency: Latency {
                sampled: 600,
                p50_ns: 640,
                p99_ns: 1_900,
                p999_ns: 45_000,
                max_ns: 2_100_000,
            },
            fuel: FuelUse { events: 10_000, p50: 2_047, p99: 2_303, max: 2_310 },
            memory_bytes: 1_114_112,
            instances: 7,
            side_events: 403,
            state_keys: 3_000,
            state_bytes: 96_000,
            breaker: BreakerReport {
                state: BreakerState::Open,
                open_until: Some(Timestamp(1_357_034_400_000)),
                why: Some("it failed 5 times in a row".to_owned()),
                opened: 1,
            },
            ..PartitionReport::default()
        }
    }

    fn report() -> PluginReport {
        let name = PluginName::parse("daily-limit").unwrap();
        let silent = PartitionReport {
            partition: Some(PartitionId(1)),
            silent: Some("corrupt: bad".to_owned()),
            ..PartitionReport::default()
        };
        let binding = Binding {
            plugin: name.clone(),
            version: 2,
            digest: Digest([0xAB; 32]),
            order: 0,
            config: serde_json::json!({}),
            on_failure: FailurePolicy::Open,
            emit: vec![],
            limits: Limits::default(),
            dead_letter: None,
            paused: false,
            keyspace: Default::default(),
        };
        PluginReport {
            name,
            versions: vec![],
            counted_since: Timestamp(1_357_030_000_000),
            bindings: vec![BindingReport {
                topic: TopicName::parse("flights").unwrap(),
                binding,
                total: PartitionReport { partition: None, ..partition() },
                partitions: vec![partition(), silent],
            }],
        }
    }

    #[test]
    fn a_plugin_at_work_is_a_page_for_people() {
        expect![[r#"
            VERSION  DIGEST  SIZE  SCHEMA  PUSHED  BOUND TO

            on flights: daily-limit@2, order 0, on failure open
            counted since 2013-01-01T08:46:40Z, when the broker started
            PARTITION  VERSION  DIGEST        FROM OFFSET  ACCEPTED  REPLACED  DROPPED  REJECTED  FAILED     P50     P99    P99.9     MAX  BREAKER
                    0  @2       abababababab        1,204     9,531         0        0       472       6  640 ns  1.9 us  45.0 us  2.1 ms  open
                    1  -        -                       -         0         0        0         0       0       -       -        -       -  -
            rejected: daily-limit 455, no-key 14, with other codes 3
            failed: plugin-trap 6; let pass by its policy: 6
            OF EACH PARTITION  USED                                  LIMIT
            fuel per event     p50 2,047, p99 2,303, max 2,310  10,000,000
            memory             1.1 MiB at most                    64.0 MiB
            state keys         3,000 at most                     1,000,000
            state              93.8 KiB at most                  256.0 MiB
            403 side events, 7 instances made, 0 B of log lines cut
            partition 0: not called until 2013-01-01T10:00:00Z because it failed 5 times in a row
            partition 1 says nothing: corrupt: bad
        "#]].assert_eq(&described(&report()));
    }

    #[test]
    fn times_have_a_unit() {
        for (ns, text) in [
            (0, "-"),
            (640, "640 ns"),
            (1_900, "1.9 us"),
            (45_000_000, "45.0 ms"),
            (1_000_000_000, "1.0 s"),
        ] {
            assert_eq!(time(ns), text);
        }
    }
}

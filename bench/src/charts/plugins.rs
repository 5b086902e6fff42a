//! What rules cost: none, one that keeps nothing, one that counts, and three.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Chart;
use super::plots::{CPU, LATENCY, RATE};
use super::point::peak_and_latency;
use crate::load::{Fsync, Load, Setting};
use crate::report::{Axis, Plot, Row};
use crate::weir::{Before, Rule, Weir};

const EVENT_BYTES: usize = 128;

/// The chart.
pub const CHART: Chart = Chart {
    name: "plugins",
    about: "128 B events under no rule, one, and three, all accepted. accept is the bare call; redact \
            looks and keeps nothing; daily-limit counts per key. Latency at half of the most.",
    seconds: [20, 90],
    x: Axis { label: "plugins", is_log: false, write: |x| format!("{x}") },
    plots: &[
        Plot { title: "The most events a second, by the rules that judge them", ..RATE },
        LATENCY,
        CPU,
    ],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let daily_limit = || Rule::daily_limit(Rule::NO_LIMIT);
        let mut rows = Vec::new();
        for (series, rules) in [
            ("none", vec![]),
            ("accept", vec![Rule::accept()]),
            ("redact", vec![Rule::redact()]),
            ("daily-limit", vec![daily_limit()]),
            (
                "redact, rate-limit, daily-limit",
                vec![Rule::redact(), Rule::rate_limit(), daily_limit()],
            ),
        ] {
            setting.tell(series);
            let load = Load::of(EVENT_BYTES, setting.size);
            let mut weir = Weir::start(setting, &rules, Before::Nothing).await?;
            let empty = Row::new(CHART.name, series, rules.len() as f64, Fsync::EachAnswer);
            rows.push(peak_and_latency(setting, &mut weir, &load, empty).await?);
        }
        Ok(rows)
    }
    .boxed()
}

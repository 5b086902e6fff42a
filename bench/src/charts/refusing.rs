//! What a refusal costs beside an acceptance.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Chart;
use super::plots::{LATENCY, RATE};
use super::point::peak_and_latency;
use crate::load::{Fsync, Load, Setting};
use crate::report::{Axis, Plot, Row, Shape};
use crate::weir::{Before, Refusing, Rule, Weir};

const EVENT_BYTES: usize = 128;
const PERCENTS: [u32; 4] = [0, 10, 50, 100];

/// The chart.
pub const CHART: Chart = Chart {
    name: "refusing",
    about: "128 B events under daily-limit, of which so many in a hundred are over the limit and refused \
            to their publisher, each with code, sentence and time. The share is exact; every verdict is \
            checked. Latency at half of the most.",
    seconds: [20, 85],
    x: Axis { label: "% refused", is_log: false, write: |x| format!("{x}") },
    plots: &[
        Plot {
            title: "The most events a second, by how many are refused",
            shape: Shape::Lines,
            ..RATE
        },
        Plot { shape: Shape::Lines, ..LATENCY },
    ],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let mut rows = Vec::new();
        for percent in PERCENTS {
            setting.tell(&format!("{percent} % refused"));
            let load = Load::of(EVENT_BYTES, setting.size);
            let rules = [Rule::daily_limit(Refusing::LIMIT)];
            let before = Before::Refusing(Refusing { percent });
            let mut weir = Weir::start(setting, &rules, before).await?;
            let x = f64::from(percent);
            let empty = Row::new(CHART.name, "daily-limit", x, Fsync::EachAnswer);
            rows.push(peak_and_latency(setting, &mut weir, &load, empty).await?);
        }
        Ok(rows)
    }
    .boxed()
}

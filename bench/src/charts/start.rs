//! How long a fresh broker takes to serve, and how large the program is.

use std::fs;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Chart;
use crate::load::{Fsync, Setting};
use crate::measure::memory_now;
use crate::report::{Axis, Metric, Plot, Row, Shape};
use crate::weir::Broker;

const STARTS: usize = 5;
const MIB: f64 = (1 << 20) as f64;

/// The chart.
pub const CHART: Chart = Chart {
    name: "start",
    about: "The release program on an empty directory until it serves (five times), its resident memory \
            then, and the size of its file.",
    seconds: [1, 1],
    x: Axis { label: "", is_log: false, write: |_| String::new() },
    plots: &[Plot {
        title: "From start to serving, on an empty directory",
        suffix: "",
        metrics: &[Metric::Milliseconds],
        values: "ms",
        shape: Shape::Bars,
        is_log: false,
    }],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let (mut took, mut memory) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let broker = Broker::start(setting)?;
            took.push(broker.ready_after().as_secs_f64() * 1e3);
            // It serves, and does not only say so.
            broker.client().await?;
            memory.push(memory_now(broker.pid())? as f64 / MIB);
        }
        let size = fs::metadata(&setting.weir).map_err(|error| error.to_string())?.len();
        let row = |series| Row::new(CHART.name, series, 0.0, Fsync::None);
        Ok(vec![
            row("start to serving").with(Metric::Milliseconds, &took),
            row("resident memory").with(Metric::Mib, &memory),
            row("the program's file").with(Metric::Mib, &[size as f64 / MIB]),
        ])
    }
    .boxed()
}

//! What connections cost that do nothing.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::sleep;

use super::Chart;
use crate::load::{Fsync, Setting};
use crate::measure::memory_now;
use crate::report::{Axis, Metric, Plot, Row, Shape};
use crate::weir::Broker;

const CONNECTIONS: [u32; 3] = [10, 100, 1_000];
/// Made side by side: below what makes the broker ask for a proof of address.
const CONNECTING_MAX: usize = 32;
/// After the last handshake, until what it took is given back.
const SETTLING: Duration = Duration::from_secs(1);

/// The chart.
pub const CHART: Chart = Chart {
    name: "idle",
    about: "The broker's resident memory that connections add which were greeted and then do nothing.",
    seconds: [14, 14],
    x: Axis { label: "idle connections", is_log: true, write: |x| format!("{x}") },
    plots: &[Plot {
        title: "Memory that idle connections add",
        suffix: "",
        metrics: &[Metric::Mib],
        values: "MiB",
        shape: Shape::Lines,
        is_log: true,
    }],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let mut rows = Vec::new();
        for connections in CONNECTIONS {
            setting.tell(&format!("{connections} connections"));
            let broker = Broker::start(setting)?;
            // What the first one needs all share.
            let first = broker.client().await?;
            sleep(SETTLING).await;
            let before = memory_now(broker.pid())?;
            let all: Vec<_> = stream::iter(0..connections)
                .map(|_| broker.client())
                .buffered(CONNECTING_MAX)
                .try_collect()
                .await?;
            sleep(SETTLING).await;
            let added = memory_now(broker.pid())?.saturating_sub(before) as f64;
            let row = Row::new(CHART.name, "greeted", f64::from(connections), Fsync::None);
            rows.push(
                row.with(Metric::Mib, &[added / f64::from(1 << 20)])
                    .with(Metric::KibEach, &[added / 1024.0 / f64::from(connections)]),
            );
            drop((first, all));
        }
        Ok(rows)
    }
    .boxed()
}

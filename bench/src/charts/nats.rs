//! Each way to publish to NATS JetStream, so that a reader sees that the first chart has the best.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Chart;
use super::plots::{self, RATE};
use super::point::peak;
use crate::load::{Fsync, Load, Setting, Subject};
use crate::peers::{Way, has_nats, jetstream, todays_way};
use crate::report::{Plot, Row};

/// Bytes of an event: small ones, where ways differ most.
const EVENT_BYTES: usize = 128;

/// The chart.
pub const CHART: Chart = Chart {
    name: "nats",
    about: "NATS JetStream in each way that there is to publish to it: asynchronously, in atomic batches, and \
            by fast ingest; with a service that counts, and without.",
    seconds: [40, 200],
    x: plots::EVENT_BYTES,
    plots: &[Plot { is_log: true, ..RATE }],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let mut rows = Vec::new();
        let load = Load::of(EVENT_BYTES, setting.size);
        for fsync in
            [Fsync::EachAnswer, Fsync::Interval120s].into_iter().filter(|_| has_nats(setting))
        {
            for way in Way::ALL {
                let mut subject = todays_way(setting, fsync, way).await?;
                let series = format!("NATS and a service, {}", way.name());
                rows.push(row(setting, &mut *subject, &load, series, fsync).await?);
                // Its server must not run beside the next one.
                drop(subject);
                let mut subject = jetstream(setting, fsync, way).await?;
                let series = format!("NATS, no rule, {}", way.name());
                rows.push(row(setting, &mut *subject, &load, series, fsync).await?);
            }
        }
        Ok(rows)
    }
    .boxed()
}

async fn row(
    setting: &Setting,
    subject: &mut dyn Subject,
    load: &Load,
    series: String,
    fsync: Fsync,
) -> Result<Row, String> {
    setting.tell(&format!("{series}, fsync {}", fsync.name()));
    let runs = peak(setting, subject, load).await?;
    Ok(Row::new(CHART.name, &series, EVENT_BYTES as f64, fsync).with_throughput(&runs))
}

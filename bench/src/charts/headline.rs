//! The first question: how many events a second, judged and durable, and how long one waits.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Chart;
use super::plots::{self, CPU, LATENCY, RATE};
use super::point::peak_and_latency;
use crate::load::{Fsync, Load, Setting};
use crate::peers::{TODAY, has_nats};
use crate::report::{Plot, Row};
use crate::weir::{Before, Rule, Weir};

/// Bytes of an event: small ones, where each costs, and such as many people have.
const SIZES: [usize; 2] = [128, 1024];
/// The chart.
pub const CHART: Chart = Chart {
    name: "headline",
    about: "Events judged by daily-limit and durable, from publisher to verdict, client and server on \
            one machine; beside it what people use today: NATS JetStream with a service that counts, \
            and alone. Latency at half of the most.",
    seconds: [8, 35],
    x: plots::EVENT_BYTES,
    plots: &[Plot { is_log: true, ..RATE }, Plot { is_log: true, ..LATENCY }, CPU],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let mut rows = Vec::new();
        let has_nats = has_nats(setting);
        for event_bytes in SIZES {
            let load = Load::of(event_bytes, setting.size);
            let row = |series, fsync| Row::new(CHART.name, series, event_bytes as f64, fsync);
            setting.tell(&format!("weir, {event_bytes} B"));
            let rules = [Rule::daily_limit(Rule::NO_LIMIT)];
            let mut weir = Weir::start(setting, &rules, Before::Nothing).await?;
            let empty = row("weir, daily-limit", Fsync::EachAnswer);
            rows.push(peak_and_latency(setting, &mut weir, &load, empty).await?);
            drop(weir);
            for peer in TODAY.iter().filter(|_| has_nats) {
                setting.tell(&format!(
                    "{}, fsync {}, {event_bytes} B",
                    peer.series,
                    peer.fsync.name()
                ));
                let mut subject = (peer.start)(setting).await?;
                let empty = row(peer.series, peer.fsync);
                rows.push(peak_and_latency(setting, &mut *subject, &load, empty).await?);
            }
        }
        Ok(rows)
    }
    .boxed()
}

//! What the machine could do: as many events a second through QUIC alone, and through the rule alone.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Chart;
use super::plots::{self, RATE};
use super::point::peak;
use crate::load::{Load, Setting};
use crate::peers::LIMITS;
use crate::report::{Plot, Row};

/// Bytes of an event, as in the first chart.
const SIZES: [usize; 2] = [128, 1024];

/// The chart.
pub const CHART: Chart = Chart {
    name: "limits",
    about: "The same events through parts of the road: one way through QUIC with TLS, set up as weir is and \
            as is fastest on loopback, nobody looking at them; and counted by the rule in plain Rust, in \
            record batches that are parsed as weir does.",
    seconds: [10, 75],
    x: plots::EVENT_BYTES,
    plots: &[Plot { is_log: true, ..RATE }],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let mut rows = Vec::new();
        for event_bytes in SIZES {
            let load = Load::of(event_bytes, setting.size);
            for part in LIMITS {
                setting.tell(&format!("{}, {event_bytes} B", part.series));
                let mut subject = (part.start)(setting).await?;
                let runs = peak(setting, &mut *subject, &load).await?;
                let row = Row::new(CHART.name, part.series, event_bytes as f64, part.fsync);
                rows.push(row.with_throughput(&runs));
            }
        }
        Ok(rows)
    }
    .boxed()
}

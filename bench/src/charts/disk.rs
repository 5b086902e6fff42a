//! What the disk could do: blocks appended to a file, with one fdatasync each.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Chart;
use super::point::peak;
use crate::load::{Fsync, Load, Setting};
use crate::peers::Disk;
use crate::report::{Axis, Metric, Plot, Row, Shape};

/// Bytes between two syncs: from a small commit to a large group of them.
const BLOCKS: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];

/// The chart.
pub const CHART: Chart = Chart {
    name: "disk",
    about: "The disk under the data directories alone: blocks appended to a file, one fdatasync after each.",
    seconds: [6, 50],
    x: Axis { label: "KiB between two syncs", is_log: true, write: |x| format!("{x} KiB") },
    plots: &[Plot {
        title: "Written and on the disk",
        suffix: "rate",
        metrics: &[Metric::MegabytesPerSecond],
        values: "MB/s",
        shape: Shape::Lines,
        is_log: true,
    }],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let mut rows = Vec::new();
        let mut disk = Disk::start(setting)?;
        for bytes in BLOCKS {
            setting.tell(&format!("a sync for each {} KiB", bytes >> 10));
            let runs = peak(setting, &mut disk, &Load::of(bytes, setting.size)).await?;
            let row = Row::new(CHART.name, "the disk", (bytes >> 10) as f64, Fsync::EachAnswer);
            let syncs: Vec<f64> = runs.iter().map(|run| run.events_per_second()).collect();
            let megabytes: Vec<f64> = syncs.iter().map(|rate| rate * bytes as f64 / 1e6).collect();
            rows.push(
                row.with(Metric::MegabytesPerSecond, &megabytes)
                    .with(Metric::SyncsPerSecond, &syncs),
            );
        }
        Ok(rows)
    }
    .boxed()
}

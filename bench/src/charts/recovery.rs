//! How long a killed broker takes to serve again, by how much it has.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Chart;
use crate::load::{Fsync, Load, Setting, Size};
use crate::report::{Axis, Metric, Plot, Row, Shape};
use crate::weir::{Before, Rule, Topic, Weir};

const EVENT_BYTES: usize = 1024;
/// Published before a further kill, so that there is something behind the checkpoint again.
const BETWEEN_BYTES: u64 = 16 << 20;

/// The chart.
pub const CHART: Chart = Chart {
    name: "recovery",
    about: "From the start of the process after kill -9 until it has answered a publish, by the bytes of \
            events in four partitions (1 KiB events under daily-limit, 10,000 keys). With the views as \
            the kill left them, and with views/ deleted, where all state is folded from the log again. \
            The views' checkpoint is as old as it then happens to be, files are in the page cache. Nothing \
            that was answered is missing afterwards.",
    seconds: [5, 60],
    x: Axis { label: "MiB of events", is_log: true, write: |x| format!("{x}") },
    plots: &[Plot {
        title: "Serving again after kill -9",
        suffix: "",
        metrics: &[Metric::Milliseconds],
        values: "ms from start to the first answer",
        shape: Shape::Lines,
        is_log: true,
    }],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let sizes_mib: &[u64] = match setting.size {
            Size::Short => &[16, 64],
            Size::Full => &[64, 256, 1024],
        };
        let load = Load::of(EVENT_BYTES, setting.size);
        let mut rows = Vec::new();
        for size_mib in sizes_mib {
            let mut weir =
                Weir::start(setting, &[Rule::daily_limit(Rule::NO_LIMIT)], Before::Nothing).await?;
            let mut topic = weir.topic(&load).await?;
            setting.tell(&format!("{size_mib} MiB"));
            weir.fill(&mut topic, &load, (size_mib << 20) / EVENT_BYTES as u64).await?;
            weir.check(&topic).await?;
            for (series, is_deleting) in [("views as left", false), ("views deleted", true)] {
                let mut took = Vec::new();
                for repeat in 0..setting.size.repeats() {
                    if repeat != 0 && !is_deleting {
                        let between = BETWEEN_BYTES / EVENT_BYTES as u64;
                        weir.fill(&mut topic, &load, between).await?;
                    }
                    took.push(kill_and_serve(&mut weir, &mut topic, &load, is_deleting).await?);
                }
                let row = Row::new(CHART.name, series, *size_mib as f64, Fsync::EachAnswer);
                rows.push(row.with(Metric::Milliseconds, &took));
            }
        }
        Ok(rows)
    }
    .boxed()
}

/// Kills it, and starts it again; gives the ms until it has answered.
async fn kill_and_serve(
    weir: &mut Weir,
    topic: &mut Topic,
    load: &Load,
    is_deleting: bool,
) -> Result<f64, String> {
    weir.broker.kill()?;
    if is_deleting {
        weir.broker.delete_views()?;
    }
    weir.start_again()?;
    let one_lane = Load { partitions: 1, connections: 1, ..*load };
    weir.fill(topic, &one_lane, 1).await?;
    let took = weir.broker.started().elapsed();
    weir.check_stored(topic).await?;
    Ok(took.as_secs_f64() * 1e3)
}

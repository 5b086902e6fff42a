//! Measuring one point: the same load several times, and at half of what it came to.

use crate::load::{Load, Setting, Subject};
use crate::measure::{Measured, SlownessWatch, until_calm};
use crate::report::{Metric, Row};

/// The share of the most at which latency is told: a rate that a service would be run at.
pub const SHARE_FOR_LATENCY: f64 = 0.5;

/// Waits until the disk has done what earlier runs left it to do.
pub async fn calm(setting: &Setting) -> Result<(), String> {
    let folder = setting.scratch.clone();
    let calmed = tokio::task::spawn_blocking(move || until_calm(&folder)).await;
    calmed.map_err(|error| error.to_string())?
}

/// Waits for a run, and looks meanwhile whether the machine is slow, if the run has latencies: where the most is
/// looked for a look would be in the way.
pub async fn watched(
    load: &Load,
    run: impl Future<Output = Result<Measured, String>>,
) -> Result<Measured, String> {
    if !load.is_paced() {
        return run.await;
    }
    let watch = SlownessWatch::begin().map_err(|error| format!("no thread: {error}"))?;
    let measured = run.await;
    let slow_share = Some(watch.end());
    Ok(Measured { slow_share, ..measured? })
}

/// The most a subject takes, as often as the size of the run says.
pub async fn peak(
    setting: &Setting,
    subject: &mut dyn Subject,
    load: &Load,
) -> Result<Vec<Measured>, String> {
    let mut runs = Vec::new();
    for _ in 0..setting.size.repeats() {
        calm(setting).await?;
        let run = watched(load, subject.run(load)).await?;
        if run.events == 0 {
            return Err(format!("nothing was answered within {:?}", load.duration));
        }
        runs.push(run);
    }
    Ok(runs)
}

/// The row with the most a subject takes, and with its latency at half of that.
pub async fn peak_and_latency(
    setting: &Setting,
    subject: &mut dyn Subject,
    load: &Load,
    row: Row,
) -> Result<Row, String> {
    let row = row.with_throughput(&peak(setting, subject, load).await?);
    let most = row.metrics[&Metric::EventsPerSecond].median;
    let paced = load.at((most * SHARE_FOR_LATENCY).max(1.0));
    Ok(row.with_latency(&peak(setting, subject, &paced).await?))
}

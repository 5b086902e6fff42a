//! What publishers notice of a rule that is swapped under them all the time.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval};
use weir_client::Admin;
use weir_wire::admin::BindingSpec;
use weir_wire::ids::{PluginName, TopicName};

use super::Chart;
use super::point::{SHARE_FOR_LATENCY, calm, peak, watched};
use crate::load::{Fsync, Load, Setting};
use crate::report::{Axis, Metric, Plot, Row, Shape};
use crate::weir::{Before, Rule, Weir, another_version, name};

const EVENT_BYTES: usize = 128;
/// Ten swaps a second.
const SWAP_EVERY: Duration = Duration::from_millis(100);

/// The chart.
pub const CHART: Chart = Chart {
    name: "swaps",
    about: "128 B events at half of the most, under daily-limit as it is and while it is swapped for \
            another version of itself ten times a second, through the admin API. Every verdict is \
            checked: counts go on over all swaps.",
    seconds: [8, 30],
    x: Axis { label: "swaps a second asked", is_log: false, write: |x| format!("{x}") },
    plots: &[Plot {
        title: "From event to verdict, while the rule is swapped",
        suffix: "",
        metrics: &[Metric::P50Us, Metric::P99Us, Metric::P999Us, Metric::MaxUs],
        values: "µs",
        shape: Shape::Bars,
        is_log: true,
    }],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let rule = Rule::daily_limit(Rule::NO_LIMIT);
        let load = Load::of(EVENT_BYTES, setting.size);
        let mut weir = Weir::start(setting, std::slice::from_ref(&rule), Before::Nothing).await?;
        let plugin = name(rule.plugin, PluginName::parse)?;
        let second = another_version(&rule.read(&setting.root)?);
        let pushed = weir.admin.push_plugin(&plugin, second).await;
        pushed.map_err(|error| weir.broker.blame(&error))?;

        setting.tell("the most");
        let most = Row::new("", "", 0.0, Fsync::EachAnswer)
            .with_throughput(&peak(setting, &mut weir, &load).await?)
            .metrics[&Metric::EventsPerSecond]
            .median;
        let paced = load.at(most * SHARE_FOR_LATENCY);
        let mut rows = Vec::new();
        for (series, x) in [("no swaps", 0.0), ("10 swaps a second", 10.0)] {
            setting.tell(series);
            let (mut runs, mut swaps) = (Vec::new(), Vec::new());
            for _ in 0..setting.size.repeats() {
                calm(setting).await?;
                let mut topic = weir.topic(&paced).await?;
                let swapper = (x != 0.0).then(|| {
                    let time = paced.warm_up + paced.duration;
                    let swapping =
                        swap(weir.admin.clone(), topic.name.clone(), plugin.clone(), time);
                    tokio::spawn(swapping)
                });
                let measured = watched(&paced, weir.load(&mut topic, &paced)).await?;
                if let Some(swapper) = swapper {
                    let rate = swapper.await.map_err(|error| error.to_string())?;
                    swaps.push(rate.map_err(|why| weir.broker.blame(&why))?);
                }
                weir.check(&topic).await?;
                weir.delete(&topic).await?;
                runs.push(measured);
            }
            let row = Row::new(CHART.name, series, x, Fsync::EachAnswer);
            rows.push(
                row.with_latency(&runs).with_usage(&runs).with(Metric::SwapsPerSecond, &swaps),
            );
        }
        Ok(rows)
    }
    .boxed()
}

/// Binds the one version and the other in turns for so long; gives how many swaps a second it came to.
async fn swap(
    admin: Admin,
    topic: TopicName,
    plugin: PluginName,
    time: Duration,
) -> Result<f64, String> {
    let began = Instant::now();
    let mut tick = interval(SWAP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swaps = 0_u32;
    while began.elapsed() < time {
        tick.tick().await;
        let version = 1 + swaps % 2;
        let spec = BindingSpec { version: Some(version.to_string()), ..BindingSpec::default() };
        let change = admin.bind(&topic, &plugin, &spec).await.map_err(|error| error.to_string())?;
        let is_bound = change.chain.bindings.iter().any(|binding| binding.version == version);
        if !is_bound || !change.pending.is_empty() || !change.unmigrated.is_empty() {
            return Err(format!("version {version} is not at work everywhere: {change:?}"));
        }
        swaps += 1;
    }
    Ok(f64::from(swaps) / began.elapsed().as_secs_f64())
}

//! How the cost of an event grows with partitions, keys, connections, the event's size and the batch's.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Chart;
use super::plots::{CPU, RATE};
use super::point::peak;
use crate::load::{Fsync, Load, Setting, Size};
use crate::report::{Axis, Metric, Plot, Row, Shape};
use crate::weir::{Before, Rule, Weir};

const EVENT_BYTES: usize = 128;
/// Of a batch where something else grows: as many publishers of moderate rate have them.
const BATCH_EVENTS: u32 = 100;
/// State is bounded per partition: this many hold ten million keys.
const PARTITIONS_FOR_KEYS: u32 = 16;

const PLOTS: &[Plot] = &[Plot { shape: Shape::Lines, ..CPU }, Plot { shape: Shape::Lines, ..RATE }];

/// What spans powers of ten.
const WIDE_PLOTS: &[Plot] = &[
    Plot { shape: Shape::Lines, is_log: true, ..CPU },
    Plot { shape: Shape::Lines, is_log: true, ..RATE },
    Plot {
        title: "The most bytes a second",
        suffix: "bytes",
        metrics: &[Metric::MegabytesPerSecond],
        values: "MB/s",
        shape: Shape::Lines,
        is_log: false,
    },
];

/// By partitions.
pub const PARTITIONS: Chart = Chart {
    name: "partitions",
    about: "128 B events under daily-limit in batches of 100, each partition with a publisher of its own.",
    seconds: [24, 50],
    x: Axis { label: "partitions", is_log: true, write: whole },
    plots: PLOTS,
    rows: |setting| {
        async move {
            let load = |partitions| Load {
                partitions,
                connections: partitions.min(2),
                batch_events: BATCH_EVENTS,
                ..Load::of(EVENT_BYTES, setting.size)
            };
            grow(setting, &PARTITIONS, &[1, 10, 100, 1_000], load).await
        }
        .boxed()
    },
};

/// By keys.
pub const KEYS: Chart = Chart {
    name: "keys",
    about: "128 B events under daily-limit in 16 partitions, by how many keys it counts. Each key has a \
            count before it is measured, and all are met equally often.",
    seconds: [10, 80],
    x: Axis { label: "keys with state", is_log: true, write: whole },
    plots: KEYS_PLOTS,
    rows: keys,
};

const KEYS_PLOTS: &[Plot] = &[
    Plot { shape: Shape::Lines, ..CPU },
    Plot {
        title: "The broker's memory at its most",
        suffix: "memory",
        metrics: &[Metric::ServersMemoryPeakMib],
        values: "MiB",
        shape: Shape::Lines,
        is_log: true,
    },
];

/// By connections.
pub const CONNECTIONS: Chart = Chart {
    name: "connections",
    about: "128 B events under daily-limit in batches of 100 and 4 partitions, from so many connections \
            that all publish.",
    seconds: [26, 60],
    x: Axis { label: "connections", is_log: true, write: whole },
    plots: PLOTS,
    rows: |setting| {
        async move {
            let load = |connections| Load {
                connections,
                batch_events: BATCH_EVENTS,
                ..Load::of(EVENT_BYTES, setting.size)
            };
            grow(setting, &CONNECTIONS, &[1, 10, 100, 1_000], load).await
        }
        .boxed()
    },
};

/// By the event's size.
pub const SIZES: Chart = Chart {
    name: "sizes",
    about: "Events under daily-limit from 100 B to 1 MiB, key included, in batches of 256 KiB (or of one \
            event).",
    seconds: [13, 50],
    x: Axis { label: "bytes of an event", is_log: true, write: bytes },
    plots: WIDE_PLOTS,
    rows: |setting| {
        async move {
            let load = |event_bytes: u32| Load::of(event_bytes as usize, setting.size);
            grow(setting, &SIZES, &[100, 1 << 10, 16 << 10, 256 << 10, 1 << 20], load).await
        }
        .boxed()
    },
};

/// By the batch's.
pub const BATCHES: Chart = Chart {
    name: "batches",
    about: "128 B events under daily-limit in batches of so many, 4 partitions.",
    seconds: [13, 50],
    x: Axis { label: "events of a batch", is_log: true, write: whole },
    plots: WIDE_PLOTS,
    rows: |setting| {
        async move {
            let load = |batch_events| Load { batch_events, ..Load::of(EVENT_BYTES, setting.size) };
            grow(setting, &BATCHES, &[1, 10, 100, 1_000, 10_000], load).await
        }
        .boxed()
    },
};

fn whole(x: f64) -> String {
    match x {
        x if 1e6 <= x => format!("{} M", x / 1e6),
        x if 1e4 <= x => format!("{} k", x / 1e3),
        x => format!("{x}"),
    }
}

fn bytes(x: f64) -> String {
    const KIB: f64 = 1024.0;
    match x {
        x if KIB * KIB <= x => format!("{} MiB", x / KIB / KIB),
        x if KIB <= x => format!("{} KiB", x / KIB),
        x => format!("{x} B"),
    }
}

/// Measures the most at each of these places, each on a broker of its own.
async fn grow(
    setting: &Setting,
    chart: &Chart,
    places: &[u32],
    load: impl Fn(u32) -> Load,
) -> Result<Vec<Row>, String> {
    let rules = [Rule::daily_limit(Rule::NO_LIMIT)];
    let mut rows = Vec::new();
    for place in places {
        let x = f64::from(*place);
        setting.tell(&format!("{} {}", chart.x.text(x), chart.x.label));
        let mut weir = Weir::start(setting, &rules, Before::Nothing).await?;
        let runs = peak(setting, &mut weir, &load(*place)).await?;
        let row = Row::new(chart.name, "daily-limit", x, Fsync::EachAnswer);
        rows.push(row.with_throughput(&runs));
    }
    Ok(rows)
}

/// All measurements of one number of keys are made on one topic: making the state takes longest.
fn keys(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    async move {
        let numbers: &[u32] = match setting.size {
            Size::Short => &[10_000, 100_000, 1_000_000],
            Size::Full => &[10_000, 100_000, 1_000_000, 10_000_000],
        };
        let mut rows = Vec::new();
        for keys in numbers {
            let x = f64::from(*keys);
            setting.tell(&format!("{} keys", whole(x)));
            let load = Load {
                keys: *keys,
                partitions: PARTITIONS_FOR_KEYS,
                ..Load::of(EVENT_BYTES, setting.size)
            };
            let rules = [Rule::daily_limit(Rule::NO_LIMIT)];
            let mut weir = Weir::start(setting, &rules, Before::EachKey).await?;
            let mut topic = weir.topic(&load).await?;
            let mut runs = Vec::new();
            for _ in 0..setting.size.repeats() {
                runs.push(weir.load(&mut topic, &load).await?);
            }
            weir.check(&topic).await?;
            let row = Row::new(KEYS.name, "daily-limit", x, Fsync::EachAnswer);
            rows.push(row.with_throughput(&runs));
        }
        Ok(rows)
    }
    .boxed()
}

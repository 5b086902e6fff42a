//! B1 to B10, B14, B15: plugins that attack the broker in the data path. Each fails with its own
//! code, leaves nothing behind, and the next good event is judged as if it had never been there; the
//! broker is the same process with the memory it had, and a topic beside it is served meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::bed::{Bed, probe, topics, word};
use weir_tests::torture::{Row, sized};
use weir_wire::admin::{BindingSpec, LimitChanges};

use super::neighbour::Neighbour;

/// What the broker may hold more of after a bomb than before.
const MEMORY_BYTES_MORE_MAX: u64 = 64 << 20;
/// How often each bomb goes off.
const TIMES: (u64, u64) = (20, 1_000);
/// Failures in a row at which the breaker opens.
const BREAKER_FAILURES: usize = 5;

fn spec(limits: LimitChanges) -> BindingSpec {
    BindingSpec {
        config: Some(json!(0)),
        emit: topics(&["notices"]),
        limits: Some(limits),
        ..BindingSpec::default()
    }
}

/// What has to hold when the bombs are over.
struct Before {
    process: u32,
    memory_bytes: u64,
}

impl Before {
    fn of(bed: &Bed) -> Self {
        Self { process: bed.broker.process(), memory_bytes: bed.memory_bytes() }
    }

    fn still_holds(&self, bed: &Bed, what: &str) {
        assert_eq!(bed.broker.process(), self.process, "{what}: the same process");
        let more = bed.memory_bytes().saturating_sub(self.memory_bytes);
        assert!(more < MEMORY_BYTES_MORE_MAX, "{what}: the broker holds {more} bytes more");
        let log = bed.broker.log();
        assert!(!log.contains("panicked"), "{what}: a panic in the broker: {log}");
    }
}

async fn bed() -> Bed {
    let bed = Bed::start().await;
    for name in ["bombed", "quiet", "notices"] {
        bed.topic(name).await;
    }
    bed.push("script", probe("script")).await.unwrap();
    bed.bind("quiet", "script", spec(LimitChanges::default())).await.unwrap();
    bed
}

/// Lets the bomb that `deed` names go off, a good event after each.
async fn go_off(row: &mut Row, bed: &Bed, deed: &[u8], code: &str) {
    let what = format!("deed {}", String::from_utf8_lossy(deed));
    // The first one brings code and caches into memory. Good ones before it, so that the breaker,
    // which opens for more failures than successes, has no part in this.
    bed.publish("bombed", &[b"c", b"c"]).await;
    let told = bed.publish("bombed", &[deed]).await;
    assert_eq!(word(&told[0].verdict), code, "{what}");
    let before = Before::of(bed);
    let stored = bed.stored("bombed").await.len();
    let (quiet, times) = (Neighbour::start(&bed.client).await, sized(TIMES.0, TIMES.1));
    let mut longest = Duration::ZERO;
    for _ in 0..times {
        let began = Instant::now();
        let told = bed.publish("bombed", &[deed]).await;
        longest = longest.max(began.elapsed());
        assert_eq!(word(&told[0].verdict), code, "{what}");
        let told = bed.publish("bombed", &[b"c"]).await;
        assert_eq!(word(&told[0].verdict), "accepted", "{what}: the next good event");
    }
    let (median, p99) = quiet.stop().await;
    assert_eq!(bed.stored("bombed").await.len() - stored, times as usize, "{what}: only good ones");
    before.still_holds(bed, &what);
    row.count(&format!("{what}: times"), times);
    row.count(&format!("{what}: longest answer us"), longest.as_micros() as u64);
    row.count(&format!("{what}: neighbour p50 us"), median);
    row.count(&format!("{what}: neighbour p99 us"), p99);
}

async fn row(name: &'static str, what: &'static str, bombs: &[(&[u8], &str)]) {
    let mut row = Row::begin(name, what);
    let bed = bed().await;
    bed.bind("bombed", "script", spec(LimitChanges::default())).await.unwrap();
    let alone = Neighbour::start(&bed.client).await;
    for _ in 0..sized(TIMES.0, TIMES.1) {
        bed.publish("bombed", &[b"c"]).await;
    }
    let (median, p99) = alone.stop().await;
    row.count("no bomb: neighbour p50 us", median);
    row.count("no bomb: neighbour p99 us", p99);
    for (deed, code) in bombs {
        go_off(&mut row, &bed, deed, code).await;
    }
    assert_eq!(bed.stored("notices").await.len(), 0, "what a failed event emitted never left");
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b01_endless_loops() {
    row("B1", "endless loops", &[(b"f", "plugin-timeout"), (b"h", "plugin-timeout")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b02_endless_starts() {
    let mut row = Row::begin("B2", "endless starts");
    let bed = bed().await;
    bed.push("starter", probe("spin-in-start")).await.unwrap();
    let before = Before::of(&bed);
    // Each is a second of work.
    for _ in 0..sized(4, TIMES.1) {
        let began = Instant::now();
        let bound = bed.bind("bombed", "starter", spec(LimitChanges::default())).await;
        let why = bound.unwrap_err();
        assert_eq!(why.code(), Some("does-not-start"), "{why}");
        row.count("refusals ms", began.elapsed().as_millis() as u64);
        row.count("refusals", 1);
    }
    let told = bed.publish("bombed", &[b"a"]).await;
    assert_eq!(word(&told[0].verdict), "accepted", "nothing was bound");
    before.still_holds(&bed, "a start without an end");
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_memory() {
    row("B3", "all the memory", &[(b"m", "plugin-memory")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b04_bulk_operations() {
    row("B4", "bulk operations as large as the memory", &[(b"b", "plugin-timeout")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b05_recursion() {
    row("B5", "recursion", &[(b"s", "plugin-stack")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b06_too_much_output() {
    let bombs: &[(&[u8], &str)] = &[
        (b"o", "plugin-output-too-large"),
        // A text that would lie outside of its memory.
        (b"O", "plugin-trap"),
        (b"g", "plugin-output-too-large"),
        (b"E", "plugin-output-too-large"),
    ];
    row("B6", "too much output", bombs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b07_a_million_log_lines() {
    let mut row = Row::begin("B7", "a million log lines");
    let bed = bed().await;
    let limits = LimitChanges {
        fuel: Some(1_000_000_000),
        deadline_ms: Some(10_000),
        ..LimitChanges::default()
    };
    bed.bind("bombed", "script", spec(limits)).await.unwrap();
    let before = Before::of(&bed);
    let logged = bed.broker.log().len();
    let times = sized(3, 200);
    for _ in 0..times {
        let told = bed.publish("bombed", &[b"l"]).await;
        assert_eq!(word(&told[0].verdict), "accepted", "lines over the limit are cut, not a fault");
    }
    let logged = (bed.broker.log().len() - logged) as u64;
    assert!(logged < times * (128 << 10), "{logged} bytes of log for {times} events");
    assert!(0 < logged, "what is within the limit is there");
    before.still_holds(&bed, "a flood of lines");
    row.count("events", times);
    row.count("bytes logged", logged);
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b08_traps_now_and_then_and_always() {
    let mut row = Row::begin("B8", "traps now and then, and always");
    let bed = bed().await;
    bed.bind("bombed", "script", spec(LimitChanges::default())).await.unwrap();
    let before = Before::of(&bed);
    for _ in 0..sized(TIMES.0, TIMES.1) {
        // On every second: exactly those fail.
        let values: Vec<&[u8]> = [&b"t"[..], b"c"].repeat(4);
        let told = bed.publish("bombed", &values).await;
        for (told, value) in told.iter().zip(&values) {
            let should = if *value == b"t" { "plugin-trap" } else { "accepted" };
            assert_eq!(word(&told.verdict), should);
        }
        row.count("traps", 4);
    }
    // Always: after five in a row it is not called for a while, then it is again.
    bed.topic("always").await;
    bed.bind("always", "script", spec(LimitChanges::default())).await.unwrap();
    let values: Vec<&[u8]> = vec![b"t"; BREAKER_FAILURES + 3];
    let told = bed.publish("always", &values).await;
    let words: Vec<&str> = told.iter().map(|told| word(&told.verdict)).collect();
    assert_eq!(words[..BREAKER_FAILURES], ["plugin-trap"; BREAKER_FAILURES]);
    assert_eq!(words[BREAKER_FAILURES..], ["plugin-breaker-open"; 3]);
    let began = Instant::now();
    while word(&bed.publish("always", &[b"c"]).await[0].verdict) != "accepted" {
        assert!(began.elapsed() < Duration::from_secs(30), "the breaker never closes");
    }
    before.still_holds(&bed, "traps");
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b09_floods_of_state() {
    let bombs: &[(&[u8], &str)] = &[
        (b"q", "plugin-state-quota"),
        (b"v", "plugin-state-quota"),
        (b"Q", "plugin-timeout"),
        // A value that would lie outside of its memory.
        (b"w", "plugin-trap"),
    ];
    row("B9", "floods of state", bombs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b10_a_flood_of_handles() {
    let mut row = Row::begin("B10", "a flood of handles");
    let bed = bed().await;
    bed.push("handles", probe("handle-flood")).await.unwrap();
    bed.bind("bombed", "handles", spec(LimitChanges::default())).await.unwrap();
    bed.publish("bombed", &[b"a"]).await;
    let before = Before::of(&bed);
    for _ in 0..sized(TIMES.0, TIMES.1) {
        let told = bed.publish("bombed", &[b"a"]).await;
        let word = word(&told[0].verdict);
        assert!(["plugin-trap", "plugin-breaker-open"].contains(&word), "{word}");
        row.count(word, 1);
    }
    assert!(bed.stored("bombed").await.is_empty());
    before.still_holds(&bed, "handles");
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b14_what_is_not_granted() {
    let mut row = Row::begin("B14", "what is not granted");
    let bed = bed().await;
    bed.topic("forbidden").await;
    bed.bind("bombed", "script", spec(LimitChanges::default())).await.unwrap();
    go_off(&mut row, &bed, b"e", "plugin-denied").await;
    assert!(bed.stored("forbidden").await.is_empty());
    // Two plugins of one component on one topic, the same key: each has its own count.
    bed.push("other", probe("script")).await.unwrap();
    bed.topic("shared").await;
    for (order, plugin) in [(0, "script"), (1, "other")] {
        let spec = BindingSpec { order: Some(order), ..spec(LimitChanges::default()) };
        bed.bind("shared", plugin, spec).await.unwrap();
    }
    for n in 1..=3 {
        let told = bed.publish("shared", &[b"i"]).await;
        assert_eq!(word(&told[0].verdict), "accepted");
        let stored = bed.stored("shared").await;
        let last = String::from_utf8(stored.last().unwrap().value.clone().unwrap().to_vec());
        assert_eq!(last.unwrap(), format!("i{n}{n}"), "what the second counts is its own");
    }
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b15_bytes_that_are_no_values() {
    let bombs: &[(&[u8], &str)] =
        &[(b"u", "plugin-trap"), (b"z", "plugin-trap"), (b"y", "plugin-trap"), (b"n", "accepted")];
    let mut row = Row::begin("B15", "bytes that are no values");
    let bed = bed().await;
    bed.bind("bombed", "script", spec(LimitChanges::default())).await.unwrap();
    for (deed, code) in &bombs[..3] {
        go_off(&mut row, &bed, deed, code).await;
    }
    let told = bed.publish("bombed", &[b"n"]).await;
    assert_eq!(word(&told[0].verdict), "accepted", "a NaN is a number like any other");
    row.passed();
}

/// Eight partitions' worth of plugins that use all of their fuel without failing: the neighbour is
/// served meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b16_more_busy_partitions_than_threads() {
    let mut row = Row::begin("B16", "more busy partitions than threads");
    let bed = Arc::new(bed().await);
    let limits = LimitChanges {
        fuel: Some(1_000_000_000),
        deadline_ms: Some(10_000),
        ..LimitChanges::default()
    };
    let alone = Neighbour::start(&bed.client).await;
    for _ in 0..sized(TIMES.0, TIMES.1) {
        bed.publish("notices", &[b"a"]).await;
    }
    let (median, p99) = alone.stop().await;
    row.count("no bomb: neighbour p50 us", median);
    row.count("no bomb: neighbour p99 us", p99);
    let busy: Vec<String> = (0..8).map(|number| format!("busy{number}")).collect();
    for name in &busy {
        bed.topic(name).await;
        bed.bind(name, "script", spec(limits)).await.unwrap();
    }
    let quiet = Neighbour::start(&bed.client).await;
    let each = sized(2, 20);
    let at_work = busy.into_iter().map(|name| {
        let bed = Arc::clone(&bed);
        // A million log lines, cut, are some hundred milliseconds of work for each event.
        tokio::spawn(async move {
            for _ in 0..each {
                let told = bed.publish(&name, &[b"l", b"l"]).await;
                assert!(told.iter().all(|told| word(&told.verdict) == "accepted"));
            }
        })
    });
    for task in at_work.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let (median, p99) = quiet.stop().await;
    row.count("busy: neighbour p50 us", median);
    row.count("busy: neighbour p99 us", p99);
    row.passed();
}

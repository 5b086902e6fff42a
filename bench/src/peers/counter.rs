//! The rule in plain Rust on one core: record batches are parsed as weir parses them, and each event's key
//! is counted. No WASM, no log, no network.

use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::task::spawn_blocking;
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Compression, Event, RecordBatch};

use super::counting::DailyLimit;
use super::{NO_LIMIT, of_machine};
use crate::load::{Events, Load, Subject};
use crate::measure::{Measured, Window};

/// Events of one batch: a few hundred KiB, as a publisher under load sends them.
const BATCH_EVENTS: u64 = 1_000;
/// Batches that are gone through in turns: more than a cache holds, all keys in them.
const BATCHES: usize = 64;
/// What every event has for a time.
const EVENT_TIME_MS: u64 = 1_700_000_000_000;

/// The counter.
pub struct Counter;

impl Subject for Counter {
    fn run<'a>(&'a mut self, load: &'a Load) -> BoxFuture<'a, Result<Measured, String>> {
        Box::pin(async move {
            let batches = batches(load);
            let window = load.window(Instant::now());
            let counting = spawn_blocking(move || count(&batches, &window, Instant::now));
            of_machine(counting, window, load.event_bytes).await
        })
    }
}

fn batches(load: &Load) -> Vec<Bytes> {
    let one = Load { partitions: 1, connections: 1, ..*load };
    let mut events = Events::of_lane(&one, 0);
    let mut builder = BatchBuilder::default();
    let batch = |_| {
        for _ in 0..BATCH_EVENTS {
            let made = events.make();
            let (key, value) = (Some(made.key), Some(made.value));
            let event = Event { key, value, ..Event::default() };
            builder.push(&event.as_record());
        }
        builder.finish(Compression::None)
    };
    (0..BATCHES).map(batch).collect()
}

/// How many events were counted while the window was open, by what `clock` says after each batch.
fn count(
    batches: &[Bytes],
    window: &Window,
    mut clock: impl FnMut() -> Instant,
) -> Result<u64, String> {
    let mut rule = DailyLimit::new(NO_LIMIT);
    let limits = BatchLimits::default();
    let mut counted = 0;
    for bytes in batches.iter().cycle() {
        let records = RecordBatch::parse(bytes.clone()).and_then(|batch| batch.open(&limits));
        let records = records.map_err(|error| format!("a batch is none: {error}"))?;
        let mut admitted = 0;
        for record in records.iter() {
            let key = record.key.ok_or("an event has no key")?;
            admitted += u64::from(rule.admit(key, EVENT_TIME_MS));
        }
        let now = clock();
        if now >= window.closes() {
            break;
        }
        if window.counts(now) {
            counted += admitted;
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Size;

    /// What a batch takes by the clock of the test.
    const STEP: Duration = Duration::from_millis(1);

    #[test]
    fn it_counts_whole_batches_while_the_window_is_open() {
        let times = Load { warm_up: STEP * 2, duration: STEP * 3, ..Load::of(128, Size::Short) };
        let began = Instant::now();
        let mut now = began;
        let steps = || {
            now += STEP;
            now
        };
        // Ended at 1 to 5 steps, of which 2, 3 and 4 are within.
        let counted = count(&batches(&times)[..2], &times.window(began), steps).unwrap();
        assert_eq!(counted, 3 * BATCH_EVENTS);
    }
}

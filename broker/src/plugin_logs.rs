//! What plugins said lately: one ring of lines per plugin, and whoever waits for the next line.
//!
//! Promises: bounded in lines and bytes, the oldest go first; whoever reads on where it stopped gets
//! every line once, in order, or is told how many it missed. Kept in memory only: lines are for
//! people, and what was judged is in the logs of the topics.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use weir_plugin_host::{LineLevel, Listener};
use weir_wire::admin::{Binding, LineSource, LogLevel, PluginLine, PluginLog};
use weir_wire::ids::{PartitionId, PluginName, Timestamp, TopicName};

use crate::wall_clock::Clock;

/// Lines kept of one plugin: what a person looks through after a bad minute.
const LINES_MAX: usize = 2_000;
/// Bytes of their text.
const BYTES_MAX: usize = 1 << 20;
/// Lines in one answer.
const PAGE_LINES_MAX: usize = 500;
/// How long a reader may wait for a line at once: below the patience of clients and of proxies.
pub const WAIT_MAX: Duration = Duration::from_secs(20);
/// Readers that wait at once.
const WAITING_MAX: usize = 64;

/// All rings.
pub struct PluginLogs {
    rings: Mutex<BTreeMap<PluginName, Arc<Ring>>>,
    clock: Clock,
    /// When the broker started: it tells this run's cursors from others.
    run: Timestamp,
    waiting: Semaphore,
}

/// The lines of one plugin.
struct Ring {
    kept: Mutex<Kept>,
    /// The number of the next line: who waits, waits for this.
    next: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    /// The number of the first line kept.
    first: u64,
    lines: VecDeque<PluginLine>,
    bytes: usize,
}

/// Where a reader stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    run: Timestamp,
    next: u64,
}

/// No cursor that a broker gave.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no place in a log; give `next` of the answer before, or leave it out")]
pub struct NoCursor(String);

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let read = || {
            let (run, next) = text.split_once('-')?;
            Some(Self { run: Timestamp(run.parse().ok()?), next: next.parse().ok()? })
        };
        read().ok_or_else(|| NoCursor(text.chars().take(80).collect()))
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.run.0, self.next)
    }
}

/// More readers wait than may.
#[derive(Debug, thiserror::Error)]
#[error("{WAITING_MAX} readers wait for lines already; ask without waiting, or later")]
pub struct TooManyWait;

impl PluginLogs {
    /// No lines yet.
    pub fn new(clock: Clock) -> Self {
        let run = clock();
        Self { rings: Mutex::default(), clock, run, waiting: Semaphore::new(WAITING_MAX) }
    }

    /// When the broker started.
    pub fn since(&self) -> Timestamp {
        self.run
    }

    /// Keeps what a binding says in one partition; in none while it is tried.
    pub fn listener(
        &self,
        binding: &Binding,
        topic: &TopicName,
        partition: Option<PartitionId>,
    ) -> Arc<dyn Listener> {
        Arc::new(Ear {
            ring: self.ring(&binding.plugin),
            clock: Arc::clone(&self.clock),
            topic: topic.clone(),
            partition,
            version: binding.version,
        })
    }

    /// The plugin is no more.
    pub fn forget(&self, plugin: &PluginName) {
        locked(&self.rings).remove(plugin);
    }

    /// Lines behind `after`, or from the oldest on; waits for one if there is none yet, but not longer
    /// than `wait` and [`WAIT_MAX`], and not beyond the broker's end.
    pub async fn read(
        &self,
        plugin: &PluginName,
        after: Option<Cursor>,
        topic: Option<&TopicName>,
        wait: Duration,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<PluginLog, TooManyWait> {
        let ring = self.ring(plugin);
        let mut next = ring.next.subscribe();
        let mut from = after;
        let page = self.page(&ring, &mut from, topic);
        if has_news(&page) || wait.is_zero() {
            return Ok(page);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| TooManyWait)?;
        let deadline = tokio::time::Instant::now() + wait.min(WAIT_MAX);
        loop {
            // Marked before the look: what comes behind it wakes us.
            next.mark_unchanged();
            let page = self.page(&ring, &mut from, topic);
            if has_news(&page) {
                return Ok(page);
            }
            tokio::select! {
                _ = next.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(page),
                _ = stopping.wait_for(|stop| *stop) => return Ok(page),
            }
        }
    }

    /// What is there; moves `from` on.
    fn page(&self, ring: &Ring, from: &mut Option<Cursor>, topic: Option<&TopicName>) -> PluginLog {
        let kept = locked(&ring.kept);
        let restarted = from.is_some_and(|from| from.run != self.run);
        let wanted = from.filter(|_| !restarted).map_or(kept.first, |from| from.next);
        let start = wanted.max(kept.first);
        let lost = start - wanted;
        let mut at = start;
        let mut lines = Vec::new();
        for line in kept.lines.iter().skip((start - kept.first) as usize) {
            if lines.len() == PAGE_LINES_MAX {
                break;
            }
            at += 1;
            if topic.is_none_or(|topic| *topic == line.topic) {
                lines.push(line.clone());
            }
        }
        // A cursor of the future is one of ours that another program made up.
        let end = kept.first + kept.lines.len() as u64;
        let cursor = Cursor { run: self.run, next: at.min(end) };
        *from = Some(cursor);
        PluginLog { lines, next: cursor.to_string(), more: at < end, lost, restarted }
    }

    fn ring(&self, plugin: &PluginName) -> Arc<Ring> {
        let mut rings = locked(&self.rings);
        let new = || Arc::new(Ring { kept: Mutex::default(), next: watch::Sender::new(0) });
        Arc::clone(rings.entry(plugin.clone()).or_insert_with(new))
    }
}

fn has_news(page: &PluginLog) -> bool {
    !page.lines.is_empty() || page.lost > 0 || page.restarted
}

impl Ring {
    fn push(&self, line: PluginLine) {
        let mut kept = locked(&self.kept);
        kept.bytes += line.text.len();
        kept.lines.push_back(line);
        while LINES_MAX < kept.lines.len() || BYTES_MAX < kept.bytes {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.text.len();
            kept.first += 1;
        }
        let next = kept.first + kept.lines.len() as u64;
        drop(kept);
        self.next.send_replace(next);
    }
}

// What is locked is whole whatever a panicking holder did: each change is one push or pop.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears one plugin in one partition.
struct Ear {
    ring: Arc<Ring>,
    clock: Clock,
    topic: TopicName,
    partition: Option<PartitionId>,
    version: u32,
}

impl Ear {
    fn hear(&self, source: LineSource, level: LineLevel, text: &str) {
        self.ring.push(PluginLine {
            at: (self.clock)(),
            level: match level {
                LineLevel::Debug => LogLevel::Debug,
                LineLevel::Info => LogLevel::Info,
                LineLevel::Warn => LogLevel::Warn,
                LineLevel::Error => LogLevel::Error,
            },
            source,
            topic: self.topic.clone(),
            partition: self.partition,
            version: self.version,
            text: text.to_owned(),
        });
    }
}

impl Listener for Ear {
    fn plugin_says(&self, level: LineLevel, line: &str) {
        self.hear(LineSource::Plugin, level, line);
    }

    fn host_says(&self, level: LineLevel, line: &str) {
        self.hear(LineSource::Host, level, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::ids::Digest;

    fn logs() -> PluginLogs {
        PluginLogs::new(Arc::new(|| Timestamp(7)))
    }

    fn limit() -> PluginName {
        PluginName::parse("limit").unwrap()
    }

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn ear(logs: &PluginLogs, on: &str) -> Arc<dyn Listener> {
        let binding = Binding {
            plugin: limit(),
            version: 2,
            digest: Digest([2; 32]),
            order: 0,
            config: serde_json::Value::Null,
            on_failure: Default::default(),
            emit: vec![],
            limits: Default::default(),
            dead_letter: None,
            paused: false,
            keyspace: Default::default(),
        };
        logs.listener(&binding, &topic(on), Some(PartitionId(3)))
    }

    async fn read(logs: &PluginLogs, after: &str, on: Option<&str>) -> PluginLog {
        let after = (!after.is_empty()).then(|| after.parse().unwrap());
        let (_, going) = watch::channel(false);
        let on = on.map(topic);
        logs.read(&limit(), after, on.as_ref(), Duration::ZERO, going).await.unwrap()
    }

    fn texts(page: &PluginLog) -> Vec<&str> {
        page.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[tokio::test]
    async fn a_reader_goes_on_where_it_stopped() {
        let logs = logs();
        let ear = ear(&logs, "flights");
        ear.plugin_says(LineLevel::Info, "one");
        ear.host_says(LineLevel::Error, "two");
        let page = read(&logs, "", None).await;
        assert_eq!(texts(&page), ["one", "two"]);
        assert_eq!(
            (page.lines[0].source, page.lines[1].source),
            (LineSource::Plugin, LineSource::Host)
        );
        assert_eq!((page.lines[1].version, page.lines[1].partition), (2, Some(PartitionId(3))));
        ear.plugin_says(LineLevel::Debug, "three");
        let page = read(&logs, &page.next, None).await;
        assert_eq!((texts(&page), page.lost), (vec!["three"], 0));
        assert!(read(&logs, &page.next, None).await.lines.is_empty());
    }

    #[tokio::test]
    async fn what_was_pushed_out_is_counted() {
        let logs = logs();
        let ear = ear(&logs, "flights");
        ear.plugin_says(LineLevel::Info, "first");
        let page = read(&logs, "", None).await;
        for number in 0..LINES_MAX + 7 {
            ear.plugin_says(LineLevel::Info, &number.to_string());
        }
        let page = read(&logs, &page.next, None).await;
        assert_eq!((page.lost, page.lines[0].text.as_str()), (7, "7"));
        assert!(page.more && page.lines.len() == PAGE_LINES_MAX);
        let page = read(&logs, "", None).await;
        assert_eq!((page.lost, page.lines[0].text.as_str()), (0, "7"), "the oldest there is");
        let long = "x".repeat(BYTES_MAX - 10);
        ear.plugin_says(LineLevel::Info, &long);
        let kept = read(&logs, "", None).await;
        assert!(kept.lines.len() < 10 && kept.lines.last().unwrap().text == long);
    }

    #[tokio::test]
    async fn one_topic_can_be_asked_for() {
        let logs = logs();
        ear(&logs, "flights").plugin_says(LineLevel::Info, "one");
        ear(&logs, "bookings").plugin_says(LineLevel::Info, "two");
        let page = read(&logs, "", Some("bookings")).await;
        assert_eq!(texts(&page), ["two"]);
        assert!(read(&logs, &page.next, None).await.lines.is_empty(), "the other was passed over");
    }

    #[tokio::test]
    async fn another_run_of_the_broker_is_told() {
        let logs = logs();
        ear(&logs, "flights").plugin_says(LineLevel::Info, "one");
        let page = read(&logs, "3-900", None).await;
        assert!(page.restarted && page.lost == 0 && texts(&page) == ["one"]);
        assert_eq!(page.next, "7-1");
        assert!("7".parse::<Cursor>().is_err() && "7-x".parse::<Cursor>().is_err());
        assert_eq!(read(&logs, "7-99", None).await.next, "7-1", "a place that never was");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_for_the_next_line_and_not_for_ever() {
        let logs = Arc::new(logs());
        let (stop, stopping) = watch::channel(false);
        let wait = |wait| {
            let (logs, stopping) = (Arc::clone(&logs), stopping.clone());
            async move { logs.read(&limit(), None, None, wait, stopping).await.unwrap() }
        };
        let (page, ()) = tokio::join!(wait(WAIT_MAX), async {
            tokio::task::yield_now().await;
            ear(&logs, "flights").plugin_says(LineLevel::Info, "one");
        });
        assert_eq!(texts(&page), ["one"]);
        logs.forget(&limit());
        let began = tokio::time::Instant::now();
        assert!(wait(2 * WAIT_MAX).await.lines.is_empty());
        assert_eq!(began.elapsed(), WAIT_MAX);
        stop.send_replace(true);
        let began = tokio::time::Instant::now();
        assert!(wait(WAIT_MAX).await.lines.is_empty());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}

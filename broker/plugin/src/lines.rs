//! What a guest says to its operator: lines, bounded per event and per second, on to `tracing` and to
//! whoever listens.
//!
//! Promises: an event writes at most its limit, and a stage no more in a second than a person could
//! look through; the rest is counted and gone. Lines of `weir:plugin/log` and of a language's stdout
//! share the limits.

use std::sync::Arc;

use weir_wire::ids::{PluginName, Timestamp};

/// Bytes one stage may write in a second of partition time: a few hundred lines.
const SECOND_BYTES_MAX: u64 = 64 << 10;
/// What a line costs beside its text: time, level, names.
const LINE_OVERHEAD_BYTES: u64 = 100;

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineLevel {
    /// For the plugin's author.
    Debug,
    /// What happens.
    Info,
    /// Nothing is lost yet.
    Warn,
    /// Someone has to act.
    Error,
}

/// Whoever keeps what one plugin says in one partition. Called on the thread that judges, for lines
/// only, so it may take a lock but must not wait for anything else. A line may hold any character.
pub trait Listener: Send + Sync {
    /// A line of the plugin: of `weir:plugin/log`, or of its stdout and stderr.
    fn plugin_says(&self, level: LineLevel, line: &str);
    /// What the host has to say of the plugin.
    fn host_says(&self, level: LineLevel, line: &str);
}

/// The log of one stage.
pub(crate) struct Lines {
    plugin: PluginName,
    listener: Option<Arc<dyn Listener>>,
    event_bytes_max: u64,
    left_bytes: u64,
    cut_bytes: u64,
    second_left_bytes: u64,
    second_ends: Timestamp,
    /// A line of stdout that has not ended yet. Invariant: shorter than `event_bytes_max`.
    unended: Vec<u8>,
}

impl Lines {
    /// For one stage; an event may write `event_bytes_max`.
    pub(crate) fn new(
        plugin: PluginName,
        listener: Option<Arc<dyn Listener>>,
        event_bytes_max: u64,
    ) -> Self {
        Self {
            plugin,
            listener,
            event_bytes_max,
            left_bytes: event_bytes_max,
            cut_bytes: 0,
            second_left_bytes: SECOND_BYTES_MAX,
            second_ends: Timestamp::default(),
            unended: Vec::new(),
        }
    }

    /// A batch begins at this partition time.
    pub(crate) fn begin_batch(&mut self, now: Timestamp) {
        if self.second_ends <= now {
            self.second_left_bytes = SECOND_BYTES_MAX;
            self.second_ends = Timestamp(now.0.saturating_add(1_000));
        }
    }

    /// A new event may write its limit again.
    pub(crate) fn begin_event(&mut self) {
        self.left_bytes = self.event_bytes_max;
    }

    /// The event is over, and so is its last line.
    pub(crate) fn end_event(&mut self) {
        if !self.unended.is_empty() {
            let line = std::mem::take(&mut self.unended);
            self.say(LineLevel::Info, &String::from_utf8_lossy(&line));
        }
    }

    /// Bytes that were over the limit of their event, since the stage began.
    pub(crate) fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// One line of `weir:plugin/log`.
    pub(crate) fn write(&mut self, level: LineLevel, line: &str) {
        let granted = self.grant(line.len());
        let shown = &line[..line.floor_char_boundary(granted)];
        if !shown.is_empty() {
            self.say(level, shown);
        }
    }

    /// Bytes of stdout or stderr: collected into lines.
    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) {
        let granted = self.grant(bytes.len());
        for part in bytes[..granted].split_inclusive(|byte| *byte == b'\n') {
            self.unended.extend_from_slice(part.strip_suffix(b"\n").unwrap_or(part));
            if part.ends_with(b"\n") {
                self.end_event();
            }
        }
    }

    fn grant(&mut self, bytes: usize) -> usize {
        let granted = (bytes as u64).min(self.left_bytes);
        self.left_bytes -= granted;
        self.cut_bytes += bytes as u64 - granted;
        granted as usize
    }

    // A line is a value, never the message: it may hold anything, and values are escaped.
    fn say(&mut self, level: LineLevel, line: &str) {
        let plugin = self.plugin.as_str();
        let cost = line.len() as u64 + LINE_OVERHEAD_BYTES;
        if self.second_left_bytes < cost {
            self.cut_bytes += line.len() as u64;
            // Said once a second: what is left is then spent.
            if self.second_left_bytes > 0 {
                tracing::warn!(
                    plugin,
                    "plugin says more than an operator can read; lines left out"
                );
                if let Some(listener) = &self.listener {
                    let line =
                        "it says more than an operator can read; lines of this second are left out";
                    listener.host_says(LineLevel::Warn, line);
                }
            }
            self.second_left_bytes = 0;
            return;
        }
        self.second_left_bytes -= cost;
        if let Some(listener) = &self.listener {
            listener.plugin_says(level, line);
        }
        match level {
            LineLevel::Debug => {
                tracing::debug!(target: "weir::plugin", plugin, line, "plugin says")
            }
            LineLevel::Info => tracing::info!(target: "weir::plugin", plugin, line, "plugin says"),
            LineLevel::Warn => tracing::warn!(target: "weir::plugin", plugin, line, "plugin says"),
            LineLevel::Error => {
                tracing::error!(target: "weir::plugin", plugin, line, "plugin says")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_writes_at_most_its_limit() {
        let mut lines = Lines::new(PluginName::parse("p").expect("a name"), None, 10);
        lines.write(LineLevel::Info, "1234567");
        lines.write_bytes(b"12345\n12");
        assert_eq!(lines.cut_bytes(), 5);
        lines.begin_event();
        lines.write(LineLevel::Info, "ääääää");
        assert_eq!(lines.cut_bytes(), 7);
    }

    #[test]
    fn a_second_has_its_limit_too() {
        let mut lines = Lines::new(PluginName::parse("p").expect("a name"), None, 1_000);
        lines.begin_batch(Timestamp(5_000));
        let say = |lines: &mut Lines| {
            lines.begin_event();
            lines.write(LineLevel::Debug, &"x".repeat(900));
            lines.cut_bytes()
        };
        let said = (1..).find(|_| say(&mut lines) > 0).expect("it ends");
        assert_eq!(said, 66, "65 lines of 1,000 bytes fit into 64 KiB");
        lines.begin_batch(Timestamp(5_999));
        assert_eq!(say(&mut lines), 1_800, "the second is not over");
        lines.begin_batch(Timestamp(6_000));
        assert_eq!(say(&mut lines), 1_800, "a new second");
    }
}

//! What a guest says to its operator: lines, bounded per event, on to `tracing`.
//!
//! Promises: an event writes at most its limit, the rest is counted and gone. Lines of
//! `weir:plugin/log` and of a language's stdout share the limit.

use weir_wire::ids::PluginName;

/// How loud a line is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The log of one stage.
#[derive(Debug)]
pub(crate) struct Lines {
    plugin: PluginName,
    event_bytes_max: u64,
    left_bytes: u64,
    cut_bytes: u64,
    /// A line of stdout that has not ended yet. Invariant: shorter than `event_bytes_max`.
    unended: Vec<u8>,
}

impl Lines {
    /// For one stage; an event may write `event_bytes_max`.
    pub(crate) fn new(plugin: PluginName, event_bytes_max: u64) -> Self {
        Self {
            plugin,
            event_bytes_max,
            left_bytes: event_bytes_max,
            cut_bytes: 0,
            unended: Vec::new(),
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
            self.say(Level::Info, &String::from_utf8_lossy(&line));
        }
    }

    /// Bytes that were over the limit of their event, since the stage began.
    pub(crate) fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// One line of `weir:plugin/log`.
    pub(crate) fn write(&mut self, level: Level, line: &str) {
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
    fn say(&self, level: Level, line: &str) {
        let plugin = self.plugin.as_str();
        match level {
            Level::Debug => tracing::debug!(target: "weir::plugin", plugin, line, "plugin says"),
            Level::Info => tracing::info!(target: "weir::plugin", plugin, line, "plugin says"),
            Level::Warn => tracing::warn!(target: "weir::plugin", plugin, line, "plugin says"),
            Level::Error => tracing::error!(target: "weir::plugin", plugin, line, "plugin says"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_writes_at_most_its_limit() {
        let mut lines = Lines::new(PluginName::parse("p").expect("a name"), 10);
        lines.write(Level::Info, "1234567");
        lines.write_bytes(b"12345\n12");
        assert_eq!(lines.cut_bytes(), 5);
        lines.begin_event();
        lines.write(Level::Info, "ääääää");
        assert_eq!(lines.cut_bytes(), 7);
    }
}

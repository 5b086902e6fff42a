//! What a plugin said, and what the host said of it: lately, and from now on.

use serde::{Deserialize, Serialize};

use crate::ids::{PartitionId, Timestamp, TopicName};

/// Some lines of a plugin, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PluginLog {
    /// The lines.
    pub lines: Vec<PluginLine>,
    /// Where to go on: the next request's `after`.
    pub next: String,
    /// Whether there are more lines already.
    pub more: bool,
    /// Lines behind `after` that were pushed out by newer ones before they were asked for, whatever
    /// their topic.
    pub lost: u64,
    /// The broker was started anew behind `after`: what it kept before is gone.
    pub restarted: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginLine {
    /// When the broker heard it.
    pub at: Timestamp,
    /// How loud it is.
    pub level: LogLevel,
    /// Who says it.
    pub source: LineSource,
    /// On which topic.
    pub topic: TopicName,
    /// In which partition; `None` while a binding is tried.
    pub partition: Option<PartitionId>,
    /// The number of the version.
    pub version: u32,
    /// May hold any character: escape it for a terminal.
    pub text: String,
}

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For the plugin's author.
    Debug,
    /// What happens.
    Info,
    /// Nothing is lost yet.
    Warn,
    /// Someone has to act.
    Error,
}

impl LogLevel {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Who says a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineSource {
    /// The plugin: by `weir:plugin/log`, stdout or stderr.
    Plugin,
    /// The broker, about the plugin.
    Host,
}

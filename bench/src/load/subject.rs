//! What a load is put on, and what it needs to know of the place.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::Load;
use crate::measure::Measured;

/// Something that takes events and tells what became of each: weir, a peer, or a piece of the machine.
pub trait Subject: Send {
    /// Puts the load on it, on a topic, stream or file that is new, and checks every answer.
    ///
    /// # Errors
    /// A sentence: it failed, or what it answered is not what the load has to be answered.
    fn run<'a>(&'a mut self, load: &'a Load) -> BoxFuture<'a, Result<Measured, String>>;
}

/// When what was answered is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fsync {
    /// Before its answer leaves.
    #[serde(rename = "each answer")]
    EachAnswer,
    /// Every two minutes: what was answered since can be lost.
    #[serde(rename = "interval 120 s")]
    Interval120s,
    /// Nothing is written, or never synced.
    #[serde(rename = "none")]
    None,
}

impl Fsync {
    /// As tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EachAnswer => "each answer",
            Self::Interval120s => "interval 120 s",
            Self::None => "none",
        }
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Once, for a look.
    Short,
    /// Several times, for figures to be shown.
    Full,
}

impl Size {
    /// What is sent before it counts.
    pub fn warm_up(self) -> Duration {
        Duration::from_millis(match self {
            Self::Short => 500,
            Self::Full => 700,
        })
    }

    /// How long it counts.
    pub fn duration(self) -> Duration {
        Duration::from_millis(match self {
            Self::Short => 1_000,
            Self::Full => 2_000,
        })
    }

    /// How often a point is measured; the median is told, with the least and the most.
    pub fn repeats(self) -> usize {
        match self {
            Self::Short => 1,
            Self::Full => 3,
        }
    }
}

/// Where it is measured, and how much.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The program `weir`.
    pub weir: PathBuf,
    /// The repository: plugins' components are in it.
    pub root: PathBuf,
    /// On the disk that is measured; whoever keeps something there makes a folder in it and removes it.
    pub scratch: PathBuf,
    /// How much.
    pub size: Size,
    /// Whether peers are measured, too.
    pub with_peers: bool,
}

impl Setting {
    /// A new folder on the disk that is measured, gone when it is dropped.
    pub fn folder(&self) -> Result<tempfile::TempDir, String> {
        tempfile::TempDir::with_prefix_in("bench-", &self.scratch)
            .map_err(|error| format!("no folder in {}: {error}", self.scratch.display()))
    }

    /// Tells whoever waits what is being done.
    pub fn tell(&self, what: &str) {
        eprintln!("  {what}");
    }
}

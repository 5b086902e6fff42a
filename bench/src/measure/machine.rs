//! What the figures were measured on: without it they say nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Syncs of which the median is told.
const SYNCS: usize = 64;
/// What is written before each: a small commit.
const SYNC_BLOCK: [u8; 4096] = [b'w'; 4096];

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// What its processor calls itself.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Linux's release.
    pub kernel: String,
    /// Of all of it.
    pub memory_bytes: u64,
    /// Under the data directories.
    pub filesystem: String,
    /// Median of one write of 4 KiB with fdatasync there.
    pub sync_us: f64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// weir's commit, or its version outside of a repository.
    pub weir: String,
    /// The compiler.
    pub rustc: String,
    /// The peer's server; empty where it is not there.
    pub nats_server: String,
}

impl Machine {
    /// Looks at the machine, and measures its disk under `folder`.
    pub fn look(folder: &Path) -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let unknown = || "unknown".to_owned();
        Ok(Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|kb| kb.trim_end_matches(" kB").parse::<u64>().ok())
                .map_or(0, |kilobytes| kilobytes * 1024),
            filesystem: filesystem(&read("/proc/self/mounts"), folder).unwrap_or_else(unknown),
            sync_us: sync_latency(folder)?.as_secs_f64() * 1e6,
        })
    }
}

impl Versions {
    /// Asks the programs; the peer's server is told.
    pub fn look(nats_server: Option<String>) -> Self {
        let weir = said("git", &["describe", "--always", "--dirty"]);
        Self {
            weir: weir.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            rustc: said("rustc", &["--version"]).unwrap_or_default(),
            nats_server: nats_server.unwrap_or_default(),
        }
    }
}

/// How long one small write takes to be on the disk: the median of some.
pub fn sync_latency(folder: &Path) -> Result<Duration, String> {
    let cannot = |error: std::io::Error| format!("cannot write in {}: {error}", folder.display());
    let path = folder.join("sync-latency");
    let mut file = File::create(&path).map_err(cannot)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        took.push(write_and_sync(&mut file).map_err(cannot)?);
    }
    fs::remove_file(&path).map_err(cannot)?;
    took.sort();
    Ok(took[took.len() / 2])
}

/// Writes a small block, and says how long it took to be on the disk.
pub(super) fn write_and_sync(file: &mut File) -> io::Result<Duration> {
    let began = Instant::now();
    file.write_all(&SYNC_BLOCK)?;
    file.sync_data()?;
    Ok(began.elapsed())
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// The type and options of the mount that holds `folder`: the last of the deepest, which hides the
/// others.
fn filesystem(mounts: &str, folder: &Path) -> Option<String> {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let parsed = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?, words.next()?, words.next()?))
    });
    let holding = parsed.filter(|(point, ..)| folder.starts_with(point));
    let deepest = holding.max_by_key(|(point, ..)| point.len());
    deepest.map(|(_, kind, options)| format!("{kind} ({options})"))
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let info = "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nmodel name\t: Other\n";
        assert_eq!(field(info, "model name").as_deref(), Some("Some CPU @ 2.0GHz"));
        assert_eq!(field(info, "flags"), None);
        let mounts =
            "/dev/a / ext4 rw 0 0\n/dev/b /data xfs rw,noatime 0 0\ntmpfs /tmp tmpfs rw 0 0\n";
        let of = |folder: &str| filesystem(mounts, Path::new(folder));
        assert_eq!(of("/data/nowhere/x").as_deref(), Some("xfs (rw,noatime)"));
        assert_eq!(of("/database").as_deref(), Some("ext4 (rw)"));
    }
}

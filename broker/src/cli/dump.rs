//! `weir dump LOG`: the commits of one log, for people who look for something.

use std::path::PathBuf;

use serde::Serialize;
use weir_log::commit::{KeyspaceFate, Kind, Stored};
use weir_log::disk::RealDisk;
use weir_log::segment::{Found, Placed, verify};
use weir_wire::verdict::Verdict;

use super::Failure;
use super::output::Output;
use crate::check::find_log;
use crate::home::hold_still;

/// Print the commits of a log while no broker runs; changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  weir dump flights/3
  weir dump flights/3 --from 120 --limit 10 --json
  weir dump __catalog/0 --dir copy-of-weir-data")]
pub struct Dump {
    /// The log, as TOPIC/PARTITION; the broker's own are __catalog/0 and __committed_offsets/0.
    #[arg(value_name = "LOG")]
    log: String,
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "weir-data")]
    dir: PathBuf,
    /// The first position to print.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    from: u64,
    /// How many commits to print.
    #[arg(long, value_name = "COMMITS", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
}

/// A commit as it is printed.
#[derive(Debug, Serialize)]
struct Line {
    position: u64,
    file: String,
    place: u64,
    kind: &'static str,
    time_ms: u64,
    chain: u64,
    first_offset: u64,
    events: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
    relayed: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    state: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    side_events: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    data_bytes: usize,
}

impl Dump {
    /// Does it.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let _still = hold_still(&self.dir).map_err(|error| Failure::new(error.to_string()))?;
        let (folder, identity) = find_log(&self.dir, &self.log).map_err(Failure::new)?;
        let (mut left, mut written) = (self.limit, Ok(()));
        let verified = verify(&RealDisk, &folder, identity, |found| {
            let (Found::Left(placed) | Found::Commit(placed)) = found else { return };
            let Placed { stored, path, place } = placed;
            if stored.position.0 < self.from || left == 0 || written.is_err() {
                return;
            }
            left -= 1;
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            written = output.answer(&line(&stored, file, place), described);
        });
        written?;
        let verified = verified.map_err(|error| Failure::new(error.to_string()))?;
        match verified.torn {
            None => Ok(()),
            Some(torn) => {
                tracing::debug!(?torn, "a torn tail follows");
                Ok(())
            }
        }
    }
}

fn line(stored: &Stored, file: String, place: u64) -> Line {
    let commit = &stored.commit;
    let refused = commit.verdicts.runs().filter_map(|(count, verdict)| match verdict {
        Verdict::Accepted => None,
        Verdict::Rejected(why) => Some(format!("{count} {}", why.code)),
        Verdict::Dropped { .. } => Some(format!("{count} dropped")),
        Verdict::Aborted => Some(format!("{count} aborted")),
    });
    let state = commit.state.iter().map(|change| {
        let key = change.key.escape_ascii();
        let place = change.keyspace.of(&change.plugin);
        match &change.value {
            Some(value) => format!("{place} {key} = {}", value.bytes.escape_ascii()),
            None => format!("{place} {key} removed"),
        }
    });
    let keyspaces = commit.keyspaces.iter().map(|change| {
        let fate = match change.fate {
            KeyspaceFate::Cleared => "cleared",
            KeyspaceFate::AtWork => "at work",
        };
        format!("{} {fate}", change.keyspace.of(&change.plugin))
    });
    let side_events = commit
        .outbox
        .iter()
        .map(|side| format!("#{} to {} by {}", side.ordinal, side.topic, side.plugin));
    Line {
        position: stored.position.0,
        file,
        place,
        kind: match commit.kind {
            Kind::Open => "open",
            Kind::Batch => "batch",
            Kind::Chain => "chain",
            Kind::Mark => "mark",
            Kind::Snapshot => "snapshot",
            Kind::Migration => "migration",
        },
        time_ms: commit.time.0,
        chain: commit.chain.0,
        first_offset: commit.first_offset.0,
        events: commit.events,
        producer: commit
            .producer
            .map(|p| format!("{} epoch {} sequences {} to {}", p.id, p.epoch.0, p.first, p.last)),
        refused: refused.collect(),
        relayed: commit.relayed,
        state: keyspaces.chain(state).collect(),
        side_events: side_events.collect(),
        note: commit.note.escape_ascii().to_string().replace("\\\"", "\""),
        data_bytes: commit.data.len(),
    }
}

fn described(line: &Line) -> String {
    let mut text = format!(
        "{:>8}  {:<5}  time {}  chain {}  offset {}  {} events  {} bytes  {}@{}\n",
        line.position,
        line.kind,
        line.time_ms,
        line.chain,
        line.first_offset,
        line.events,
        line.data_bytes,
        line.file,
        line.place
    );
    let mut add = |what: &str, value: &str| text += &format!("{:>10}{what:<10} {value}\n", "");
    if let Some(producer) = &line.producer {
        add("producer", producer);
    }
    line.refused.iter().for_each(|refused| add("refused", refused));
    line.state.iter().for_each(|state| add("state", state));
    line.side_events.iter().for_each(|side| add("emitted", side));
    if line.relayed > 0 {
        add("relayed", &format!("side events below {}", line.relayed));
    }
    if !line.note.is_empty() {
        add("note", &line.note);
    }
    text
}

//! What a cleaning leaves of a commit: the events that are still wanted, and what the snapshot says is
//! still asked for: verdicts of batches that may be sent again, side events that were not relayed.
//!
//! Not here: state, which the snapshot has.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use weir_log::commit::Stored;
use weir_log::planted::{Bug, is_planted};
use weir_log::{Commit, Sieve, Stretch};
use weir_views::partition::PartitionView;
use weir_wire::ids::{Offset, Position};
use weir_wire::record_batch::{BatchLimits, RecordBatch, sieve};

/// Keys that one compaction can tell apart: some 200 MiB. Beyond, fewer segments are compacted at once.
pub(super) const KEYS_MAX: usize = 4 << 20;
/// What is stored was judged when it came.
const STORED: BatchLimits = BatchLimits {
    batch_bytes_max: usize::MAX,
    decompressed_bytes_max: weir_log::commit::COMMIT_BYTES_MAX,
    events_max: u32::MAX,
    event_bytes_max: usize::MAX,
};

/// Of each key the offset of its latest event among what is dirty.
#[derive(Debug, Default)]
pub(super) struct Latest(HashMap<[u8; 16], Offset>);

/// More keys than fit.
#[derive(Debug)]
pub(super) struct TooMany;

impl Latest {
    /// Takes the keys of a commit's events. After an error the map holds too little of this commit, and
    /// is of no use for it.
    pub(super) fn note(&mut self, commit: &Commit) -> Result<Result<(), TooMany>, String> {
        if commit.data.is_empty() {
            return Ok(Ok(()));
        }
        let batch = RecordBatch::parse(commit.data.clone()).map_err(|error| error.to_string())?;
        let records = batch.open_stored(&STORED).map_err(|error| error.to_string())?;
        for record in records.iter() {
            let Some(key) = record.key else { continue };
            let key = short(key);
            if KEYS_MAX <= self.0.len() && !self.0.contains_key(&key) {
                return Ok(Err(TooMany));
            }
            self.0.insert(key, commit.first_offset.plus(record.offset_delta.into()));
        }
        Ok(Ok(()))
    }

    /// Whether a later event of the key is there, as far as is known.
    fn is_later(&self, key: &[u8], offset: Offset) -> bool {
        self.0.get(&short(key)).is_some_and(|latest| offset < *latest)
    }
}

/// Keys are chosen by hostile clients, and one taken for another would lose an event: half of a sha256
/// is not found twice.
fn short(key: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(key);
    std::array::from_fn(|n| digest[n])
}

/// The sieve of one cleaning.
#[derive(Debug)]
pub(super) struct Remains {
    /// Events before go.
    pub(super) start: Offset,
    /// Older events of these keys go; `None` if no compaction is asked for.
    pub(super) latest: Option<Latest>,
    /// Tombstones before have been read by whoever will: they go.
    pub(super) tombstones_below: Position,
    /// Batches that their producers may send again.
    pub(super) remembered: BTreeSet<Position>,
    /// Commits with side events that are not known to have arrived.
    pub(super) waiting: BTreeSet<Position>,
}

impl Remains {
    /// Of what the view as of the cleaning's end has no other place for.
    pub(super) fn of(view: &PartitionView, start: Offset) -> Self {
        Self {
            start,
            latest: None,
            tombstones_below: Position(0),
            remembered: view.producers().positions().collect(),
            waiting: view.outbox().waiting().map(|waiting| waiting.position).collect(),
        }
    }

    fn events(&self, position: Position, commit: &Commit) -> Result<Option<Bytes>, String> {
        let Some(latest) = &self.latest else { return Ok(Some(commit.data.clone())) };
        let batch = RecordBatch::parse(commit.data.clone()).map_err(|error| error.to_string())?;
        let may_forget = position < self.tombstones_below;
        let kept = sieve(&batch, &STORED, |record| {
            let Some(key) = record.key else { return true };
            let is_forgotten = record.value.is_none() && may_forget;
            !is_forgotten
                && !latest.is_later(key, commit.first_offset.plus(record.offset_delta.into()))
        });
        kept.map_err(|error| error.to_string())
    }
}

impl Sieve for Remains {
    fn wants(&self, stretch: &Stretch) -> bool {
        let asked_for = |positions: &BTreeSet<Position>| {
            positions.range(stretch.first..stretch.end).next().is_some()
        };
        self.start < stretch.next_offset || asked_for(&self.remembered) || asked_for(&self.waiting)
    }

    fn keep(&mut self, stored: Stored) -> Result<Option<Commit>, String> {
        let Stored { position, commit } = stored;
        let is_wanted = !commit.data.is_empty() && self.start <= commit.first_offset;
        let data = match is_wanted {
            true => self.events(position, &commit)?.unwrap_or_default(),
            false => Bytes::new(),
        };
        let is_remembered = self.remembered.contains(&position) && !is_planted(Bug::CleanVerdicts);
        let is_waiting = self.waiting.contains(&position);
        if data.is_empty() && !is_remembered && !is_waiting {
            return Ok(None);
        }
        let (events, max_timestamp) = match data.is_empty() {
            true => (0, weir_wire::ids::Timestamp(0)),
            false => {
                let header = weir_wire::record_batch::BatchHeader::decode(&data)
                    .map_err(|error| error.to_string())?;
                (header.records, commit.max_timestamp)
            }
        };
        let none = Commit::empty(commit.kind, commit.time, commit.chain, commit.first_offset);
        Ok(Some(Commit {
            events,
            max_timestamp,
            producer: commit.producer,
            relayed: commit.relayed,
            verdicts: if is_remembered { commit.verdicts } else { none.verdicts.clone() },
            outbox: if is_waiting { commit.outbox } else { Vec::new() },
            data,
            ..none
        }))
    }
}

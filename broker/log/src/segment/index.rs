//! Where in a segment's file commits stand: sparse, in memory, with a copy beside a sealed segment.
//!
//! The copy saves reading the whole segment at the next start and may be deleted at any time: one
//! that does not verify, or does not fit its segment, is as good as none. It is never synced.
//! ```text
//! little endian
//!  0 magic u32 "WIX2"    | 4 topic id u32        | 8 partition u32
//! 12 base position u64   | 20 end position u64   | 28 base offset u64   | 36 end offset u64
//! 44 segment bytes u64   | 52 max timestamp u64  | 60 time u64 of the last commit
//! 68 checksum u32 of the last commit             | 72 time u64 of the first commit
//! 80 entries u32
//! 84 per entry: | position u64 | offset u64 | place u64 | max timestamp before u64 |
//!    CRC-32C u32 of all before
//! ```
//! Invariant: entries rise in position and place; the first stands at place 0; `max_timestamp` of
//! an entry is the largest of the segment before it, so it never falls and can be searched.

use bytes::{Buf, BufMut};
use weir_wire::ids::{Offset, Position, Timestamp};

use super::files::{Generation, Name};
use crate::Stretch;
use crate::commit::{Chain, Envelope, Identity};

const MAGIC: u32 = u32::from_le_bytes(*b"WIX2");
const FIXED_BYTES: usize = 84;
const ENTRY_BYTES: usize = 32;

/// A commit whose place is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) position: Position,
    /// Of the commit's first event, or of the next one if it has none.
    pub(super) offset: Offset,
    /// Bytes from the file's beginning.
    pub(super) place: u64,
    /// The largest timestamp in the segment before this commit.
    pub(super) max_timestamp: Timestamp,
}

/// Everything known of a segment's content without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) base: Position,
    /// Of the cleaning that wrote the segment; `None` for one as it was appended.
    pub(super) generation: Option<Generation>,
    pub(super) base_offset: Offset,
    /// The partition time of the first commit.
    pub(super) first_time: Timestamp,
    /// The chain behind the last commit.
    pub(super) end: Chain,
    /// Bytes of all commits.
    pub(super) bytes: u64,
    pub(super) max_timestamp: Timestamp,
    pub(super) entries: Vec<Entry>,
}

/// What an index needs to know of one commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted {
    /// The chain behind the commit.
    pub(super) end: Chain,
    pub(super) time: Timestamp,
    pub(super) first_offset: Offset,
    pub(super) max_timestamp: Timestamp,
    pub(super) bytes: u64,
}

impl Noted {
    pub(super) fn of(envelope: &Envelope, end: Chain) -> Self {
        Self {
            end,
            time: envelope.time,
            first_offset: envelope.first_offset,
            max_timestamp: envelope.max_timestamp,
            bytes: envelope.bytes as u64,
        }
    }
}

impl Index {
    /// Of a segment without commits that begins where `chain` ends.
    pub(super) fn empty(chain: Chain) -> Self {
        Self {
            base: chain.position,
            generation: None,
            base_offset: chain.offset,
            first_time: chain.time,
            end: chain,
            bytes: 0,
            max_timestamp: Timestamp(0),
            entries: Vec::new(),
        }
    }

    /// The same of a segment that a cleaning writes.
    pub(super) fn empty_clean(chain: Chain, generation: Generation) -> Self {
        Self { generation: Some(generation), ..Self::empty(chain) }
    }

    /// What commits of the segment follow, from the one at `position` on.
    pub(super) fn chain_at(&self, identity: Identity, position: Position) -> Chain {
        match self.generation {
            None => Chain::beginning_at(identity, position),
            Some(_) => Chain::sparse_at(identity, position),
        }
    }

    pub(super) fn name(&self) -> Name {
        Name { base: self.base, generation: self.generation }
    }

    /// The same for whoever asks the log.
    pub(super) fn stretch(&self, is_sealed: bool) -> Stretch {
        Stretch {
            first: self.base,
            end: self.end.position,
            first_offset: self.base_offset,
            next_offset: self.end.offset,
            bytes: self.bytes,
            first_time: self.first_time,
            last_time: self.end.time,
            is_clean: self.generation.is_some(),
            is_sealed,
        }
    }

    /// Takes note of the next commit; an entry is made every `interval_bytes`.
    pub(super) fn note(&mut self, noted: Noted, interval_bytes: u64) {
        let due = self.entries.last().is_none_or(|last| self.bytes - last.place >= interval_bytes);
        if due {
            self.entries.push(Entry {
                // Of this commit: the chain at hand is that behind the one before.
                position: Position(noted.end.position.0 - 1),
                offset: noted.first_offset,
                place: self.bytes,
                max_timestamp: self.max_timestamp,
            });
        }
        if self.bytes == 0 {
            (self.base_offset, self.first_time) = (noted.first_offset, noted.time);
        }
        self.end = noted.end;
        self.bytes += noted.bytes;
        self.max_timestamp = self.max_timestamp.max(noted.max_timestamp);
    }

    /// The last known commit at or before `position`.
    pub(super) fn before_position(&self, position: Position) -> Option<Entry> {
        self.last_where(|entry| entry.position <= position)
    }

    /// The last known commit from which reading on meets the event at `offset`.
    pub(super) fn before_offset(&self, offset: Offset) -> Option<Entry> {
        self.last_where(|entry| entry.offset <= offset)
    }

    /// The last known commit before which every timestamp is below `at`.
    pub(super) fn before_time(&self, at: Timestamp) -> Option<Entry> {
        self.last_where(|entry| entry.place == 0 || entry.max_timestamp < at)
    }

    /// Bytes to read at once from a known commit at `place` on, of `wanted`: whole commits, if a place
    /// within or, of one that is larger, the place behind it is known.
    pub(super) fn whole_bytes(&self, place: u64, wanted: usize) -> usize {
        let limit = place.saturating_add(wanted as u64);
        if self.bytes <= limit {
            return (self.bytes - place) as usize;
        }
        let behind = self.entries.partition_point(|entry| entry.place <= limit);
        let within = behind.checked_sub(1).map(|last| self.entries[last].place);
        match within.filter(|within| place < *within) {
            Some(within) => (within - place) as usize,
            None => {
                let next = self.entries.get(behind).map_or(self.bytes, |next| next.place);
                (next - place) as usize
            }
        }
    }

    fn last_where(&self, holds: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let behind = self.entries.partition_point(holds);
        behind.checked_sub(1).map(|last| self.entries[last])
    }

    pub(super) fn encode(&self, identity: Identity) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + self.entries.len() * ENTRY_BYTES + 4);
        out.put_u32_le(MAGIC);
        out.put_u32_le(identity.topic.0);
        out.put_u32_le(identity.partition.0);
        out.put_u64_le(self.base.0);
        out.put_u64_le(self.end.position.0);
        out.put_u64_le(self.base_offset.0);
        out.put_u64_le(self.end.offset.0);
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.max_timestamp.0);
        out.put_u64_le(self.end.time.0);
        out.put_u32_le(self.end.checksum);
        out.put_u64_le(self.first_time.0);
        out.put_u32_le(self.entries.len() as u32);
        for entry in &self.entries {
            out.put_u64_le(entry.position.0);
            out.put_u64_le(entry.offset.0);
            out.put_u64_le(entry.place);
            out.put_u64_le(entry.max_timestamp.0);
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    /// Reads the copy of a segment's; `None` if it does not verify or is of another partition.
    pub(super) fn decode(
        bytes: &[u8],
        identity: Identity,
        generation: Option<Generation>,
    ) -> Option<Self> {
        let (mut rest, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if rest.len() < FIXED_BYTES || crc32c::crc32c(rest) != crc.get_u32_le() {
            return None;
        }
        let head = (rest.get_u32_le(), rest.get_u32_le(), rest.get_u32_le());
        if head != (MAGIC, identity.topic.0, identity.partition.0) {
            return None;
        }
        let (base, end_position) = (Position(rest.get_u64_le()), Position(rest.get_u64_le()));
        let (base_offset, end_offset) = (Offset(rest.get_u64_le()), Offset(rest.get_u64_le()));
        let segment_bytes = rest.get_u64_le();
        let max_timestamp = Timestamp(rest.get_u64_le());
        let time = Timestamp(rest.get_u64_le());
        let checksum = rest.get_u32_le();
        let first_time = Timestamp(rest.get_u64_le());
        let count = rest.get_u32_le() as usize;
        if count.checked_mul(ENTRY_BYTES) != Some(rest.len()) {
            return None;
        }
        let mut entry = || Entry {
            position: Position(rest.get_u64_le()),
            offset: Offset(rest.get_u64_le()),
            place: rest.get_u64_le(),
            max_timestamp: Timestamp(rest.get_u64_le()),
        };
        let entries: Vec<_> = (0..count).map(|_| entry()).collect();
        let first = entries.first()?;
        let rises =
            |pair: &[Entry]| pair[0].position < pair[1].position && pair[0].place < pair[1].place;
        if first.place != 0 || first.position != base || !entries.windows(2).all(rises) {
            return None;
        }
        let end = Chain::behind(identity, end_position, end_offset, time, checksum);
        let end = if generation.is_some() { end.sparse() } else { end };
        let bytes = segment_bytes;
        Some(Self { base, generation, base_offset, first_time, end, bytes, max_timestamp, entries })
    }
}

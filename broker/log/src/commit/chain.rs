//! The end of a row of commits: what the next one must be.
//!
//! Invariant: positions and offsets are dense, time never falls, each commit names the checksum of
//! the one before and the reign of the log. The same `Chain` is asked before a commit is written
//! and after one was read, so a log that was written can be read.

use weir_wire::ids::{Offset, Position, Timestamp};

use super::encoder::Encoder;
use super::envelope::Envelope;
use super::format::{Link, Unwritable};
use super::{Commit, Identity, Kind};

/// In files and in memory there is one reign: the broker's lock on its folder is the fence.
const REIGN: Position = Position(0);

/// Where a row of commits ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    identity: Identity,
    /// The position of the next commit.
    pub(crate) position: Position,
    /// The offset of the next event.
    pub(crate) offset: Offset,
    /// The time of the last commit.
    pub(crate) time: Timestamp,
    /// The checksum of the last commit.
    pub(crate) checksum: u32,
    /// Whether a commit was followed so far; before, offset, time and checksum are not known, but
    /// at position 0 where they are nothing.
    begun: bool,
}

impl Chain {
    /// A chain that begins at `position` with whatever is found there.
    pub(crate) fn beginning_at(identity: Identity, position: Position) -> Self {
        let begun = position == Position(0);
        Self { identity, position, offset: Offset(0), time: Timestamp(0), checksum: 0, begun }
    }

    /// The chain behind a commit of which so much is known.
    pub(crate) fn behind(
        identity: Identity,
        position: Position,
        offset: Offset,
        time: Timestamp,
        checksum: u32,
    ) -> Self {
        Self { identity, position, offset, time, checksum, begun: true }
    }

    /// The chain behind `envelope`, which stands where the chain ends, or why it does not.
    pub(crate) fn follow(&self, envelope: &Envelope) -> Result<Self, &'static str> {
        let link = &envelope.link;
        if link.identity != self.identity {
            return Err("the commit belongs to another partition");
        }
        if link.position != self.position {
            return Err("the commit belongs to another position");
        }
        if link.reign != REIGN {
            return Err("the commit belongs to another owner's reign");
        }
        if self.begun && link.previous != self.checksum {
            return Err("the commit does not follow the one before");
        }
        if self.begun && envelope.first_offset != self.offset {
            return Err("the offsets are not dense");
        }
        if self.begun && envelope.time < self.time {
            return Err("the partition time falls");
        }
        if (envelope.kind == Kind::Open) != (self.position == REIGN) {
            return Err("an OPEN record that is not the first, or a first that is none");
        }
        Ok(Self {
            position: self.position.next(),
            offset: envelope.next_offset(),
            time: envelope.time,
            checksum: envelope.checksum,
            begun: true,
            ..*self
        })
    }

    /// Adds `commit` to `out`, tied to this end; `durable` is what is known to be durable by now.
    /// Returns the chain behind it. On an error `out` is as it was.
    pub(crate) fn extend(
        &self,
        commit: &Commit,
        durable: Position,
        encoder: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> Result<Self, Unwritable> {
        if commit.first_offset != self.offset {
            return Err(Unwritable("the offsets of the commit do not follow the log's"));
        }
        if commit.time < self.time {
            return Err(Unwritable("the partition time of the commit falls"));
        }
        if (commit.kind == Kind::Open) != (self.position == REIGN) {
            return Err(Unwritable("only a log itself writes an OPEN record"));
        }
        let link = Link {
            identity: self.identity,
            position: self.position,
            reign: REIGN,
            durable,
            previous: self.checksum,
        };
        let checksum = encoder.encode(out, &link, commit)?;
        Ok(Self {
            position: self.position.next(),
            offset: commit.first_offset.plus(commit.events.into()),
            time: commit.time,
            checksum,
            ..*self
        })
    }
}

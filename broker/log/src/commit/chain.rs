//! The end of a row of commits: what the next one must be.
//!
//! Invariant: positions and offsets are dense, time never falls, each commit names the checksum of
//! the one before and the reign of the log. In what was cleaned (a *sparse* row) positions and offsets
//! rise and may leave some out. The same `Chain` is asked before a commit is written and after one was
//! read, so a log that was written can be read.

use weir_wire::ids::{Offset, Position, Timestamp};

use super::encoder::{Encoder, behind_head};
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
    /// Whether commits, and events of them, may be missing.
    is_sparse: bool,
}

impl Chain {
    /// A chain that begins at `position` with whatever is found there.
    pub(crate) fn beginning_at(identity: Identity, position: Position) -> Self {
        let begun = position == Position(0);
        Self {
            identity,
            position,
            offset: Offset(0),
            time: Timestamp(0),
            checksum: 0,
            begun,
            is_sparse: false,
        }
    }

    /// A chain of commits from `position` on of which some may be missing.
    pub(crate) fn sparse_at(identity: Identity, position: Position) -> Self {
        Self { begun: false, is_sparse: true, ..Self::beginning_at(identity, position) }
    }

    /// The same end, of a row of which some may be missing.
    pub(crate) fn sparse(self) -> Self {
        Self { is_sparse: true, ..self }
    }

    /// The chain behind a commit of which so much is known.
    pub(crate) fn behind(
        identity: Identity,
        position: Position,
        offset: Offset,
        time: Timestamp,
        checksum: u32,
    ) -> Self {
        Self { identity, position, offset, time, checksum, begun: true, is_sparse: false }
    }

    /// The chain behind `envelope`, which stands where the chain ends, or why it does not.
    pub(crate) fn follow(&self, envelope: &Envelope) -> Result<Self, &'static str> {
        let link = &envelope.link;
        if link.identity != self.identity {
            return Err("the commit belongs to another partition");
        }
        if !self.may_be_next(self.position, link.position) {
            return Err("the commit belongs to another position");
        }
        if link.reign != REIGN {
            return Err("the commit belongs to another owner's reign");
        }
        if self.begun && link.previous != self.checksum {
            return Err("the commit does not follow the one before");
        }
        if self.begun && !self.may_be_next(self.offset, envelope.first_offset) {
            return Err("the offsets are not dense");
        }
        if !self.is_sparse && !envelope.is_dense() {
            return Err("events are missing from the commit");
        }
        if self.begun && envelope.time < self.time {
            return Err("the partition time falls");
        }
        if (envelope.kind == Kind::Open) != (link.position == REIGN) {
            return Err("an OPEN record that is not the first, or a first that is none");
        }
        Ok(Self {
            position: link.position.next(),
            offset: envelope.next_offset(),
            time: envelope.time,
            checksum: envelope.checksum,
            begun: true,
            ..*self
        })
    }

    fn may_be_next<T: Ord>(&self, expected: T, actual: T) -> bool {
        actual == expected || (self.is_sparse && expected < actual)
    }

    /// Adds what was left of the commit at `at` to `out`. Only for a sparse row; all of it was
    /// durable before. Otherwise as [`extend`](Self::extend).
    pub(crate) fn extend_sparse(
        &self,
        at: Position,
        commit: &Commit,
        encoder: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> Result<Self, Unwritable> {
        debug_assert!(self.is_sparse);
        if at < self.position || commit.first_offset < self.offset || commit.time < self.time {
            return Err(Unwritable("what was left of a commit does not follow the one before"));
        }
        let link = Link {
            identity: self.identity,
            position: at,
            reign: REIGN,
            durable: at,
            previous: self.checksum,
        };
        let written = encoder.encode(out, &link, commit)?;
        Ok(Self {
            position: at.next(),
            offset: commit.first_offset.plus(written.span.into()),
            time: commit.time,
            checksum: written.checksum,
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
        let next = self.extend_up_to_head(commit, durable, encoder, out)?;
        out.extend_from_slice(behind_head(commit));
        Ok(next)
    }

    /// The same without what is [`behind_head`]: the caller writes it next.
    pub(crate) fn extend_up_to_head(
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
        let from = out.len();
        let written = encoder.encode_up_to_head(out, &link, commit)?;
        if written.span != commit.events {
            out.truncate(from);
            return Err(Unwritable("events are missing from the commit"));
        }
        Ok(Self {
            position: self.position.next(),
            offset: commit.first_offset.plus(commit.events.into()),
            time: commit.time,
            checksum: written.checksum,
            ..*self
        })
    }
}

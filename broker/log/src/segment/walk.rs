//! Walks the commits of one segment file from a known place on, by positional reads.
//!
//! Promises: every commit handed out verifies and follows the one before; no more is held than one
//! chunk or one commit, whichever is larger. Not here: which file, and what a bad commit means:
//! the reader calls it corrupt, recovery asks whether it was ever durable.

use std::io;

use bytes::Bytes;
use weir_wire::buffers::Buffer;
use weir_wire::ids::Position;

use crate::commit::{Chain, Envelope, Identity, Unreadable};
use crate::disk::DiskFile;

/// A walk at some commit.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    file: &'a dyn DiskFile,
    /// The bytes from `place` on that were read already.
    window: Bytes,
    /// Of the next commit.
    pub(super) place: u64,
    /// Behind the last byte that may be read.
    end: u64,
    /// What the next commit must follow.
    pub(super) chain: Chain,
    chunk_bytes: usize,
    /// Of the first read, if it is known where a commit ends.
    first_bytes: usize,
}

/// Why a walk ends before the end.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// The disk failed.
    Io(io::Error),
    /// What stands there is no commit.
    Unreadable(Unreadable),
    /// It is one, and does not belong there.
    Misplaced(&'static str),
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Unreadable(why) => why.fmt(f),
            Self::Misplaced(why) => f.write_str(why),
        }
    }
}

impl<'a> Walk<'a> {
    /// A walk through the commits between `place` and `end`, the first of which follows `chain`.
    pub(super) fn new(
        file: &'a dyn DiskFile,
        place: u64,
        end: u64,
        chain: Chain,
        chunk_bytes: usize,
    ) -> Self {
        Self {
            file,
            window: Bytes::new(),
            place,
            end,
            chain,
            chunk_bytes,
            first_bytes: chunk_bytes,
        }
    }

    /// The same, where the first `bytes` are known to be whole commits: they are read at once, and
    /// nothing of what is behind them.
    pub(super) fn reading_first(self, bytes: usize) -> Self {
        Self { first_bytes: bytes, ..self }
    }

    /// Whether all that was read was handed out.
    pub(super) fn is_drained(&self) -> bool {
        self.window.is_empty()
    }

    /// The next commit; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Envelope>, Obstacle> {
        if self.place == self.end {
            return Ok(None);
        }
        let envelope = self.parse()?;
        match self.chain.follow(&envelope) {
            Ok(chain) => self.chain = chain,
            Err(why) => return Err(Obstacle::Misplaced(why)),
        }
        self.step(envelope.bytes);
        Ok(Some(envelope))
    }

    /// The first commit of `identity` beyond the obstacle at hand, in the right order or not, for
    /// which `holds`. Looks at every byte, so only for what is damaged anyway.
    pub(super) fn find(
        mut self,
        identity: Identity,
        holds: impl Fn(&Envelope) -> bool,
    ) -> io::Result<Option<Envelope>> {
        match self.parse() {
            // The obstacle may itself be a commit, one from further on.
            Ok(found) if found.link.identity == identity && holds(&found) => {
                return Ok(Some(found));
            }
            Ok(other) => self.step(other.bytes),
            Err(Obstacle::Io(error)) => return Err(error),
            // What a publisher sent must not pass for a commit of ours: where the commit at hand
            // says how long its data is, the search begins behind.
            Err(_) => self.step(Envelope::claimed_bytes(&self.window).unwrap_or(1)),
        }
        while self.place < self.end {
            if self.window.len() < Envelope::LOOK_BYTES && !self.is_at_last_window() {
                self.refill(self.chunk_bytes)?;
            }
            let skipped = (0..self.window.len())
                .find(|&at| Envelope::may_begin(&self.window[at..]))
                // The last few bytes of a window may be the beginning of a commit.
                .unwrap_or(self.window.len().saturating_sub(Envelope::LOOK_BYTES - 1).max(1));
            self.step(skipped);
            if !Envelope::may_begin(&self.window) {
                continue;
            }
            match self.parse() {
                Ok(found) if found.link.identity == identity && holds(&found) => {
                    return Ok(Some(found));
                }
                Ok(other) => self.step(other.bytes),
                Err(Obstacle::Io(error)) => return Err(error),
                Err(_) => self.step(1),
            }
        }
        Ok(None)
    }

    fn parse(&mut self) -> Result<Envelope, Obstacle> {
        loop {
            match Envelope::parse(&self.window) {
                Err(Unreadable::Short { needed }) if !self.is_at_last_window() => {
                    // Beyond the end of the file there is nothing to wait for.
                    if needed as u64 > self.end - self.place {
                        return Err(Obstacle::Unreadable(Unreadable::Short { needed }));
                    }
                    let wanted = std::mem::replace(&mut self.first_bytes, self.chunk_bytes);
                    self.refill(needed.max(wanted)).map_err(Obstacle::Io)?;
                }
                parsed => return parsed.map_err(Obstacle::Unreadable),
            }
        }
    }

    fn is_at_last_window(&self) -> bool {
        self.place + self.window.len() as u64 == self.end
    }

    fn step(&mut self, bytes: usize) {
        self.place = (self.place + bytes as u64).min(self.end);
        self.window = self.window.slice(bytes.min(self.window.len())..);
    }

    /// Reads `wanted` bytes from `place` on, or what is left of the file.
    fn refill(&mut self, wanted: usize) -> io::Result<()> {
        let left = self.end - self.place;
        let mut bytes = Buffer::of((wanted as u64).min(left) as usize);
        self.file.read_exact_at(&mut bytes, self.place)?;
        self.window = bytes.freeze();
        Ok(())
    }
}

/// The position of the first commit behind the obstacle that verifies, or `otherwise`.
pub(super) fn good_again(walk: Walk<'_>, identity: Identity, otherwise: Position) -> Position {
    let bad = walk.chain.position;
    match walk.find(identity, |found| found.link.position > bad) {
        Ok(Some(found)) => found.link.position,
        // An unreadable disk knows no good position either.
        Ok(None) | Err(_) => otherwise,
    }
}

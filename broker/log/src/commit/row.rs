//! Commits as bytes without a log: the very bytes of a segment file, in memory. For whoever counts
//! what writing and reading them takes, apart from the disk.
//!
//! Not here on purpose: durability, files, and a way to repair what does not verify.

use bytes::Bytes;

use super::{Chain, Commit, Encoder, Envelope, Identity, Stored};
use weir_wire::ids::Position;

/// Commits that follow one another, from the OPEN record of a log on.
#[derive(Debug, Clone)]
pub struct Row {
    chain: Chain,
    encoder: Encoder,
    bytes: Vec<u8>,
}

/// A commit that cannot be the next one, or bytes that are not the next commit, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RowError(String);

impl Row {
    /// The row of a new log: nothing but its OPEN record.
    pub fn new(identity: Identity) -> Self {
        let chain = Chain::beginning_at(identity, Position(0));
        let mut row = Self { chain, encoder: Encoder::default(), bytes: Vec::new() };
        row.push(&Commit::open(Bytes::from_static(b"{}")))
            .expect("an OPEN record without data can be written at position 0");
        row
    }

    /// Adds the next commit. On an error the row is as it was.
    pub fn push(&mut self, commit: &Commit) -> Result<(), RowError> {
        let unwritable = |why: super::format::Unwritable| RowError(why.to_string());
        self.chain = self
            .chain
            .extend(commit, self.chain.position, &mut self.encoder, &mut self.bytes)
            .map_err(unwritable)?;
        Ok(())
    }

    /// The bytes of the commits so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the bytes, as a log does that has written them, and goes on behind them.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Reads the commit in `bytes` that follows this row: every byte is verified, and that it follows.
    pub fn read_next(&self, bytes: &Bytes) -> Result<Stored, RowError> {
        let envelope = Envelope::parse(bytes).map_err(|why| RowError(why.to_string()))?;
        self.chain.follow(&envelope).map_err(|why| RowError(why.to_owned()))?;
        envelope.open().map_err(|why| RowError(why.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::fixture::{IDENTITY, Worker, as_stored};

    #[test]
    fn a_commit_is_read_as_it_was_written_and_only_in_its_place() {
        let mut worker = Worker::new();
        let commits = [worker.full_commit(), worker.commit(&[1, 2], 9), worker.transformed()];
        let mut row = Row::new(IDENTITY);
        for (at, commit) in (1..).map(Position).zip(&commits) {
            let before = row.clone();
            row.clear();
            row.push(commit).unwrap();
            let bytes = Bytes::copy_from_slice(row.bytes());
            assert_eq!(before.read_next(&bytes), Ok(as_stored(at, commit)));
            let told = row.read_next(&bytes).unwrap_err().to_string();
            assert_eq!(told, "the commit belongs to another position");
        }
        let told = row.push(&commits[0]).unwrap_err().to_string();
        assert_eq!(told, "the offsets of the commit do not follow the log's");
    }
}

//! What everything before a position adds up to, in a file of its own: with it, what is before may
//! go, or be thinned out.
//!
//! ```text
//! little endian
//!  0 magic u32 "WSN1" | 4 topic id u32 | 8 partition u32 | 12 generation u64
//! 20 position u64     | 28 offset u64  | 36 time u64     | 44 checksum u32: the end of all before
//! 48 start offset u64 | 56 note bytes u32 | 60 clean segments u32 | 64 view pieces u32 | 68 view bytes u64
//! 76 note ... | per clean segment:
//!    | base u64 | generation u64 | end position u64 | end offset u64 | time u64 | checksum u32 | bytes u64 |
//!    CRC-32C u32 of all before
//!    per piece of the view: | bytes u32 | ... |
//!    CRC-32C u32 of the pieces
//! ```
//! The file gets its name when it is durable, so one that does not verify is damage. Its head is read
//! at every start; the view only by a fold that has no checkpoint.
//!
//! Promises: any bytes are answered with a snapshot or a reason; nothing is allocated beyond them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use weir_wire::ids::{Offset, Position, Timestamp};

use super::files::{self, Generation};
use crate::commit::{Chain, Identity};
use crate::disk::{Access, Disk, DiskFile};

const MAGIC: u32 = u32::from_le_bytes(*b"WSN1");
const FIXED_BYTES: usize = 76;
const CLEAN_BYTES: usize = 52;
const CRC_BYTES: usize = 4;
/// Bytes written at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of a head at most, so that a damaged length asks for no memory: a hundred thousand
/// segments of 64 MiB are 6 TiB in one partition.
const HEAD_BYTES_MAX: usize = 16 << 20;

/// All of a snapshot but the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) generation: Generation,
    /// The end of everything that it stands for.
    pub(super) chain: Chain,
    /// The first offset that may be asked for.
    pub(super) start: Offset,
    /// The cleaner's; the log does not read it.
    pub(super) note: Bytes,
    /// What was left of the commits before, oldest first.
    pub(super) clean: Vec<Clean>,
    view_pieces: u32,
    view_bytes: u64,
}

/// A segment that a cleaning wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clean {
    pub(super) base: Position,
    pub(super) generation: Generation,
    pub(super) end: Chain,
    pub(super) bytes: u64,
}

/// Why a file is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damaged {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the snapshot does not verify: {0}")]
    Invalid(&'static str),
}

impl Head {
    pub(super) fn new(
        generation: Generation,
        chain: Chain,
        start: Offset,
        note: Bytes,
        clean: Vec<Clean>,
        view: &[Bytes],
    ) -> Self {
        let view_bytes = view.iter().map(|piece| piece.len() as u64).sum();
        let view_pieces = u32::try_from(view.len()).unwrap_or(u32::MAX);
        Self { generation, chain, start, note, clean, view_pieces, view_bytes }
    }

    /// Bytes of the whole file.
    pub(super) fn file_bytes(&self) -> u64 {
        // Lengths that no file has are an answer, too: what was read is compared with the file's.
        self.pieces_bytes().saturating_add((self.head_bytes() + CRC_BYTES) as u64)
    }

    fn head_bytes(&self) -> usize {
        FIXED_BYTES + self.note.len() + self.clean.len() * CLEAN_BYTES + CRC_BYTES
    }

    fn pieces_bytes(&self) -> u64 {
        self.view_bytes.saturating_add(4 * u64::from(self.view_pieces))
    }

    pub(super) fn encode(&self, identity: Identity) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.head_bytes());
        out.put_u32_le(MAGIC);
        out.put_u32_le(identity.topic.0);
        out.put_u32_le(identity.partition.0);
        out.put_u64_le(self.generation.0);
        out.put_u64_le(self.chain.position.0);
        out.put_u64_le(self.chain.offset.0);
        out.put_u64_le(self.chain.time.0);
        out.put_u32_le(self.chain.checksum);
        out.put_u64_le(self.start.0);
        out.put_u32_le(self.note.len() as u32);
        out.put_u32_le(self.clean.len() as u32);
        out.put_u32_le(self.view_pieces);
        out.put_u64_le(self.view_bytes);
        out.extend_from_slice(&self.note);
        for Clean { base, generation, end, bytes } in &self.clean {
            out.put_u64_le(base.0);
            out.put_u64_le(generation.0);
            out.put_u64_le(end.position.0);
            out.put_u64_le(end.offset.0);
            out.put_u64_le(end.time.0);
            out.put_u32_le(end.checksum);
            out.put_u64_le(*bytes);
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    /// Reads a head of this very partition off the front of a file that has `length` bytes.
    pub(super) fn decode(
        bytes: &[u8],
        length: u64,
        identity: Identity,
    ) -> Result<Self, &'static str> {
        let (mut rest, mut crc) = bytes
            .len()
            .checked_sub(CRC_BYTES)
            .map(|end| bytes.split_at(end))
            .ok_or("it is cut off")?;
        if rest.len() < FIXED_BYTES || crc32c::crc32c(rest) != crc.get_u32_le() {
            return Err("the checksum of its head is wrong");
        }
        let whose = (rest.get_u32_le(), rest.get_u32_le(), rest.get_u32_le());
        if whose != (MAGIC, identity.topic.0, identity.partition.0) {
            return Err("it is another partition's");
        }
        let generation = Generation(rest.get_u64_le());
        let (position, offset) = (Position(rest.get_u64_le()), Offset(rest.get_u64_le()));
        let (time, checksum) = (Timestamp(rest.get_u64_le()), rest.get_u32_le());
        let start = Offset(rest.get_u64_le());
        let note_bytes = rest.get_u32_le() as usize;
        let count = rest.get_u32_le() as usize;
        let (view_pieces, view_bytes) = (rest.get_u32_le(), rest.get_u64_le());
        let expected = count.checked_mul(CLEAN_BYTES).and_then(|of| of.checked_add(note_bytes));
        if expected != Some(rest.len()) || offset < start {
            return Err("its head contradicts itself");
        }
        let note = rest.copy_to_bytes(note_bytes);
        let mut clean = Vec::with_capacity(count);
        let (mut position_before, mut offset_before) = (Position(0), Offset(0));
        for _ in 0..count {
            let (base, generation) = (Position(rest.get_u64_le()), Generation(rest.get_u64_le()));
            let (end, end_offset) = (Position(rest.get_u64_le()), Offset(rest.get_u64_le()));
            let (time, checksum) = (Timestamp(rest.get_u64_le()), rest.get_u32_le());
            let bytes = rest.get_u64_le();
            if base < position_before || end <= base || end_offset < offset_before {
                return Err("its segments overlap");
            }
            (position_before, offset_before) = (end, end_offset);
            let end = Chain::behind(identity, end, end_offset, time, checksum).sparse();
            clean.push(Clean { base, generation, end, bytes });
        }
        if position < position_before || offset < offset_before {
            return Err("its segments go beyond it");
        }
        let chain = Chain::behind(identity, position, offset, time, checksum);
        let head = Self { generation, chain, start, note, clean, view_pieces, view_bytes };
        if head.file_bytes() != length {
            return Err("its length is wrong");
        }
        Ok(head)
    }
}

/// Makes the snapshot durable under its name, which it did not have before.
///
/// `Err` is before it got the name: nothing happened. Whether the name is durable is the second result.
pub(super) fn write(
    disk: &dyn Disk,
    folder: &Path,
    identity: Identity,
    head: &Head,
    view: &[Bytes],
) -> io::Result<io::Result<()>> {
    let (position, generation) = (head.chain.position, head.generation);
    let unfinished = files::unfinished_path(folder, position, generation);
    match disk.unlink(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&unfinished)?;
    let mut buffer = head.encode(identity);
    let (mut place, mut crc) = (0, 0);
    let mut put = |buffer: &mut Vec<u8>, at_least: usize| {
        if at_least <= buffer.len() {
            file.write_all_at(buffer, place)?;
            place += buffer.len() as u64;
            buffer.clear();
        }
        io::Result::Ok(())
    };
    put(&mut buffer, 0)?;
    for piece in view {
        let from = buffer.len();
        buffer.put_u32_le(piece.len() as u32);
        buffer.extend_from_slice(piece);
        crc = crc32c::crc32c_append(crc, &buffer[from..]);
        put(&mut buffer, CHUNK_BYTES)?;
    }
    buffer.put_u32_le(crc);
    put(&mut buffer, 0)?;
    file.sync()?;
    disk.rename(&unfinished, &files::snapshot_path(folder, position, generation))?;
    Ok(disk.sync_folder(folder))
}

/// The head of a snapshot, and the file it stands in.
pub(super) fn open(
    disk: &dyn Disk,
    path: &Path,
    identity: Identity,
) -> Result<(Head, Arc<dyn DiskFile>), Damaged> {
    let file = disk.open(path, Access::Read)?;
    let length = file.length()?;
    let mut bytes = vec![0; FIXED_BYTES];
    if length < FIXED_BYTES as u64 {
        return Err(Damaged::Invalid("it is cut off"));
    }
    file.read_exact_at(&mut bytes, 0)?;
    let mut counts = &bytes[56..];
    let (note, clean) = (counts.get_u32_le() as usize, counts.get_u32_le() as usize);
    let head_bytes = clean
        .checked_mul(CLEAN_BYTES)
        .and_then(|clean| clean.checked_add(note)?.checked_add(FIXED_BYTES + CRC_BYTES))
        .filter(|&bytes| bytes <= HEAD_BYTES_MAX && bytes as u64 <= length)
        .ok_or(Damaged::Invalid("its head contradicts itself"))?;
    bytes.resize(head_bytes, 0);
    file.read_exact_at(&mut bytes[FIXED_BYTES..], FIXED_BYTES as u64)?;
    let head = Head::decode(&bytes, length, identity).map_err(Damaged::Invalid)?;
    Ok((head, file))
}

/// The view of a snapshot, verified.
pub(super) fn read_view(head: &Head, file: &dyn DiskFile) -> Result<Vec<Bytes>, Damaged> {
    let bytes = usize::try_from(head.pieces_bytes())
        .map_err(|_| Damaged::Invalid("it is larger than the memory"))?;
    let mut whole = vec![0; bytes + CRC_BYTES];
    file.read_exact_at(&mut whole, head.head_bytes() as u64)?;
    let mut rest = Bytes::from(whole);
    let mut crc = rest.split_off(bytes);
    if crc32c::crc32c(&rest) != crc.get_u32_le() {
        return Err(Damaged::Invalid("the checksum of its view is wrong"));
    }
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let cut_off = Damaged::Invalid("a piece of its view is cut off");
        if rest.len() < 4 {
            return Err(cut_off);
        }
        let length = rest.get_u32_le() as usize;
        if rest.len() < length {
            return Err(cut_off);
        }
        pieces.push(rest.split_to(length));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::fixture::IDENTITY;

    /// Found by `fuzz/`: the length of the file was counted beyond 64 bits.
    #[test]
    fn a_head_that_speaks_of_more_bytes_than_there_are_is_refused() {
        let chain = Chain::behind(IDENTITY, Position(3), Offset(5), Timestamp(7), 9);
        let head = Head {
            view_bytes: u64::MAX,
            ..Head::new(Generation(1), chain, Offset(0), Bytes::new(), Vec::new(), &[])
        };
        let bytes = head.encode(IDENTITY);
        for length in [0, bytes.len() as u64, u64::MAX - 1] {
            assert!(Head::decode(&bytes, length, IDENTITY).is_err(), "{length}");
        }
        let whole = Head { view_bytes: 12, ..head };
        let read = Head::decode(&whole.encode(IDENTITY), whole.file_bytes(), IDENTITY);
        assert_eq!(read, Ok(whole));
    }
}

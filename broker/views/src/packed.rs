//! A whole view as bytes, for the snapshot that stands in a log for the commits it was folded from.
//!
//! ```text
//! pieces of about a mebibyte, each of whole rows in the order of their keys, the head first:
//! | key bytes u32 le | key | value bytes u32 le | value | ...
//! ```
//! The rows are drawn in `checkpoint.rs`.
//!
//! Promises: a view that was packed is unpacked equal; any bytes are answered with a view or an error.

use bytes::{Buf, BufMut, Bytes};

use crate::checkpoint::{Checkpoint, Decoder, Undecodable};
use crate::partition::PartitionView;

/// Bytes of a piece: written at once, and the rows of it are.
const PIECE_BYTES: usize = 1 << 20;

/// The pieces of a snapshot that make no view. The log is damaged, or a younger weir wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot's view cannot be read ({0}); was it written by a younger weir?")]
pub struct Unpackable(String);

impl PartitionView {
    /// The whole view. Takes as long, and as much memory again, as the view is large.
    pub fn pack(&self) -> Vec<Bytes> {
        let (mut pieces, mut piece) = (Vec::new(), Vec::new());
        for (key, value) in self.sorted_rows() {
            for part in [key, value] {
                piece.put_u32_le(u32::try_from(part.len()).expect("rows are bounded by limits"));
                piece.extend_from_slice(&part);
            }
            if PIECE_BYTES <= piece.len() {
                pieces.push(Bytes::from(std::mem::take(&mut piece)));
            }
        }
        if !piece.is_empty() {
            pieces.push(piece.into());
        }
        pieces
    }

    /// The view that was packed. Give it the commits from [`next`](Self::next) on.
    pub fn unpack(pieces: &[Bytes]) -> Result<Self, Unpackable> {
        let unpackable = |why: Undecodable| Unpackable(why.to_string());
        let mut decoder = Decoder::default();
        for piece in pieces {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let (key, value) = take(&mut rest)
                    .and_then(|key| Some((key, take(&mut rest)?)))
                    .ok_or_else(|| Unpackable("a row is cut off".to_owned()))?;
                decoder.row(key, value).map_err(unpackable)?;
            }
        }
        let checkpoint: Option<Checkpoint> = decoder.finish().map_err(unpackable)?;
        let empty = || Unpackable("it has no head".to_owned());
        let mut view = Self::restore(Some(checkpoint.ok_or_else(empty)?));
        // No checkpoint in the store has any of it.
        view.start_over();
        Ok(view)
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = rest.try_get_u32_le().ok()? as usize;
    let (part, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(part)
}

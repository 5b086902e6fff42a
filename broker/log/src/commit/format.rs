//! A commit as bytes, version 1 to 3.
//!
//! On disk a commit is one or two Kafka record batches (format v2), so that a log file is a plain
//! row of batches for every tool that knows Kafka's: a *control batch* with everything weir knows,
//! which such tools skip, then the *data batch* with the admitted events, if there are any.
//! ```text
//! control batch, big endian, as Kafka draws it
//!  0 base offset i64 = first offset    | 8 length i32       | 12 leader epoch i32 = reign, 31 bits
//! 16 magic i8 = 2  | 17 CRC-32C u32 of all from 21 on       | 21 attributes i16 = 0x20 (control)
//! 23 last offset delta i32 = 0         | 27, 35 base and max timestamp i64 = time
//! 43 producer id i64, 51 its epoch i16, 53 base sequence i32 = -1   | 57 records i32 = 1
//! 61 record: | length zigzag | attributes 0 | deltas 0, 0 | 8 (key length 4, zigzag) |
//!            | key: version i16 = 0, type i16 = 0x5745 "WE" | body length zigzag | body | headers 0 |
//!
//! body, little endian
//!   0 version u8 = 1..3 | 1 kind u8         | 2 flags u8 (bit 0: has a producer) | 3 zero u8
//!   4 topic id u32      | 8 partition u32
//!  12 position u64      | 20 reign u64: the position of the OPEN record | 28 index u64 behind it
//!  36 durable u64: positions below were known to be durable when this was written
//!  44 previous u32: the control batch's CRC of the commit before; 0 at position 0
//!  48 data bytes u32    | 52 data CRC-32C u32, over the whole data batch as stored; 0 if none
//!  56 first offset u64  | 64 events u32
//!  68 time u64          | 76 max timestamp u64  | 84 chain revision u64   | 92 relayed u64
//! 100 producer id u64   | 108 its epoch u16     | 110 first sequence u32  | 114 last sequence u32
//! 118 sections, see `sections.rs`
//! ```
//! The control batch's CRC covers the body, the body covers the data: one broken bit anywhere is
//! found. What lies outside of Kafka's CRC (base offset, length, leader epoch, magic) is compared
//! with the body. Zeros or ones alone never read as a commit: the magic is neither.
//!
//! Version 2 knows keyspaces, and is written only where one other than the first is meant: a log of
//! plugins without schemas stays readable for the weir that wrote version 1. Version 3 knows what a
//! publisher had consumed, and is written only where one says so.
//!
//! Promises: any bytes are answered with a commit or a reason, without a panic, and without
//! allocating more than they hold. A version this code does not know is an error of its own: what
//! a younger weir wrote is never cut off as a torn tail.

use weir_wire::ids::Position;
use weir_wire::record_batch::BatchHeader;

use super::Identity;

/// Bytes of one commit at most, data included: a commit is read as a whole, and a broker of 1 GiB
/// has to be able to hold a few.
pub const COMMIT_BYTES_MAX: usize = 256 << 20;

/// Where in a batch the bytes begin that Kafka's CRC covers.
pub(super) const CRC_FROM: usize = 21;
pub(super) const MAGIC: u8 = 2;
pub(super) const CONTROL: u16 = 0x20;
/// The key of the control record: version 0, type "WE".
pub(super) const CONTROL_KEY: [u8; 4] = [0, 0, 0x57, 0x45];
pub(super) const BODY_VERSION: u8 = 1;
/// Of commits in which a plugin's state is in another keyspace than the first.
pub(super) const BODY_VERSION_KEYSPACES: u8 = 2;
/// Of commits that say how far their publisher's group has come in what it reads.
pub(super) const BODY_VERSION_CONSUMED: u8 = 3;
/// Bytes of the body before its sections.
pub(super) const BODY_FIXED_BYTES: usize = 118;
pub(super) const HAS_PRODUCER: u8 = 1;

/// What ties a commit to its place in its log, beside the commit itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// Whose log.
    pub(crate) identity: Identity,
    /// Where.
    pub(crate) position: Position,
    /// The OPEN record of the owner that wrote it.
    pub(crate) reign: Position,
    /// Positions below were known to be durable.
    pub(crate) durable: Position,
    /// The checksum of the commit before.
    pub(crate) previous: u32,
}

/// Why bytes are not a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// They end too early; with so many from its beginning on, more can be said.
    #[error("the commit is cut off")]
    Short {
        /// Bytes needed, counted from the commit's beginning.
        needed: usize,
    },
    /// They do not verify.
    #[error("{0}")]
    Invalid(&'static str),
    /// They verify, and were written by a younger weir.
    #[error("commit format {0} is not known to this version of weir")]
    Version(u8),
}

/// A commit that may not be written, in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unwritable(pub(crate) &'static str);

/// Whether `data` can be the batch of `events` events; its head is all that the log looks at.
pub(super) fn read_data_head(
    events: u32,
    data: &[u8],
) -> Result<Option<BatchHeader>, &'static str> {
    if data.is_empty() {
        return if events == 0 { Ok(None) } else { Err("events without data") };
    }
    let header = BatchHeader::decode(data).map_err(|_| "data that is no record batch")?;
    if header.total_bytes != data.len() || header.is_control {
        return Err("data that is not one batch of events");
    }
    if header.records != events {
        return Err("data with another number of events");
    }
    Ok(Some(header))
}

/// Offsets that the events of a commit take, with those that were taken out of it later.
pub(super) fn span(data_head: Option<BatchHeader>) -> u32 {
    data_head.map_or(0, |head| head.last_offset_delta + 1)
}

/// Kafka's word for whose reign it is; the field has 31 bits, so it is for tools and not the fence.
pub(super) fn leader_epoch(reign: Position) -> u32 {
    (reign.0 & 0x7FFF_FFFF) as u32
}

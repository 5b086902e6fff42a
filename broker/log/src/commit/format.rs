//! A commit as bytes, version 1.
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
//!   0 version u8 = 1    | 1 kind u8         | 2 flags u8 (bit 0: has a producer) | 3 zero u8
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
//! Promises: any bytes are answered with a commit or a reason, without a panic, and without
//! allocating more than they hold. A version this code does not know is an error of its own: what
//! a younger weir wrote is never cut off as a torn tail.

use bytes::{Buf, BufMut, Bytes};
use weir_wire::ids::{
    ChainRevision, Offset, PartitionId, Position, ProducerEpoch, ProducerId, Sequence, Timestamp,
    TopicId,
};

use super::cursor::{Cursor, push_zigzag};
use super::sections::{push_sections, read_sections};
use super::{Commit, Identity, Kind, Produced, Stored};

/// Bytes of one commit at most, data included: a commit is read as a whole, and a broker of 1 GiB
/// has to be able to hold a few.
pub const COMMIT_BYTES_MAX: usize = 256 << 20;

/// Bytes of a record batch before its records.
pub(crate) const BATCH_HEADER_BYTES: usize = 61;
/// Where in a batch the bytes begin that Kafka's CRC covers.
const CRC_FROM: usize = 21;
const MAGIC: u8 = 2;
const CONTROL: u16 = 0x20;
/// The key of the control record: version 0, type "WE".
const CONTROL_KEY: [u8; 4] = [0, 0, 0x57, 0x45];
const BODY_VERSION: u8 = 1;
/// Bytes of the body before its sections.
const BODY_FIXED_BYTES: usize = 118;
const HAS_PRODUCER: u8 = 1;

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

/// The verified fixed part of a commit; what varies is still bytes.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) link: Link,
    pub(crate) kind: Kind,
    pub(crate) first_offset: Offset,
    pub(crate) events: u32,
    pub(crate) time: Timestamp,
    pub(crate) max_timestamp: Timestamp,
    /// The data batch, as stored.
    pub(crate) data: Bytes,
    /// Of the control batch: what the next commit names as `previous`.
    pub(crate) checksum: u32,
    /// Bytes of the whole commit.
    pub(crate) bytes: usize,
    chain: ChainRevision,
    relayed: u64,
    producer: Option<Produced>,
    sections: Bytes,
}

/// Writes commits; keeps one buffer for all of them.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    body: Vec<u8>,
}

impl Encoder {
    /// Adds `commit` to `out`; returns its checksum. On an error `out` is as it was.
    pub(crate) fn encode(
        &mut self,
        out: &mut Vec<u8>,
        link: &Link,
        commit: &Commit,
    ) -> Result<u32, Unwritable> {
        check_data(commit.events, &commit.data).map_err(Unwritable)?;
        let stamped = (!commit.data.is_empty()).then(|| {
            let mut head = [0; 16];
            head.copy_from_slice(&commit.data[..16]);
            head[..8].copy_from_slice(&commit.first_offset.0.to_be_bytes());
            head[12..].copy_from_slice(&leader_epoch(link.reign).to_be_bytes());
            head
        });
        let data_crc = stamped.map_or(0, |head| {
            crc32c::crc32c_append(crc32c::crc32c(&head), &commit.data[head.len()..])
        });
        self.body.clear();
        push_body(&mut self.body, link, commit, data_crc);
        if self.body.len().saturating_add(commit.data.len()) > COMMIT_BYTES_MAX - 1024 {
            return Err(Unwritable("a commit over the limit"));
        }
        let from = out.len();
        push_control_batch(out, link, commit, &self.body);
        let checksum = crc32c::crc32c(&out[from + CRC_FROM..]);
        out[from + 17..from + 21].copy_from_slice(&checksum.to_be_bytes());
        if let Some(head) = stamped {
            out.extend_from_slice(&head);
            out.extend_from_slice(&commit.data[head.len()..]);
        }
        self.body.shrink_to(BODY_BYTES_KEPT);
        Ok(checksum)
    }
}

/// Bytes an encoder keeps for the next commit: enough for ordinary batches, and a thousand idle
/// logs hold 64 MiB at most.
const BODY_BYTES_KEPT: usize = 64 << 10;

fn push_control_batch(out: &mut Vec<u8>, link: &Link, commit: &Commit, body: &[u8]) {
    let from = out.len();
    out.put_u64(commit.first_offset.0);
    out.put_u32(0);
    out.put_u32(leader_epoch(link.reign));
    out.put_u8(MAGIC);
    out.put_u32(0);
    out.put_u16(CONTROL);
    out.put_u32(0);
    out.put_u64(commit.time.0);
    out.put_u64(commit.time.0);
    out.put_i64(-1);
    out.put_i16(-1);
    out.put_i32(-1);
    out.put_u32(1);
    let record_bytes = 3 + 1 + CONTROL_KEY.len() + zigzag_bytes(body.len()) + body.len() + 1;
    push_zigzag(out, record_bytes as i64);
    out.extend_from_slice(&[0; 3]);
    push_zigzag(out, CONTROL_KEY.len() as i64);
    out.extend_from_slice(&CONTROL_KEY);
    push_zigzag(out, body.len() as i64);
    out.extend_from_slice(body);
    out.push(0);
    let length = (out.len() - from - 12) as u32;
    out[from + 8..from + 12].copy_from_slice(&length.to_be_bytes());
}

fn push_body(body: &mut Vec<u8>, link: &Link, commit: &Commit, data_crc: u32) {
    let producer = commit.producer.as_ref();
    body.put_u8(BODY_VERSION);
    body.put_u8(commit.kind as u8);
    body.put_u8(if producer.is_some() { HAS_PRODUCER } else { 0 });
    body.put_u8(0);
    body.put_u32_le(link.identity.topic.0);
    body.put_u32_le(link.identity.partition.0);
    body.put_u64_le(link.position.0);
    body.put_u64_le(link.reign.0);
    body.put_u64_le(link.position.0.saturating_sub(link.reign.0));
    body.put_u64_le(link.durable.0);
    body.put_u32_le(link.previous);
    body.put_u32_le(commit.data.len() as u32);
    body.put_u32_le(data_crc);
    body.put_u64_le(commit.first_offset.0);
    body.put_u32_le(commit.events);
    body.put_u64_le(commit.time.0);
    body.put_u64_le(commit.max_timestamp.0);
    body.put_u64_le(commit.chain.0);
    body.put_u64_le(commit.relayed);
    body.put_u64_le(producer.map_or(0, |producer| producer.id.0));
    body.put_u16_le(producer.map_or(0, |producer| producer.epoch.0));
    body.put_u32_le(producer.map_or(0, |producer| producer.first.number()));
    body.put_u32_le(producer.map_or(0, |producer| producer.last.number()));
    debug_assert_eq!(BODY_FIXED_BYTES, body.len());
    push_sections(body, commit);
}

/// What a control batch says of the data batch behind it.
#[derive(Debug, Clone, Copy)]
struct DataClaim {
    bytes: usize,
    crc: u32,
}

impl Envelope {
    /// Reads the commit at the beginning of `bytes` and verifies every byte of it; the sections'
    /// meaning is left to [`Self::open`]. What follows the commit is not looked at.
    pub(crate) fn parse(bytes: &Bytes) -> Result<Self, Unreadable> {
        let (mut envelope, claim) = Self::parse_control(bytes)?;
        let control_bytes = envelope.bytes - claim.bytes;
        if bytes.len() < envelope.bytes {
            return Err(Unreadable::Short { needed: envelope.bytes });
        }
        envelope.data = bytes.slice(control_bytes..envelope.bytes);
        envelope.verify_data(claim)?;
        Ok(envelope)
    }

    /// Bytes of the commit at the beginning of `bytes`, if its control batch verifies: its data may
    /// be cut off or wrong.
    pub(crate) fn claimed_bytes(bytes: &Bytes) -> Option<usize> {
        Self::parse_control(bytes).ok().map(|(envelope, _)| envelope.bytes)
    }

    /// Whether a commit could begin at the beginning of `bytes`: a cheap look before the checksum.
    pub(crate) fn may_begin(bytes: &[u8]) -> bool {
        let fixed = bytes.get(16..61);
        fixed.is_some_and(|fixed| {
            fixed[0] == MAGIC && fixed[5..7] == CONTROL.to_be_bytes() && fixed[41..] == [0, 0, 0, 1]
        })
    }

    fn parse_control(bytes: &Bytes) -> Result<(Self, DataClaim), Unreadable> {
        if bytes.len() < BATCH_HEADER_BYTES {
            return Err(Unreadable::Short { needed: BATCH_HEADER_BYTES });
        }
        if !Self::may_begin(bytes) {
            return Err(Unreadable::Invalid("no commit begins here"));
        }
        let mut header = bytes.slice(..BATCH_HEADER_BYTES);
        let base_offset = header.get_u64();
        let control_bytes = 12 + header.get_u32() as usize;
        let leader = header.get_u32();
        header.advance(1);
        let checksum = header.get_u32();
        header.advance(6);
        let (base_timestamp, max_timestamp) = (header.get_u64(), header.get_u64());
        if !(BATCH_HEADER_BYTES + BODY_FIXED_BYTES..=COMMIT_BYTES_MAX).contains(&control_bytes) {
            return Err(Unreadable::Invalid("a length that no commit has"));
        }
        if bytes.len() < control_bytes {
            return Err(Unreadable::Short { needed: control_bytes });
        }
        if crc32c::crc32c(&bytes[CRC_FROM..control_bytes]) != checksum {
            return Err(Unreadable::Invalid("the checksum is wrong"));
        }
        let body = read_record(bytes.slice(BATCH_HEADER_BYTES..control_bytes))?;
        let (envelope, claim) = Self::parse_body(body, checksum, control_bytes)?;
        let outside_of_crc = (base_offset, leader, base_timestamp, max_timestamp);
        let time = envelope.time.0;
        let body_says = (envelope.first_offset.0, leader_epoch(envelope.link.reign), time, time);
        if outside_of_crc != body_says {
            return Err(Unreadable::Invalid("the batch header contradicts the commit"));
        }
        Ok((envelope, claim))
    }

    fn parse_body(
        mut body: Bytes,
        checksum: u32,
        control_bytes: usize,
    ) -> Result<(Self, DataClaim), Unreadable> {
        match body.first() {
            Some(&BODY_VERSION) => {}
            Some(&version) => return Err(Unreadable::Version(version)),
            None => return Err(Unreadable::Invalid("an empty commit")),
        }
        if body.len() < BODY_FIXED_BYTES {
            return Err(Unreadable::Invalid("a commit without its fixed part"));
        }
        let sections = body.split_off(BODY_FIXED_BYTES);
        body.advance(1);
        let kind = Kind::from_number(body.get_u8())
            .ok_or(Unreadable::Invalid("a commit of an unknown kind"))?;
        let (flags, zero) = (body.get_u8(), body.get_u8());
        let topic = TopicId(body.get_u32_le());
        let partition = PartitionId(body.get_u32_le());
        let position = Position(body.get_u64_le());
        let reign = Position(body.get_u64_le());
        let index = body.get_u64_le();
        let durable = Position(body.get_u64_le());
        let previous = body.get_u32_le();
        let claim = DataClaim { bytes: body.get_u32_le() as usize, crc: body.get_u32_le() };
        let first_offset = Offset(body.get_u64_le());
        let events = body.get_u32_le();
        let time = Timestamp(body.get_u64_le());
        let max_timestamp = Timestamp(body.get_u64_le());
        let chain = ChainRevision(body.get_u64_le());
        let relayed = body.get_u64_le();
        let producer = Produced {
            id: ProducerId(body.get_u64_le()),
            epoch: ProducerEpoch(body.get_u16_le()),
            first: Sequence::new(body.get_u32_le()),
            last: Sequence::new(body.get_u32_le()),
        };
        if flags & !HAS_PRODUCER != 0 || zero != 0 {
            return Err(Unreadable::Invalid("flags that mean nothing"));
        }
        if reign.0.checked_add(index) != Some(position.0) || durable > position {
            return Err(Unreadable::Invalid("positions that contradict each other"));
        }
        let bytes = control_bytes + claim.bytes;
        if bytes > COMMIT_BYTES_MAX {
            return Err(Unreadable::Invalid("a length that no commit has"));
        }
        let identity = Identity { topic, partition };
        let envelope = Self {
            link: Link { identity, position, reign, durable, previous },
            kind,
            first_offset,
            events,
            time,
            max_timestamp,
            data: Bytes::new(),
            checksum,
            bytes,
            chain,
            relayed,
            producer: (flags & HAS_PRODUCER != 0).then_some(producer),
            sections,
        };
        Ok((envelope, claim))
    }

    fn verify_data(&self, claim: DataClaim) -> Result<(), Unreadable> {
        check_data(self.events, &self.data).map_err(Unreadable::Invalid)?;
        let crc = if self.data.is_empty() { 0 } else { crc32c::crc32c(&self.data) };
        if crc != claim.crc {
            return Err(Unreadable::Invalid("the checksum of the data is wrong"));
        }
        if let Some(mut base) = self.data.get(..8)
            && base.get_u64() != self.first_offset.0
        {
            return Err(Unreadable::Invalid("the data has another base offset"));
        }
        Ok(())
    }

    /// The offset behind the commit's events.
    pub(crate) fn next_offset(&self) -> Offset {
        self.first_offset.plus(self.events.into())
    }

    /// The first offset here whose event's own timestamp is `at` or later.
    pub(crate) fn offset_at(&self, at: Timestamp) -> Result<Option<Offset>, Unreadable> {
        if self.events == 0 || self.max_timestamp < at {
            return Ok(None);
        }
        Ok(Some(self.first_offset))
    }

    /// The whole commit.
    pub(crate) fn open(self) -> Result<Stored, Unreadable> {
        let sections = read_sections(self.sections)?;
        let commit = Commit {
            kind: self.kind,
            time: self.time,
            chain: self.chain,
            first_offset: self.first_offset,
            events: self.events,
            max_timestamp: self.max_timestamp,
            producer: self.producer,
            relayed: self.relayed,
            verdicts: sections.verdicts,
            state: sections.state,
            outbox: sections.outbox,
            note: sections.note,
            data: self.data,
        };
        Ok(Stored { position: self.link.position, commit })
    }
}

/// The body inside of the control batch's one record.
fn read_record(records: Bytes) -> Result<Bytes, Unreadable> {
    let mut record = Cursor::new(records);
    let length = record.zigzag()?;
    let fits = i64::try_from(record.left()) == Ok(length);
    let head = record.take(3)?;
    let key_bytes = record.zigzag()?;
    let key = record.take(CONTROL_KEY.len())?;
    let body_bytes = record.zigzag()?;
    let body_bytes = usize::try_from(body_bytes).unwrap_or(usize::MAX);
    let body = record.take(body_bytes)?;
    let headers = record.u8()?;
    let is_ours = fits
        && *head == [0; 3]
        && key_bytes == CONTROL_KEY.len() as i64
        && *key == CONTROL_KEY
        && headers == 0
        && record.is_empty();
    if is_ours { Ok(body) } else { Err(Unreadable::Invalid("a control batch that is not weir's")) }
}

/// Whether `data` can be the batch of `events` events: the log reads no further into it.
fn check_data(events: u32, data: &[u8]) -> Result<(), &'static str> {
    if data.is_empty() {
        return if events == 0 { Ok(()) } else { Err("events without data") };
    }
    let Some(mut header) = data.get(..BATCH_HEADER_BYTES) else {
        return Err("data shorter than a batch header");
    };
    header.advance(8);
    let length = header.get_u32() as usize;
    header.advance(4);
    let magic = header.get_u8();
    header.advance(4);
    let attributes = header.get_u16();
    let last_offset_delta = header.get_u32();
    header.advance(30);
    let records = header.get_u32();
    if length != data.len() - 12 || magic != MAGIC || attributes & CONTROL != 0 {
        return Err("data that is not one record batch");
    }
    // An empty batch would take no offset, and dense offsets are how readers find their place.
    if events == 0 || records != events || last_offset_delta != events - 1 {
        return Err("data with another number of events");
    }
    Ok(())
}

/// Kafka's word for whose reign it is; the field has 31 bits, so it is for tools and not the fence.
fn leader_epoch(reign: Position) -> u32 {
    (reign.0 & 0x7FFF_FFFF) as u32
}

/// Bytes of a zigzag varint for a length.
fn zigzag_bytes(length: usize) -> usize {
    let bits = usize::BITS - (length << 1).leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

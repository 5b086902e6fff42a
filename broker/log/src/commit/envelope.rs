//! Reads commits as `format.rs` draws them: first the envelope, which is cheap and verifies every
//! byte, then, for whoever needs it, the rest.
//!
//! Promises: no bytes panic or make more be allocated than they hold; nothing is copied.

use bytes::{Buf, Bytes};
use weir_wire::ids::{
    ChainRevision, Offset, PartitionId, Position, ProducerEpoch, ProducerId, Sequence, Timestamp,
    TopicId,
};
use weir_wire::record_batch::{BATCH_HEADER_BYTES, BatchLimits, RecordBatch};

use super::cursor::Cursor;
use super::format::{
    BODY_FIXED_BYTES, BODY_VERSION, BODY_VERSION_CONSUMED, BODY_VERSION_KEYSPACES,
    COMMIT_BYTES_MAX, CONTROL, CONTROL_KEY, CRC_FROM, HAS_PRODUCER, Link, MAGIC, Unreadable,
    leader_epoch, read_data_head, span,
};
use super::sections::read_sections;
use super::{Commit, Identity, Kind, Produced, Stored};
use crate::planted::{Bug, is_planted};

/// Limits for batches that were judged when they came: what was stored can be read.
const STORED_LIMITS: BatchLimits = BatchLimits {
    batch_bytes_max: COMMIT_BYTES_MAX,
    decompressed_bytes_max: COMMIT_BYTES_MAX,
    events_max: u32::MAX,
    event_bytes_max: COMMIT_BYTES_MAX,
};

/// The verified fixed part of a commit; what varies is still bytes.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) link: Link,
    pub(crate) kind: Kind,
    pub(crate) first_offset: Offset,
    pub(crate) events: u32,
    /// Offsets that they take, with those of events that were taken out later.
    pub(crate) span: u32,
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
    version: u8,
    sections: Bytes,
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
        envelope.span = envelope.verify_data(claim)?;
        Ok(envelope)
    }

    /// Bytes of the commit at the beginning of `bytes`, if its control batch verifies: its data may
    /// be cut off or wrong.
    pub(crate) fn claimed_bytes(bytes: &Bytes) -> Option<usize> {
        Self::parse_control(bytes).ok().map(|(envelope, _)| envelope.bytes)
    }

    /// Bytes that [`Self::may_begin`] looks at.
    pub(crate) const LOOK_BYTES: usize = BATCH_HEADER_BYTES;

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
        let mut header = &bytes[..BATCH_HEADER_BYTES];
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
        if crc32c::crc32c(&bytes[CRC_FROM..control_bytes]) != checksum
            && !is_planted(Bug::IgnoreChecksums)
        {
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
        body: Bytes,
        checksum: u32,
        control_bytes: usize,
    ) -> Result<(Self, DataClaim), Unreadable> {
        let version = match body.first() {
            Some(&version @ (BODY_VERSION..=BODY_VERSION_CONSUMED)) => version,
            Some(&version) => return Err(Unreadable::Version(version)),
            None => return Err(Unreadable::Invalid("an empty commit")),
        };
        if body.len() < BODY_FIXED_BYTES {
            return Err(Unreadable::Invalid("a commit without its fixed part"));
        }
        let sections = body.slice(BODY_FIXED_BYTES..);
        let mut body = &body[1..BODY_FIXED_BYTES];
        let kind = Kind::from_number(body.get_u8())
            .filter(|kind| version >= BODY_VERSION_KEYSPACES || *kind != Kind::Migration)
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
            span: events,
            time,
            max_timestamp,
            data: Bytes::new(),
            checksum,
            bytes,
            chain,
            relayed,
            producer: (flags & HAS_PRODUCER != 0).then_some(producer),
            version,
            sections,
        };
        Ok((envelope, claim))
    }

    /// Gives the offsets that the data takes.
    fn verify_data(&self, claim: DataClaim) -> Result<u32, Unreadable> {
        let head = read_data_head(self.events, &self.data).map_err(Unreadable::Invalid)?;
        let crc = if self.data.is_empty() { 0 } else { crc32c::crc32c(&self.data) };
        if crc != claim.crc && !is_planted(Bug::IgnoreChecksums) {
            return Err(Unreadable::Invalid("the checksum of the data is wrong"));
        }
        if head.is_some_and(|head| u64::try_from(head.base_offset) != Ok(self.first_offset.0)) {
            return Err(Unreadable::Invalid("the data has another base offset"));
        }
        Ok(span(head))
    }

    /// The offset behind the commit's events.
    pub(crate) fn next_offset(&self) -> Offset {
        self.first_offset.plus(self.span.into())
    }

    /// Whether none of its events was taken out.
    pub(crate) fn is_dense(&self) -> bool {
        self.span == self.events
    }

    /// The first offset here whose event's own timestamp is `at` or later.
    pub(crate) fn offset_at(&self, at: Timestamp) -> Result<Option<Offset>, Unreadable> {
        if self.events == 0 || self.max_timestamp < at {
            return Ok(None);
        }
        let records = RecordBatch::parse(self.data.clone())
            .and_then(|batch| batch.open_stored(&STORED_LIMITS))
            .map_err(|_| Unreadable::Invalid("the records of the batch cannot be read"))?;
        let found = records.iter().find(|record| at <= record.timestamp);
        Ok(found.map(|record| self.first_offset.plus(record.offset_delta.into())))
    }

    /// The whole commit.
    pub(crate) fn open(self) -> Result<Stored, Unreadable> {
        let sections = read_sections(self.version, self.sections)?;
        let commit = Commit {
            kind: self.kind,
            time: self.time,
            chain: self.chain,
            first_offset: self.first_offset,
            events: self.events,
            max_timestamp: self.max_timestamp,
            producer: self.producer,
            consumed: sections.consumed,
            relayed: self.relayed,
            verdicts: sections.verdicts,
            keyspaces: sections.keyspaces,
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
    let has_head = record.look(3)? == [0; 3];
    let key_bytes = record.zigzag()?;
    let has_key = record.look(CONTROL_KEY.len())? == CONTROL_KEY;
    let body_bytes = record.zigzag()?;
    let body_bytes = usize::try_from(body_bytes).unwrap_or(usize::MAX);
    let body = record.take(body_bytes)?;
    let headers = record.u8()?;
    let is_ours = fits
        && has_head
        && key_bytes == CONTROL_KEY.len() as i64
        && has_key
        && headers == 0
        && record.is_empty();
    if is_ours { Ok(body) } else { Err(Unreadable::Invalid("a control batch that is not weir's")) }
}

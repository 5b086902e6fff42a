//! Writes commits as `format.rs` draws them.
//!
//! Promises: nothing is allocated for an event; one buffer serves all commits of a log. On an error
//! nothing was written.

use bytes::BufMut;
use weir_wire::record_batch::{BATCH_HEADER_BYTES, stamp};

use super::crc::combined;
use super::cursor::push_zigzag;
use super::format::{
    BODY_FIXED_BYTES, BODY_VERSION, BODY_VERSION_CONSUMED, BODY_VERSION_KEYSPACES,
    COMMIT_BYTES_MAX, CONTROL, CONTROL_KEY, CRC_FROM, HAS_PRODUCER, Link, MAGIC, Unwritable,
    leader_epoch, read_data_head, span,
};
use super::sections::push_sections;
use super::{Commit, Kind};

/// Bytes of a control batch around its body, at most.
const CONTROL_BYTES_AROUND_MAX: usize = 128;
/// Bytes an encoder keeps for the next commit: enough for ordinary batches, and a thousand idle
/// logs hold 64 MiB at most.
const BODY_BYTES_KEPT: usize = 64 << 10;

/// Below, reading the bytes takes no longer than combining two checksums.
const COMBINED_BYTES_MIN: u32 = 16 << 10;

/// What the next commit has to follow.
pub(crate) struct Written {
    pub(crate) checksum: u32,
    /// Offsets that the commit's events take, and those that were taken out of it.
    pub(crate) span: u32,
}

/// Writes commits; keeps one buffer for all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Encoder {
    body: Vec<u8>,
}

impl Encoder {
    /// Adds `commit` to `out`. On an error `out` is as it was.
    pub(crate) fn encode(
        &mut self,
        out: &mut Vec<u8>,
        link: &Link,
        commit: &Commit,
    ) -> Result<Written, Unwritable> {
        let written = self.encode_up_to_head(out, link, commit)?;
        out.extend_from_slice(behind_head(commit));
        Ok(written)
    }

    /// The same without what is [`behind_head`], which is most of a large commit: the caller writes
    /// it next.
    pub(crate) fn encode_up_to_head(
        &mut self,
        out: &mut Vec<u8>,
        link: &Link,
        commit: &Commit,
    ) -> Result<Written, Unwritable> {
        if i64::try_from(commit.first_offset.0).is_err() {
            return Err(Unwritable("an offset beyond 63 bits"));
        }
        let data_head = read_data_head(commit.events, &commit.data).map_err(Unwritable)?;
        let stamped = data_head.map(|_| {
            let mut head = [0; BATCH_HEADER_BYTES];
            head.copy_from_slice(&commit.data[..BATCH_HEADER_BYTES]);
            stamp(&mut head, commit.first_offset, leader_epoch(link.reign));
            head
        });
        let data_crc = match (stamped, data_head) {
            (Some(head), Some(of)) => checksum(&head, of.crc, &commit.data),
            _ => 0,
        };
        self.body.clear();
        push_body(&mut self.body, link, commit, data_crc);
        if self.body.len().saturating_add(commit.data.len())
            > COMMIT_BYTES_MAX - CONTROL_BYTES_AROUND_MAX
        {
            return Err(Unwritable("a commit over the limit"));
        }
        let from = out.len();
        push_control_batch(out, link, commit, &self.body);
        let checksum = crc32c::crc32c(&out[from + CRC_FROM..]);
        out[from + 17..from + 21].copy_from_slice(&checksum.to_be_bytes());
        if let Some(head) = stamped {
            out.extend_from_slice(&head);
        }
        self.body.shrink_to(BODY_BYTES_KEPT);
        Ok(Written { checksum, span: span(data_head) })
    }
}

/// The data of `commit` that is stored as it is: all but its batch's head.
pub(crate) fn behind_head(commit: &Commit) -> &[u8] {
    commit.data.get(BATCH_HEADER_BYTES..).unwrap_or_default()
}

/// Of `data` with this `head`. What Kafka's CRC covers was verified, or made, with the batch, and is the
/// same still: of a large batch it is not read again.
fn checksum(head: &[u8; BATCH_HEADER_BYTES], covered_crc: u32, data: &[u8]) -> u32 {
    let (outside, covered) = (&head[..CRC_FROM], &data[CRC_FROM..]);
    match u32::try_from(covered.len()) {
        Ok(bytes @ COMBINED_BYTES_MIN..) => combined(crc32c::crc32c(outside), covered_crc, bytes),
        _ => crc32c::crc32c_append(crc32c::crc32c(outside), covered),
    }
}

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
    body.put_u8(version(commit));
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

/// The lowest version that can say it.
fn version(commit: &Commit) -> u8 {
    let needs_keyspaces = commit.kind == Kind::Migration
        || !commit.keyspaces.is_empty()
        || commit.state.has_keyspaces();
    match (&commit.consumed, needs_keyspaces) {
        (Some(_), _) => BODY_VERSION_CONSUMED,
        (None, true) => BODY_VERSION_KEYSPACES,
        (None, false) => BODY_VERSION,
    }
}

/// Bytes of a zigzag varint for a length.
fn zigzag_bytes(length: usize) -> usize {
    let bits = usize::BITS - (length << 1).leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

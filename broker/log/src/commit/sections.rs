//! The parts of a commit whose size varies: verdicts, state changes, side events, the note.
//!
//! Each section is drawn so, and stands at most once, in the order of its tag:
//! ```text
//! | tag u8 | bytes u32 | ... |
//!
//! 1 accepted   events varint                         every event that was sent was accepted
//! 2 verdicts   weir.v1.Verdicts                      the very bytes of the wire
//! 3 state      count varint, then the changes as `state_changes.rs` draws them
//!              since version 2 the plugin may be PLUGIN/KEYSPACE, as `keyspace.rs` of the wire has it
//! 4 outbox     count varint, then per side event:
//!              | ordinal varint | plugin counted, empty: as before | topic counted, empty: as before |
//!              | hops u8 | timestamp varint | key optional | value optional | headers varint |
//!              | name counted, value optional | ...
//! 5 note       text
//! 6 keyspaces  count varint, then per keyspace: | PLUGIN/KEYSPACE counted | fate u8 |
//!              fate 0: cleared   1: at work          since version 2; applied before the state
//! 7 consumed   | group counted | topic id varint | partition varint | reset epoch varint |
//!              | from varint | to varint, not below from |      since version 3
//! ```
//! *counted*: a varint count, then so many bytes. *optional*: a varint of the count plus one, or 0.
//!
//! Promises: what is read shares the commit's bytes; memory is bounded by them.

use bytes::Bytes;
use weir_wire::ids::{
    GroupName, Offset, PartitionId, PluginName, ResetEpoch, Timestamp, TopicId, TopicName,
};
use weir_wire::keyspace::Keyspace;
use weir_wire::record_batch::{Event, Header};
use weir_wire::verdict::Verdicts;

use super::cursor::{Cursor, push_counted, push_optional, push_varint};
use super::format::{BODY_VERSION_CONSUMED, BODY_VERSION_KEYSPACES, Unreadable};
use super::{Commit, Consumed, KeyspaceChange, KeyspaceFate, SideEvent, StateChanges};
use crate::planted::{Bug, is_planted};

const ACCEPTED: u8 = 1;
const VERDICTS: u8 = 2;
const STATE: u8 = 3;
const OUTBOX: u8 = 4;
const NOTE: u8 = 5;
const KEYSPACES: u8 = 6;
const CONSUMED: u8 = 7;

/// What the sections of one commit hold.
#[derive(Default)]
pub(super) struct Sections {
    pub(super) verdicts: Verdicts,
    pub(super) keyspaces: Vec<KeyspaceChange>,
    pub(super) state: StateChanges,
    pub(super) outbox: Vec<SideEvent>,
    pub(super) note: Bytes,
    pub(super) consumed: Option<Consumed>,
}

pub(super) fn push_sections(out: &mut Vec<u8>, commit: &Commit) {
    if !commit.verdicts.is_empty() {
        if commit.verdicts.are_all_accepted() {
            push_section(out, ACCEPTED, |out| push_varint(out, commit.verdicts.len().into()));
        } else {
            push_section(out, VERDICTS, |out| commit.verdicts.encode_to(out));
        }
    }
    if !commit.state.is_empty() {
        if is_planted(Bug::LoseStateChange) {
            let kept = commit.state.iter().skip(1).collect();
            push_section(out, STATE, |out| push_state(out, &kept));
        } else {
            push_section(out, STATE, |out| push_state(out, &commit.state));
        }
    }
    if !commit.outbox.is_empty() {
        push_section(out, OUTBOX, |out| push_outbox(out, &commit.outbox));
    }
    if !commit.note.is_empty() {
        push_section(out, NOTE, |out| out.extend_from_slice(&commit.note));
    }
    if !commit.keyspaces.is_empty() {
        push_section(out, KEYSPACES, |out| push_keyspaces(out, &commit.keyspaces));
    }
    if let Some(consumed) = &commit.consumed {
        push_section(out, CONSUMED, |out| push_consumed(out, consumed));
    }
}

fn push_section(out: &mut Vec<u8>, tag: u8, content: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    content(out);
    // A commit beyond 4 GiB is refused as too large afterwards, whatever stands here.
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn push_state(out: &mut Vec<u8>, state: &StateChanges) {
    push_varint(out, state.len().into());
    out.extend_from_slice(state.bytes());
}

fn push_keyspaces(out: &mut Vec<u8>, keyspaces: &[KeyspaceChange]) {
    push_varint(out, keyspaces.len() as u64);
    for change in keyspaces {
        push_counted(out, change.keyspace.of(&change.plugin).as_bytes());
        out.push(change.fate as u8);
    }
}

fn push_consumed(out: &mut Vec<u8>, consumed: &Consumed) {
    let Consumed { group, topic, partition, epoch, from, to } = consumed;
    push_counted(out, group.as_str().as_bytes());
    for number in [topic.0.into(), partition.0.into(), epoch.0.into(), from.0, to.0] {
        push_varint(out, number);
    }
}

fn push_outbox(out: &mut Vec<u8>, outbox: &[SideEvent]) {
    push_varint(out, outbox.len() as u64);
    let (mut plugin_before, mut topic_before) = ("", "");
    for side in outbox {
        push_varint(out, side.ordinal);
        push_name(out, side.plugin.as_str(), &mut plugin_before);
        push_name(out, side.topic.as_str(), &mut topic_before);
        out.push(side.hops);
        push_varint(out, side.event.timestamp.0);
        push_optional(out, side.event.key.as_deref());
        push_optional(out, side.event.value.as_deref());
        push_varint(out, side.event.headers.len() as u64);
        for header in &side.event.headers {
            push_counted(out, header.name.as_bytes());
            push_optional(out, header.value.as_deref());
        }
    }
}

/// Neighbours mostly share their plugin and topic: no name has to stand twice in a row.
fn push_name<'a>(out: &mut Vec<u8>, name: &'a str, before: &mut &'a str) {
    if name == *before {
        out.push(0);
    } else {
        push_counted(out, name.as_bytes());
        *before = name;
    }
}

pub(super) fn read_sections(version: u8, bytes: Bytes) -> Result<Sections, Unreadable> {
    let knows_keyspaces = version >= BODY_VERSION_KEYSPACES;
    let knows_consumed = version >= BODY_VERSION_CONSUMED;
    let mut cursor = Cursor::new(bytes);
    let mut sections = Sections::default();
    let mut tag_before = 0;
    while !cursor.is_empty() {
        let tag = cursor.u8()?;
        if tag <= tag_before {
            return Err(Unreadable::Invalid("sections out of order"));
        }
        tag_before = tag;
        let length = cursor.u32()? as usize;
        let mut content = Cursor::new(cursor.take(length)?);
        match tag {
            ACCEPTED => {
                let events = u32::try_from(content.varint()?)
                    .map_err(|_| Unreadable::Invalid("too many verdicts"))?;
                sections.verdicts = Verdicts::all_accepted(events);
            }
            VERDICTS if sections.verdicts.is_empty() => {
                sections.verdicts = Verdicts::decode(content.look(length)?, u32::MAX)
                    .map_err(|_| Unreadable::Invalid("verdicts that are none"))?;
            }
            STATE => sections.state = StateChanges::read(&mut content, knows_keyspaces)?,
            OUTBOX => sections.outbox = read_outbox(&mut content)?,
            NOTE => sections.note = content.take(length)?,
            KEYSPACES if knows_keyspaces => sections.keyspaces = read_keyspaces(&mut content)?,
            CONSUMED if knows_consumed => sections.consumed = Some(read_consumed(&mut content)?),
            _ => return Err(Unreadable::Invalid("a section of an unknown kind")),
        }
        if !content.is_empty() {
            return Err(Unreadable::Invalid("a section longer than what it holds"));
        }
    }
    Ok(sections)
}

fn read_keyspaces(cursor: &mut Cursor) -> Result<Vec<KeyspaceChange>, Unreadable> {
    let count = cursor.count()?;
    let mut keyspaces = Vec::new();
    for _ in 0..count {
        let name = std::str::from_utf8(cursor.counted_look()?).ok();
        let place = name.and_then(|name| Keyspace::parse_with_plugin(name).ok());
        let (plugin, keyspace) = place.ok_or(Unreadable::Invalid("a keyspace that is none"))?;
        let fate = match cursor.u8()? {
            0 => KeyspaceFate::Cleared,
            1 => KeyspaceFate::AtWork,
            _ => return Err(Unreadable::Invalid("an unknown fate of a keyspace")),
        };
        keyspaces.push(KeyspaceChange { plugin, keyspace, fate });
    }
    Ok(keyspaces)
}

fn read_consumed(cursor: &mut Cursor) -> Result<Consumed, Unreadable> {
    let group = read_text(cursor.counted_look()?)?;
    let group = GroupName::parse(group).map_err(|_| Unreadable::Invalid("a name that is none"))?;
    let mut number = || {
        let number = cursor.varint()?;
        u32::try_from(number).map_err(|_| Unreadable::Invalid("a number beyond 32 bits"))
    };
    let (topic, partition, epoch) = (number()?, number()?, number()?);
    let (from, to) = (Offset(cursor.varint()?), Offset(cursor.varint()?));
    if to < from {
        return Err(Unreadable::Invalid("a group that has come back with a commit"));
    }
    let (topic, partition) = (TopicId(topic), PartitionId(partition));
    Ok(Consumed { group, topic, partition, epoch: ResetEpoch(epoch), from, to })
}

fn read_outbox(cursor: &mut Cursor) -> Result<Vec<SideEvent>, Unreadable> {
    let count = cursor.count()?;
    let mut outbox = Vec::new();
    let (mut plugin_before, mut topic_before) = (None, None);
    for _ in 0..count {
        outbox.push(SideEvent {
            ordinal: cursor.varint()?,
            plugin: read_name(cursor, &mut plugin_before, PluginName::parse)?,
            topic: read_name(cursor, &mut topic_before, TopicName::parse)?,
            hops: cursor.u8()?,
            event: Event {
                timestamp: Timestamp(cursor.varint()?),
                key: cursor.optional()?,
                value: cursor.optional()?,
                headers: read_headers(cursor)?,
            },
        });
    }
    Ok(outbox)
}

fn read_headers(cursor: &mut Cursor) -> Result<Vec<Header>, Unreadable> {
    let count = cursor.count()?;
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.push(Header {
            name: read_text(cursor.counted_look()?)?.to_owned(),
            value: cursor.optional()?,
        });
    }
    Ok(headers)
}

fn read_text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable::Invalid("a text that is not UTF-8"))
}

fn read_name<N: Clone, E>(
    cursor: &mut Cursor,
    before: &mut Option<N>,
    parse: impl FnOnce(&str) -> Result<N, E>,
) -> Result<N, Unreadable> {
    let bytes = cursor.counted_look()?;
    if !bytes.is_empty() {
        let text = std::str::from_utf8(bytes).ok().and_then(|text| parse(text).ok());
        *before = Some(text.ok_or(Unreadable::Invalid("a name that is none"))?);
    }
    before.clone().ok_or(Unreadable::Invalid("a name like the one before, at the beginning"))
}

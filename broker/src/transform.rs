//! A publish of what a group's member made of what it read: its events and the member's progress in
//! one commit, or neither.
//!
//! ```text
//! begin: its partition, and the committed offset is where the batch begins ─▶ desk ─▶ commit ─▶ durable
//!   └ else: the answer of then, if it was judged before; member-fenced, if not        end ◀────┘ then the answer
//! ```
//! Promises: of two publishes that consumed the same, one is stored; nobody else gets the partition
//! while it is not known whether one is; the group has come further before the publisher hears so.
//! What a broken log may hold stays under way until the broker is restarted and reads it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use weir_partition::{Answer, Mode, Source};
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{GroupName, MemberId, Offset, PartitionId, Principal};
use weir_wire::proto;

use crate::desk::{Desk, Submitted};
use crate::groups::{Began, Claim, Groups, Ticket};

/// Takes a batch that was made of `consumed`, as [`Desk::publish`] takes others.
pub async fn publish(
    desk: &Desk,
    groups: &Arc<Groups>,
    publisher: &Principal,
    (topic, partition): (&str, PartitionId),
    mode: Mode,
    bytes: Bytes,
    consumed: proto::Consumed,
) -> Result<Submitted, Fault> {
    let (read, at) = (desk.topic(&consumed.topic)?, PartitionId(consumed.partition));
    let group = GroupName::parse(&consumed.group)
        .map_err(|error| Fault::new(Code::InvalidRequest, error.to_string()))?;
    let (from, to) = (Offset(consumed.from_offset), Offset(consumed.to_offset));
    let log = read.partition(at)?.log();
    let end = log.tail().borrow().offset;
    if to < from || end < to {
        return Err(Fault::new(
            Code::OffsetOutOfRange,
            format!(
                "{from} to {to} of {}, partition {at}, cannot have been read: it ends at {end}",
                read.name
            ),
        ));
    }
    let claim = Claim {
        member: MemberId(consumed.member_id),
        from,
        to,
        by: desk.topic(topic)?.id,
        earliest: log.earliest().1,
    };
    match groups.begin(group, read.id, at, claim).await? {
        Began::Settled(fault) => {
            let source = Source::Settled(fault);
            desk.publish(publisher, (topic, partition), mode, source, bytes).await
        }
        Began::Begun(ticket) => {
            let source = Source::Consumed(ticket.consumed());
            match desk.publish(publisher, (topic, partition), mode, source, bytes).await {
                Ok(submitted) => Ok(to_its_end(submitted, ticket)),
                Err(fault) => {
                    ticket.end(false).await;
                    Err(fault)
                }
            }
        }
    }
}

/// Ends the publish when it is known how, whether or not its publisher is still there.
fn to_its_end(submitted: Submitted, ticket: Ticket) -> Submitted {
    let durability = submitted.durability();
    let (reply, ended) = oneshot::channel();
    tokio::spawn(async move {
        let (answer, _) = submitted.answer().await;
        if let Some(stands) = stands(&answer) {
            ticket.end(stands).await;
        }
        // Whoever does not listen any more will ask again and be told the same.
        let _ = reply.send(answer);
    });
    Submitted::ending(ended, durability)
}

/// Whether what was consumed stands in a durable commit; `None` if only a restart will tell.
fn stands(answer: &Result<Answer, Fault>) -> Option<bool> {
    match answer {
        // What was judged before stood or stood not before this publish began.
        Ok(answer) => Some(answer.consumed && !answer.duplicate),
        Err(fault) if fault.code == Code::StorageBroken => None,
        Err(_) => Some(false),
    }
}

//! A stream that is a membership: the member says what it holds, and is told what it should.

use std::collections::BTreeSet;
use std::time::Duration;

use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::watch;
use weir_wire::fault::{Code, Fault};
use weir_wire::frame::CLIENT_FRAME;
use weir_wire::ids::{GroupName, MemberId, PartitionId};
use weir_wire::proto;
use weir_wire::proto::client_frame::Kind as Ask;
use weir_wire::proto::server_frame::Kind as Say;

use super::Office;
use super::frames::{Incoming, read_frame, send};
use crate::groups::{Assignment, Membership};

/// Session time-outs that make sense: a heartbeat is due three times in one, and nobody wants to
/// wait longer for a dead member than a broker's restart takes.
const SESSION_TIMEOUT_MS_MIN: u32 = 1_000;
const SESSION_TIMEOUT_MS_MAX: u32 = 300_000;

/// Serves a member until it leaves, is fenced, or its connection is lost.
pub async fn run(
    out: &mut SendStream,
    input: &mut RecvStream,
    office: &Office,
    connection: &Connection,
    request: proto::JoinGroupRequest,
) -> Result<(), Fault> {
    let topic = office.desk.topic(&request.topic)?;
    let group = GroupName::parse(&request.group)
        .map_err(|error| Fault::new(Code::InvalidRequest, error.to_string()))?;
    let timeout_ms = request.session_timeout_ms;
    if !(SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_MAX).contains(&timeout_ms) {
        return Err(Fault::new(
            Code::InvalidRequest,
            format!(
                "a session time-out of {timeout_ms} ms; use {SESSION_TIMEOUT_MS_MIN} to {SESSION_TIMEOUT_MS_MAX}"
            ),
        ));
    }
    let back = request.member_id.map(|member| (MemberId(member), set(request.held)));
    let session_timeout = Duration::from_millis(timeout_ms.into());
    let client = connection.remote_address().to_string();
    let shape = (topic.id, topic.width());
    drop(topic);
    let mut membership = office.groups.join(group, shape, back, session_timeout, client).await?;
    let (member, told) = (membership.member, membership.told.clone());
    let (asked, asks) = watch::channel(());
    let ended = tokio::select! {
        heard = hear(input, office, &mut membership, &asked) => heard,
        said = tell(out, member, told, asks) => said,
    };
    // A lost connection is no goodbye: the member may be on its way back. Everything else is.
    match connection.close_reason() {
        None | Some(ConnectionError::ApplicationClosed(_)) => membership.leave().await,
        Some(_) => {}
    }
    ended
}

/// Takes the member's heartbeats until its stream ends.
async fn hear(
    input: &mut RecvStream,
    office: &Office,
    membership: &mut Membership,
    asked: &watch::Sender<()>,
) -> Result<(), Fault> {
    loop {
        match read_frame(input, CLIENT_FRAME, &office.batch_memory).await? {
            None => return Ok(()),
            Some(Incoming { ask: Some(Ask::Heartbeat(heartbeat)), .. }) => {
                membership.holds(set(heartbeat.held)).await?;
                asked.send_replace(());
            }
            Some(_) => {
                return Err(Fault::new(Code::InvalidFrame, "a membership carries heartbeats only"));
            }
        }
    }
}

/// Tells the member what it should hold: at first, when it changes, and when it asks.
async fn tell(
    out: &mut SendStream,
    member: MemberId,
    mut told: watch::Receiver<Assignment>,
    mut asks: watch::Receiver<()>,
) -> Result<(), Fault> {
    loop {
        let Assignment { generation, partitions, is_complete } = told.borrow_and_update().clone();
        let say = Say::Assignment(proto::Assignment {
            member_id: member.0,
            generation,
            partitions: partitions.into_iter().map(|partition| partition.0).collect(),
            is_complete,
        });
        if send(out, say).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            changed = told.changed() => changed.map_err(|_| {
                Fault::new(
                    Code::MemberFenced,
                    "this member was silent for too long, held what others waited for, or is \
                     connected elsewhere; join again",
                )
            })?,
            // The other end is dropped with this future only.
            _ = asks.changed() => {}
        }
    }
}

fn set(partitions: Vec<u32>) -> BTreeSet<PartitionId> {
    partitions.into_iter().map(PartitionId).collect()
}

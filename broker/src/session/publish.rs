//! A stream of batches: read, handed to the desk in order, answered in order. Reading goes on while
//! earlier batches wait for their verdicts, so one stream keeps many in flight.

use std::sync::Arc;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use weir_partition::{Answer, Mode, Source};
use weir_wire::admin::Durability;
use weir_wire::fault::{Code, Fault};
use weir_wire::frame::CLIENT_FRAME;
use weir_wire::ids::{PartitionId, Principal};
use weir_wire::proto;
use weir_wire::proto::client_frame::Kind as Ask;
use weir_wire::proto::publish_answer::Result as Outcome;
use weir_wire::proto::server_frame::Kind as Say;

use super::Office;
use super::frames::{Incoming, read_frame, send};
use crate::desk::Submitted;
use crate::transform;

/// Batches of one stream in flight. A client that sends more waits for answers first: QUIC's flow
/// control holds it back.
const IN_FLIGHT_MAX: usize = 64;

/// A publish stream.
pub struct Stream {
    pub office: Arc<Office>,
    pub principal: Principal,
}

/// A request as it was read.
pub struct Read {
    pub request: proto::PublishRequest,
    pub payload: Bytes,
    pub memory: Option<OwnedSemaphorePermit>,
}

/// A batch that was handed over, in the order of the stream.
struct Taken {
    correlation: u64,
    outcome: Result<Submitted, Fault>,
    /// Given back when the answer is out.
    memory: Option<OwnedSemaphorePermit>,
}

impl Stream {
    /// Serves the stream, whose first frame was read already.
    pub async fn run(self, out: SendStream, mut input: RecvStream, first: Read) {
        let (taken, answers) = mpsc::channel(IN_FLIGHT_MAX);
        let answering = tokio::spawn(answer_all(out, answers));
        let mut next = Some(first);
        while let Some(Read { request, payload, memory }) = next {
            let correlation = request.correlation;
            let outcome = self.take(request, payload).await;
            if taken.send(Taken { correlation, outcome, memory }).await.is_err() {
                break;
            }
            next = match self.read(&mut input).await {
                Ok(next) => next,
                Err(fault) => {
                    // The stream's rest cannot be made sense of: said once, under no correlation.
                    let last = Taken { correlation: 0, outcome: Err(fault), memory: None };
                    let _ = taken.send(last).await;
                    None
                }
            };
        }
        drop(taken);
        let _ = answering.await;
    }

    async fn read(&self, input: &mut RecvStream) -> Result<Option<Read>, Fault> {
        match read_frame(input, CLIENT_FRAME, &self.office.batch_memory).await? {
            None => Ok(None),
            Some(Incoming { ask: Some(Ask::Publish(request)), payload, memory }) => {
                Ok(Some(Read { request, payload, memory }))
            }
            Some(_) => Err(Fault::new(
                Code::InvalidFrame,
                "a publish stream carries publish requests only",
            )),
        }
    }

    async fn take(
        &self,
        request: proto::PublishRequest,
        payload: Bytes,
    ) -> Result<Submitted, Fault> {
        let mode = match proto::PublishMode::try_from(request.mode) {
            Ok(proto::PublishMode::PerEvent) => Mode::PerEvent,
            Ok(proto::PublishMode::AllOrNothing) => Mode::AllOrNothing,
            Err(_) => {
                return Err(Fault::new(
                    Code::InvalidRequest,
                    "this broker does not know that publish mode",
                ));
            }
        };
        let place = (&*request.topic, PartitionId(request.partition));
        let Office { desk, groups, .. } = &*self.office;
        match request.consumed {
            None => desk.publish(&self.principal, place, mode, Source::Untold, payload).await,
            Some(consumed) => {
                let publisher = &self.principal;
                transform::publish(desk, groups, publisher, place, mode, payload, consumed).await
            }
        }
    }
}

async fn answer_all(mut out: SendStream, mut answers: mpsc::Receiver<Taken>) {
    while let Some(Taken { correlation, outcome, memory }) = answers.recv().await {
        let result = match outcome {
            Ok(submitted) => match submitted.answer().await {
                (Ok(answer), durability) => Outcome::Judged(judged(&answer, durability)),
                (Err(fault), _) => Outcome::Fault(fault.into()),
            },
            Err(fault) => Outcome::Fault(fault.into()),
        };
        drop(memory);
        let say = Say::Publish(proto::PublishAnswer { correlation, result: Some(result) });
        if send(&mut out, say).await.is_err() {
            // The client is gone. What it sent is judged all the same; its retry hears the verdicts.
            return;
        }
    }
    let _ = out.finish();
}

fn judged(answer: &Answer, durability: Durability) -> proto::Judged {
    proto::Judged {
        first_offset: answer.first_offset.0,
        verdicts: Some((&answer.verdicts).into()),
        partition_time_ms: answer.time.0,
        chain_revision: answer.chain.0,
        durability: proto::Durability::from(durability).into(),
        duplicate: answer.duplicate,
        consumed: answer.consumed,
    }
}

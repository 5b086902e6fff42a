//! Answers that wait for a position to become durable.

use std::sync::Arc;

use tokio::sync::oneshot;
use weir_log::PartitionLog;
use weir_views::producers::Piece;
use weir_wire::fault::Fault;
use weir_wire::ids::Offset;

use crate::answer::Answer;
use crate::recall::recall;

/// Who waits for a position to become durable.
pub(crate) enum Waiting {
    Publisher(oneshot::Sender<Result<Answer, Fault>>, Answer),
    /// A publisher whose batch was judged before: the verdicts are read back from the log.
    Retry(oneshot::Sender<Result<Answer, Fault>>, Vec<Piece>),
    Operator(oneshot::Sender<Result<Offset, Fault>>, Offset),
}

impl Waiting {
    /// The tail has passed the position.
    pub(crate) fn durable(self, log: &Arc<dyn PartitionLog>) {
        match self {
            // Whoever no longer listens will ask again and be told the same.
            Self::Publisher(reply, answer) => drop(reply.send(Ok(answer))),
            Self::Retry(reply, pieces) => {
                let log = Arc::clone(log);
                tokio::spawn(async move { reply.send(recall(&*log, pieces).await) });
            }
            Self::Operator(reply, offset) => drop(reply.send(Ok(offset))),
        }
    }

    /// It never will.
    pub(crate) fn failed(self, fault: Fault) {
        match self {
            Self::Publisher(reply, _) | Self::Retry(reply, _) => drop(reply.send(Err(fault))),
            Self::Operator(reply, _) => drop(reply.send(Err(fault))),
        }
    }
}

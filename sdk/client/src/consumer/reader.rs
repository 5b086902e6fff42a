//! The task that reads one partition: subscribes, decodes, and subscribes again behind what it has
//! when the stream is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::RecvStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::debug;
use weir_wire::fault::{Action, Fault};
use weir_wire::frame::SERVER_FRAME;
use weir_wire::ids::{Offset, PartitionId, TopicName};
use weir_wire::proto::{self, client_frame, server_frame};
use weir_wire::record_batch::{BatchError, BatchLimits, Event, RecordBatch};

use super::ConsumedBatch;
use super::progress::Reading;
use crate::error::ClientError;
use crate::frames::{self, StreamError};
use crate::link::Link;

/// A subscription that stood so long was sound, even if nothing came: longer than the QUIC
/// connection needs to find out that its other end is gone.
const STEADY: Duration = Duration::from_secs(15);
/// What is decoded: whatever the broker stored. Its events may be larger than a publisher's were,
/// since plugins replace them; a frame's limit bounds the bytes, and this their decompression.
const STORED: BatchLimits = BatchLimits {
    batch_bytes_max: SERVER_FRAME.payload_bytes_max as usize,
    decompressed_bytes_max: 4 * SERVER_FRAME.payload_bytes_max as usize,
    events_max: u32::MAX,
    event_bytes_max: usize::MAX,
};

/// What a reader needs.
pub(super) struct Reader {
    pub(super) link: Arc<Link>,
    pub(super) topic: TopicName,
    pub(super) partition: PartitionId,
    /// Everything below was handed over.
    pub(super) next: Offset,
    /// Where to end.
    pub(super) until: Option<Offset>,
    pub(super) chunk_bytes: u32,
    pub(super) outage_timeout: Duration,
    /// Which reading of the partition this is.
    pub(super) reading: Reading,
    pub(super) ready: mpsc::Sender<Ready>,
    /// Whether the last subscription stood.
    pub(super) was_open: bool,
}

/// What a reader hands over.
#[derive(Debug)]
pub(super) enum Ready {
    /// Events, of this reading of their partition.
    Batch(Reading, ConsumedBatch),
    /// The partition, or the membership, ends with this.
    Failed(ClientError),
}

/// Why a subscription ended.
enum End {
    /// Everything below `until` was handed over.
    Complete,
    /// Nobody reads any more.
    Unwanted,
    /// The same again, later.
    Retry(ClientError),
    /// Trying again would not help.
    Failed(ClientError),
}

impl Reader {
    /// Runs until the end, an error that retries cannot mend, or until nobody reads.
    pub(super) async fn run(mut self) {
        let mut backoff = self.link.backoff();
        let mut outage_ends = Instant::now() + self.outage_timeout;
        let failure = loop {
            let (before, begun_at) = (self.next, Instant::now());
            let why = match self.subscription(outage_ends).await {
                End::Complete | End::Unwanted => return,
                End::Failed(why) => break why,
                End::Retry(why) => why,
            };
            // A quiet tail brings nothing, so a long silence counts as well as events do. Only
            // what happens from now on is an outage.
            if before < self.next || STEADY < begun_at.elapsed() && self.was_open {
                backoff.reset();
                outage_ends = Instant::now() + self.outage_timeout;
            }
            let wait = backoff.after_failure(why.retry_after_ms());
            if outage_ends <= Instant::now() + wait {
                break why;
            }
            debug!(topic = %self.topic, partition = %self.partition, error = %why, ?wait,
                "subscription lost; subscribing again");
            sleep(wait).await;
        };
        // When nobody receives it, nobody wants to know.
        let _ = self.ready.send(Ready::Failed(failure)).await;
    }

    async fn subscription(&mut self, outage_ends: Instant) -> End {
        self.was_open = false;
        let (mut send, mut receive) = match self.link.open(outage_ends).await {
            Ok(streams) => streams,
            Err(why) if why.is_retryable() => return End::Retry(why),
            Err(why) => return End::Failed(why),
        };
        let request = client_frame::Kind::Subscribe(proto::SubscribeRequest {
            topic: self.topic.to_string(),
            partition: self.partition.0,
            from_offset: self.next.0,
            until_offset: self.until.map(|until| until.0),
            chunk_bytes_max: self.chunk_bytes,
            filter: None,
        });
        if let Err(error) = frames::write(&mut send, request, Bytes::new()).await {
            return self.lost(error);
        }
        self.was_open = true;
        // `send` stays open: its end is how the broker learns that nobody reads any more.
        self.follow(&mut receive).await
    }

    /// Hands over what comes, until it ends.
    async fn follow(&mut self, receive: &mut RecvStream) -> End {
        loop {
            let (frame, payload) = match frames::read(receive).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return self.lost(StreamError::Lost("the broker ended it".to_owned())),
                Err(error) => return self.lost(error),
            };
            let fetched = match frame {
                server_frame::Kind::Fetched(fetched) => fetched,
                server_frame::Kind::Fault(fault) => {
                    let fault = Fault::from(fault);
                    return match fault.action() {
                        Action::Retry | Action::GoElsewhere => End::Retry(fault.into()),
                        Action::Fix | Action::Stop => End::Failed(fault.into()),
                    };
                }
                _ => {
                    return End::Failed(ClientError::Protocol(
                        "a subscription brought another kind of frame".to_owned(),
                    ));
                }
            };
            let events = match self.decode(payload) {
                Ok(events) => events,
                Err(why) => return End::Failed(why),
            };
            let batch = ConsumedBatch {
                partition: self.partition,
                // A broker of tomorrow may skip what compaction removed; never backwards, though.
                next_offset: Offset(fetched.next_offset).max(self.next),
                high_watermark: Offset(fetched.high_watermark),
                events,
            };
            let (next_offset, is_empty) = (batch.next_offset, batch.events.is_empty());
            let ready = Ready::Batch(self.reading, batch);
            if !is_empty && self.ready.send(ready).await.is_err() {
                return End::Unwanted;
            }
            self.next = next_offset;
            if self.until.is_some_and(|until| until <= self.next) {
                return End::Complete;
            }
        }
    }

    /// The events of whole record batches that belong between `next` and `until`.
    fn decode(&self, mut payload: Bytes) -> Result<Vec<(Offset, Event)>, ClientError> {
        let broken = |error: BatchError| {
            let Self { topic, partition, next, .. } = self;
            ClientError::Protocol(format!(
                "behind offset {next} of {topic}, partition {partition}: {error}"
            ))
        };
        let mut events = Vec::new();
        while let Some(batch) = RecordBatch::split_first(&mut payload).map_err(broken)? {
            if batch.header().is_control {
                continue;
            }
            let base = Offset(batch.header().base_offset.unsigned_abs());
            let records = batch.open_stored(&STORED).map_err(broken)?;
            for (record, event) in records.iter().zip(records.events()) {
                let offset = base.plus(record.offset_delta.into());
                let is_before_the_end = self.until.is_none_or(|until| offset < until);
                if self.next <= offset && is_before_the_end {
                    events.push((offset, event));
                }
            }
        }
        Ok(events)
    }

    fn lost(&self, error: StreamError) -> End {
        match error {
            StreamError::Lost(reason) => End::Retry(self.link.unreachable(&reason)),
            StreamError::Protocol(reason) => End::Failed(ClientError::Protocol(reason)),
        }
    }
}

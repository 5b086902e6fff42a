//! The task that reads one partition: subscribes, decodes, and subscribes again behind what it has
//! when the stream is lost, or where the events are that are still there.
//!
//! Promises: offsets rise, and need not be dense; nothing at or behind the end is handed over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::RecvStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};
use weir_wire::fault::{Action, Code, Fault};
use weir_wire::frame::SERVER_FRAME;
use weir_wire::ids::{Offset, PartitionId, TopicName};
use weir_wire::proto::list_offsets_request::At;
use weir_wire::proto::{self, Edge, client_frame, server_frame};
use weir_wire::record_batch::{BatchError, BatchLimits, Event, RecordBatch};

use super::event::ConsumedBatch;
use super::options::{ConsumerOptions, OnMissing};
use super::progress::{Progress, Reading};
use super::start::offsets_at;
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

/// What all readers of a consumer share.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) link: Arc<Link>,
    pub(super) topic: TopicName,
    pub(super) options: ConsumerOptions,
    pub(super) progress: Arc<Progress>,
}

/// What a reader needs.
pub(super) struct Reader {
    pub(super) source: Arc<Source>,
    pub(super) partition: PartitionId,
    /// Which reading of the partition this is.
    pub(super) reading: Reading,
    /// Everything below was handed over.
    pub(super) next: Offset,
    /// Where the last events ended that were; at first where this reading begins.
    pub(super) given: Offset,
    /// Where to end.
    pub(super) until: Option<Offset>,
    pub(super) ready: mpsc::Sender<Ready>,
    /// Whether the last subscription stood.
    pub(super) was_open: bool,
}

/// What a reader hands over.
#[derive(Debug)]
pub(super) enum Ready {
    /// Events, of this reading of their partition; without events, where it goes on.
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
    /// There is no event at `next`.
    Missing(Fault),
    /// Trying again would not help.
    Failed(ClientError),
}

impl Reader {
    /// Runs until the end, an error that retries cannot mend, or until nobody reads.
    pub(super) async fn run(mut self) {
        let mut backoff = self.source.link.backoff();
        let outage_timeout = self.source.options.outage_timeout;
        let mut outage_ends = Instant::now() + outage_timeout;
        let failure = loop {
            let (before, begun_at) = (self.next, Instant::now());
            let end = match self.subscription(outage_ends).await {
                End::Missing(fault) => self.go_where_events_are(fault).await,
                end => end,
            };
            let why = match end {
                End::Complete | End::Unwanted => return,
                End::Failed(why) => break why,
                End::Missing(fault) => break fault.into(),
                End::Retry(why) => why,
            };
            // A quiet tail brings nothing, so a long silence counts as well as events do. Only
            // what happens from now on is an outage.
            if before < self.next || STEADY < begun_at.elapsed() && self.was_open {
                backoff.reset();
                outage_ends = Instant::now() + outage_timeout;
            }
            let wait = backoff.after_failure(why.retry_after_ms());
            if outage_ends <= Instant::now() + wait {
                break why;
            }
            debug!(topic = %self.source.topic, partition = %self.partition, error = %why, ?wait,
                "subscription lost; subscribing again");
            sleep(wait).await;
        };
        // When nobody receives it, nobody wants to know.
        let _ = self.ready.send(Ready::Failed(failure)).await;
    }

    /// What is wanted was removed (or never was): goes on where the options say.
    async fn go_where_events_are(&mut self, fault: Fault) -> End {
        let Source { link, topic, options, progress } = &*self.source;
        let to = match options.on_missing() {
            OnMissing::Error => return End::Missing(fault),
            OnMissing::Earliest => Edge::Earliest,
            OnMissing::Latest => Edge::Latest,
        };
        let found = offsets_at(link, topic, &[self.partition], At::Edge(to.into())).await;
        let next = match found.map(|found| found.into_values().next()) {
            Ok(Some(next)) => next,
            Ok(None) => return End::Missing(fault),
            Err(why) if why.is_retryable() => return End::Retry(why),
            Err(why) => return End::Failed(why),
        };
        // Nothing was removed, then: this one was never there, or is lost. To go back would be to
        // give out offsets a second time as others'.
        let Some(skipped) = next.0.checked_sub(self.next.0) else { return End::Missing(fault) };
        progress.skip(skipped);
        warn!(%topic, partition = %self.partition, wanted = %self.next, now = %next, skipped,
            "events that were to be read are gone; going on where there are some");
        self.next = next;
        if self.until.is_some_and(|until| until <= next) {
            return End::Complete;
        }
        if !self.hand_over(Vec::new(), next, next).await {
            return End::Unwanted;
        }
        End::Retry(fault.into())
    }

    /// Gives the caller what there is before `next_offset`; `false` if nobody wants it.
    async fn hand_over(
        &mut self,
        events: Vec<(Offset, Event)>,
        next_offset: Offset,
        high_watermark: Offset,
    ) -> bool {
        let (partition, from) = (self.partition, self.given);
        if !events.is_empty() {
            self.given = next_offset;
        }
        let batch = ConsumedBatch { partition, events, from, next_offset, high_watermark };
        self.ready.send(Ready::Batch(self.reading, batch)).await.is_ok()
    }

    async fn subscription(&mut self, outage_ends: Instant) -> End {
        self.was_open = false;
        let (mut send, mut receive) = match self.source.link.open(outage_ends).await {
            Ok(streams) => streams,
            Err(why) if why.is_retryable() => return End::Retry(why),
            Err(why) => return End::Failed(why),
        };
        let request = client_frame::Kind::Subscribe(proto::SubscribeRequest {
            topic: self.source.topic.to_string(),
            partition: self.partition.0,
            from_offset: self.next.0,
            until_offset: self.until.map(|until| until.0),
            chunk_bytes_max: self.source.options.chunk_bytes,
            filter: self.source.options.filter.clone().map(Into::into),
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
                        _ if fault.code == Code::OffsetOutOfRange => End::Missing(fault),
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
            // Events in between may be gone, or not wanted; never backwards, though, and not
            // beyond the end, since what is there is for others to read.
            let mut next_offset = Offset(fetched.next_offset).max(self.next);
            next_offset = self.until.map_or(next_offset, |until| until.min(next_offset));
            let is_news = self.next < next_offset || !events.is_empty();
            let high_watermark = Offset(fetched.high_watermark);
            if is_news && !self.hand_over(events, next_offset, high_watermark).await {
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
            let (topic, Self { partition, next, .. }) = (&self.source.topic, self);
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
            StreamError::Lost(reason) => End::Retry(self.source.link.unreachable(&reason)),
            StreamError::Protocol(reason) => End::Failed(ClientError::Protocol(reason)),
        }
    }
}

//! The consumer as streams: of events, of batches, and of events with receipts.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use super::bookmark::Handing;
use super::receipt::Receipt;
use super::{ConsumedBatch, ConsumedEvent, Consumer};
use crate::error::ClientError;

/// The events of all partitions, as [`Consumer::next`] gives them: each poll says that the event
/// before is finished, which automatic commits believe. Where several events are at work at a time
/// (`buffer_unordered`, `for_each_concurrent`), take [`Consumer::tracked`].
impl Stream for Consumer {
    type Item = Result<ConsumedEvent, ClientError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(context, Handing::InHand)
    }
}

/// See [`Consumer::batches`].
#[derive(Debug)]
pub struct Batches<'c> {
    pub(super) consumer: &'c mut Consumer,
}

impl Batches<'_> {
    /// Commits everything that was given, as [`Consumer::commit`].
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        self.consumer.commit().await
    }
}

impl Stream for Batches<'_> {
    type Item = Result<ConsumedBatch, ClientError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().consumer.poll_batch(context)
    }
}

/// See [`Consumer::tracked`].
#[derive(Debug)]
pub struct Tracked<'c> {
    pub(super) consumer: &'c mut Consumer,
}

impl Stream for Tracked<'_> {
    type Item = Result<(ConsumedEvent, Receipt), ClientError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().consumer.poll_tracked(context)
    }
}

//! A sink at work: as many members of the group as it delivers at once, each of which has one event
//! in hand.
//!
//! Members, and not one reader with many hands: what one member holds it delivers in order and
//! commits before it takes more, and the broker shares the partitions out, within a process and
//! between several, by the same rule.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;
use weir_client::{Client, ConsumerOptions, From, Producer, ProducerOptions};

use crate::deliver::Deliver;
use crate::sink::{Sink, SinkError, Undeliverable};
use crate::worker::Worker;

impl<D: Deliver> Sink<D> {
    /// Delivers what the group has not yet had, old events first, and then what comes, until
    /// `until` resolves: then every attempt under way is brought to its end and committed.
    ///
    /// # Errors
    /// [`SinkError::Client`] when a topic does not exist or the broker stays away too long;
    /// [`SinkError::Stopped`] when the other side takes nothing until someone acts.
    pub async fn run(
        self: &Arc<Self>,
        client: &Client,
        until: impl Future<Output = ()>,
    ) -> Result<(), SinkError> {
        let letters = self.letters(client).await?;
        let partitions = client.topic(&self.options.topic).await?.partitions as usize;
        let mut consumers = Vec::new();
        // All of them before the first takes an event, so that no partition moves with one in hand.
        for _ in 0..self.options.at_once.clamp(1, partitions.max(1)) {
            let options = ConsumerOptions {
                from: From::Committed,
                group: Some(self.options.group.clone()),
                until_end: self.options.until_end,
                ..ConsumerOptions::default()
            };
            consumers.push(client.consumer(&self.options.topic, options).await?);
        }
        info!(topic = %self.options.topic, group = %self.options.group, at_once = consumers.len(),
            "sink at work");
        let stop = watch::Sender::new(false);
        let mut workers = JoinSet::new();
        for consumer in consumers {
            let (sink, letters, stop) = (Arc::clone(self), letters.clone(), stop.subscribe());
            workers.spawn(Worker { sink, consumer, letters, stop }.run());
        }
        let mut until = pin!(until);
        let mut result = Ok(());
        loop {
            let ended = tokio::select! {
                () = &mut until, if !*stop.borrow() => {
                    stop.send_replace(true);
                    continue;
                }
                ended = workers.join_next() => ended,
            };
            let failure = match ended {
                None => break,
                Some(Ok(Ok(()))) => continue,
                Some(Ok(Err(error))) => error,
                Some(Err(error)) => SinkError::Broken(error.to_string()),
            };
            // The others finish what they have in hand. The first error tells why.
            stop.send_replace(true);
            result = result.and(Err(failure));
        }
        result
    }

    /// Publishes dead letters, if there are to be any.
    async fn letters(&self, client: &Client) -> Result<Option<Arc<Producer>>, SinkError> {
        let topic = match &self.options.undeliverable {
            Undeliverable::Discard => return Ok(None),
            Undeliverable::To(topic) if *topic == self.options.topic => {
                return Err(SinkError::Options(format!(
                    "{topic} cannot keep its own dead letters: they would come back for ever; name \
                     another topic"
                )));
            }
            Undeliverable::To(topic) => topic,
        };
        let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
        Ok(Some(Arc::new(client.producer(topic, options).await?)))
    }
}

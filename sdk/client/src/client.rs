//! The door of the SDK: one connection to a broker, and what can be opened over it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_wire::ids::{GroupName, Offset, PartitionId, TopicName};
use weir_wire::proto::Edge;
use weir_wire::proto::list_offsets_request::At;

use crate::admin::{Admin, AdminError};
use crate::call::{self, CALL_DEADLINE, TopicShape};
use crate::config::ClientConfig;
use crate::consumer::{Consumer, ConsumerOptions, MergedByTime};
use crate::error::ClientError;
use crate::link::{Link, Surroundings};
use crate::producer::{Producer, ProducerOptions};

/// One broker, reached over one QUIC connection that is made anew when it is lost. Cheap to clone;
/// producers and consumers keep the connection for as long as they live.
#[derive(Debug, Clone)]
pub struct Client {
    link: Arc<Link>,
    config: Arc<ClientConfig>,
}

impl Client {
    /// Connects once, so that a wrong address, certificate or token shows here and now.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] within five seconds when nobody answers,
    /// [`ClientError::Unauthenticated`] when the token is wrong, [`ClientError::Config`] when the
    /// certificate is.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let surroundings = Surroundings::real(config.broker)?;
        Self::connect_in(config, surroundings).await
    }

    /// The same with a socket and chance of the caller's own: for simulations.
    #[doc(hidden)]
    pub async fn connect_in(
        config: ClientConfig,
        surroundings: Surroundings,
    ) -> Result<Self, ClientError> {
        let link = Arc::new(Link::new(config.clone(), surroundings)?);
        link.dial_once().await?;
        Ok(Self { link, config: Arc::new(config) })
    }

    /// Opens a producer for one topic.
    ///
    /// # Errors
    /// `unknown-topic` as [`ClientError::Fault`]; [`ClientError::Config`] for options that mean nothing.
    pub async fn producer(
        &self,
        topic: &TopicName,
        options: ProducerOptions,
    ) -> Result<Producer, ClientError> {
        let shape = self.topic(topic).await?;
        let deadline = Instant::now() + CALL_DEADLINE;
        let sizes = self.link.batch_sizes(deadline).await?;
        let identity = call::init_producer(&self.link, deadline).await?;
        Producer::open(self.link.clone(), topic.clone(), shape.partitions, sizes, identity, options)
    }

    /// Opens a consumer for one topic.
    ///
    /// # Errors
    /// `unknown-topic` and `unknown-partition` as [`ClientError::Fault`].
    pub async fn consumer(
        &self,
        topic: &TopicName,
        options: ConsumerOptions,
    ) -> Result<Consumer, ClientError> {
        let shape = self.topic(topic).await?;
        Consumer::open(self.link.clone(), topic.clone(), shape.partitions, options).await
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Opens a reading of one topic in which the events of all partitions come in the order of their
    /// timestamps; see [`MergedByTime`] for how exactly. `patience` is how long an event may wait for
    /// partitions that are silent, once what was there at the beginning is read: half a second suits
    /// people.
    ///
    /// # Errors
    /// As [`consumer`](Self::consumer), and [`ClientError::Config`] for options with a group.
    pub async fn merged_by_time(
        &self,
        topic: &TopicName,
        options: ConsumerOptions,
        patience: Duration,
    ) -> Result<MergedByTime, ClientError> {
        let shape = self.topic(topic).await?;
        let (link, topic) = (self.link.clone(), topic.clone());
        MergedByTime::open(link, topic, shape.partitions, options, patience).await
    }

    /// The admin API of the same broker.
    ///
    /// # Errors
    /// [`AdminError::Config`] when the context's admin address is none.
    pub fn admin(&self) -> Result<Admin, AdminError> {
        Admin::new(&self.config)
    }

    /// What a topic looks like.
    ///
    /// # Errors
    /// `unknown-topic` as [`ClientError::Fault`].
    pub async fn topic(&self, topic: &TopicName) -> Result<TopicShape, ClientError> {
        call::describe_topic(&self.link, topic).await
    }

    /// The first offset that is still there, of each partition.
    ///
    /// # Errors
    /// `unknown-topic` as [`ClientError::Fault`].
    pub async fn earliest_offsets(
        &self,
        topic: &TopicName,
    ) -> Result<Vec<(PartitionId, Offset)>, ClientError> {
        call::list_offsets(&self.link, topic, &[], At::Edge(Edge::Earliest.into())).await
    }

    /// The offset of the next event, of each partition.
    ///
    /// # Errors
    /// `unknown-topic` as [`ClientError::Fault`].
    pub async fn latest_offsets(
        &self,
        topic: &TopicName,
    ) -> Result<Vec<(PartitionId, Offset)>, ClientError> {
        call::list_offsets(&self.link, topic, &[], At::Edge(Edge::Latest.into())).await
    }

    /// How far a group has come: the next offset of each partition it committed.
    ///
    /// # Errors
    /// `unknown-topic` as [`ClientError::Fault`].
    pub async fn committed_offsets(
        &self,
        group: &GroupName,
        topic: &TopicName,
    ) -> Result<Vec<(PartitionId, Offset)>, ClientError> {
        call::fetch_offsets(&self.link, group, topic).await
    }

    /// Stores how far a group has come: the next offset of each of these partitions. For programs that
    /// keep count themselves; [`Consumer::commit`] stores what it was given.
    ///
    /// # Errors
    /// `unknown-topic`, and `group-active` while the group has members, as [`ClientError::Fault`].
    pub async fn commit_offsets(
        &self,
        group: &GroupName,
        topic: &TopicName,
        next: &[(PartitionId, Offset)],
    ) -> Result<(), ClientError> {
        // As nobody of the group, so there is nobody to be fenced.
        call::commit_offsets(&self.link, group, topic, None, next).await.map(drop)
    }

    /// Ends the connection, and with it whatever producers and consumers still have in flight:
    /// close those first.
    pub async fn close(self) {
        self.link.close().await;
    }
}

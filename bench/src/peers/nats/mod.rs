//! NATS JetStream as far as its scenarios need it: a server, streams, publishing and reading with much
//! under way. async_nats is spoken of here and in the service that a reader would write with it.

pub mod server;
pub mod lane;
pub mod publisher;
pub mod protocol;
pub mod payload;

use std::fmt::Display;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions};

/// Messages that may wait in one subscription before the client drops them: more than are ever under
/// way at once.
const SUBSCRIPTION_MESSAGES_MAX: usize = 1 << 20;
/// Messages that may wait for the client's writer: enough to fill its socket again and again.
const CLIENT_MESSAGES_MAX: usize = 16_384;
/// Messages that a reader asks for at once; the client asks for more when half of them came.
const READ_MESSAGES: usize = 20_000;
/// How long such a request stands. Until then it costs nothing.
const READ_EXPIRES: Duration = Duration::from_secs(30);

/// Connects, with buffers made for load.
pub async fn connect(url: &str) -> Result<Client, String> {
    ConnectOptions::new()
        .client_capacity(CLIENT_MESSAGES_MAX)
        .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
        .read_buffer_capacity(u16::MAX)
        .skip_subject_validation(true)
        .connect(url)
        .await
        .map_err(|error| format!("cannot connect to {url}: {error}"))
}

/// Makes a stream on files, one replica, of one subject that has its name.
pub async fn create_stream(client: &Client, name: &str) -> Result<(), String> {
    let config = stream::Config {
        name: name.to_owned(),
        subjects: vec![name.to_owned()],
        storage: stream::StorageType::File,
        num_replicas: 1,
        allow_atomic_publish: true,
        allow_batch_publish: true,
        ..Default::default()
    };
    let made = jetstream::new(client.clone()).create_stream(config).await;
    made.map(drop).map_err(|error| format!("cannot create the stream {name}: {error}"))
}

/// Takes it away, with all that is in it.
pub async fn delete_stream(client: &Client, name: &str) -> Result<(), String> {
    let deleted = jetstream::new(client.clone()).delete_stream(name).await;
    deleted.map(drop).map_err(|error| format!("cannot delete the stream {name}: {error}"))
}

/// How a reader says what it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Not at all: it only looks.
    None,
    /// One acknowledgement for all before it; what has none comes again.
    All,
}

/// Reads a stream from its beginning, with the next messages always asked for.
pub async fn read(client: &Client, stream: &str, acks: Acks) -> Result<pull::Stream, String> {
    let cannot = |error: &dyn Display| format!("cannot read the stream {stream}: {error}");
    let config = match acks {
        Acks::None => {
            pull::Config { ack_policy: AckPolicy::None, memory_storage: true, ..Default::default() }
        }
        Acks::All => pull::Config {
            durable_name: Some("service".into()),
            ack_policy: AckPolicy::All,
            // Without a bound of its own: the service has one.
            max_ack_pending: -1,
            ..Default::default()
        },
    };
    let context = jetstream::new(client.clone());
    let stream = context.get_stream(stream).await.map_err(|error| cannot(&error))?;
    let consumer = stream.create_consumer(config).await.map_err(|error| cannot(&error))?;
    consumer
        .stream()
        .max_messages_per_batch(READ_MESSAGES)
        .expires(READ_EXPIRES)
        .messages()
        .await
        .map_err(|error| cannot(&error))
}

//! Events with their values decoded.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use serde::de::DeserializeOwned;
use weir_wire::ids::{Offset, PartitionId, Timestamp, TopicName};
use weir_wire::record_batch::{Event, Header};

use super::bookmark::Handing;
use super::{ConsumedEvent, Consumer};
use crate::error::ClientError;

/// Makes a value of an event. [`Json`] does; so does every closure `Fn(&Event) -> Result<T, E>`.
pub trait Decode: Unpin {
    /// What it makes.
    type Value;
    /// Why it makes nothing, for people.
    type Error: fmt::Display;
    /// Makes it.
    ///
    /// # Errors
    /// Where there is nothing to be made of the event.
    fn decode(&self, event: &Event) -> Result<Self::Value, Self::Error>;
}

impl<T, E: fmt::Display, F: Fn(&Event) -> Result<T, E> + Unpin> Decode for F {
    type Value = T;
    type Error = E;

    fn decode(&self, event: &Event) -> Result<T, E> {
        self(event)
    }
}

/// Reads an event's value as JSON. A value that is null (a tombstone) is the JSON `null`, so an
/// `Option<T>` takes it.
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

impl<T: DeserializeOwned> Decode for Json<T> {
    type Value = T;
    type Error = serde_json::Error;

    fn decode(&self, event: &Event) -> Result<T, serde_json::Error> {
        serde_json::from_slice(event.value.as_deref().unwrap_or(b"null"))
    }
}

/// An event whose value was decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedEvent<T> {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Its place there.
    pub offset: Offset,
    /// The producer's, in ms since 1970.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<Header>,
    /// What its value means.
    pub value: T,
}

/// An event of which the decoder made nothing. It counts as given like any other: whoever asks for
/// the next one has passed over it. To keep it, publish [`dead_letter`](Self::dead_letter) first.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the event at offset {} of {}, partition {}, cannot be read: {why}",
    event.offset, event.topic, event.partition
)]
pub struct Undecodable {
    /// The event, and its place.
    pub event: ConsumedEvent,
    /// What the decoder said.
    pub why: String,
}

impl Undecodable {
    /// The event as it was, with four more headers that say where it stood and what is wrong with
    /// it: `undecodable-topic`, `-partition`, `-offset` and `-reason`. Headers that only the broker
    /// writes are left out, since it would refuse them.
    pub fn dead_letter(&self) -> Event {
        let ConsumedEvent { topic, partition, offset, event } = &self.event;
        let mut letter = event.clone();
        letter
            .headers
            .retain(|header| !header.name.starts_with(weir_wire::ids::RESERVED_HEADER_PREFIX));
        let more = [
            ("undecodable-topic", topic.to_string()),
            ("undecodable-partition", partition.to_string()),
            ("undecodable-offset", offset.to_string()),
            ("undecodable-reason", self.why.clone()),
        ];
        letter.headers.extend(
            more.map(|(name, value)| Header { name: name.to_owned(), value: Some(value.into()) }),
        );
        letter
    }
}

/// Why there is no typed event.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TypedError {
    /// This one cannot be decoded. Skip it by asking for the next, or keep it elsewhere first; the
    /// stream goes on.
    #[error(transparent)]
    Undecodable(Box<Undecodable>),
    /// As of [`Consumer::next`].
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A consumer whose events are decoded: a [`Stream`] of [`TypedEvent`]s. See
/// [`Consumer::decoded`].
#[derive(Debug)]
pub struct Typed<D> {
    consumer: Consumer,
    decoder: D,
}

impl<D: Decode> Typed<D> {
    pub(super) fn new(consumer: Consumer, decoder: D) -> Self {
        Self { consumer, decoder }
    }

    /// The next event, as [`Consumer::next`]; [`TypedError::Undecodable`] ends nothing.
    pub async fn next(&mut self) -> Option<Result<TypedEvent<D::Value>, TypedError>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// As [`Consumer::commit`]; what could not be decoded counts as finished, too.
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        self.consumer.commit().await
    }

    /// As [`Consumer::close`].
    ///
    /// # Errors
    /// As [`Consumer::close`].
    pub async fn close(self) -> Result<(), ClientError> {
        self.consumer.close().await
    }

    /// The consumer itself, for everything else.
    pub fn consumer(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<TypedEvent<D::Value>, TypedError>>> {
        let next = ready!(self.consumer.poll_event(context, Handing::InHand));
        Poll::Ready(next.map(|next| {
            let event = next?;
            match self.decoder.decode(&event.event) {
                Ok(value) => Ok(typed(event, value)),
                Err(why) => {
                    let why = why.to_string();
                    Err(TypedError::Undecodable(Box::new(Undecodable { event, why })))
                }
            }
        }))
    }
}

impl<D: Decode> Stream for Typed<D> {
    type Item = Result<TypedEvent<D::Value>, TypedError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(context)
    }
}

fn typed<T>(event: ConsumedEvent, value: T) -> TypedEvent<T> {
    let ConsumedEvent { topic, partition, offset, event } = event;
    let Event { timestamp, key, headers, .. } = event;
    TypedEvent { topic, partition, offset, timestamp, key, headers, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(value: Option<&'static str>) -> Event {
        Event { value: value.map(Bytes::from), ..Event::default() }
    }

    #[test]
    fn values_are_json_and_a_tombstone_is_null() {
        let json = Json::<Option<u32>>::default();
        assert_eq!(json.decode(&event(Some("7"))).unwrap(), Some(7));
        assert_eq!(json.decode(&event(None)).unwrap(), None);
        assert!(json.decode(&event(Some("seven"))).is_err());
        let text =
            |event: &Event| event.value.clone().ok_or("there is none").map(|value| value.len());
        assert_eq!(Decode::decode(&text, &event(Some("seven"))), Ok(5));
        assert_eq!(Decode::decode(&text, &event(None)), Err("there is none"));
    }

    #[test]
    fn a_dead_letter_is_the_event_with_its_place() {
        let header = |name: &str| Header { name: name.to_owned(), value: None };
        let reserved = format!("{}x", weir_wire::ids::RESERVED_HEADER_PREFIX);
        let wrong = Undecodable {
            event: ConsumedEvent {
                topic: TopicName::parse("bookings").unwrap(),
                partition: PartitionId(3),
                offset: Offset(9),
                event: Event {
                    headers: vec![header("mine"), header(&reserved)],
                    ..event(Some("x"))
                },
            },
            why: "it is no number".to_owned(),
        };
        assert_eq!(
            wrong.to_string(),
            "the event at offset 9 of bookings, partition 3, cannot be read: it is no number"
        );
        let letter = wrong.dead_letter();
        assert_eq!(letter.value.as_deref(), Some(&b"x"[..]));
        let words: Vec<_> = letter
            .headers
            .iter()
            .map(|Header { name, value }| {
                format!("{name}={}", str::from_utf8(value.as_deref().unwrap_or_default()).unwrap())
            })
            .collect();
        assert_eq!(
            words.join(" "),
            "mine= undecodable-topic=bookings undecodable-partition=3 undecodable-offset=9 \
             undecodable-reason=it is no number"
        );
    }
}

//! From an event to the request that brings it. Pure.
//!
//! ```text
//! webhook-id         notices:3:7            topic, partition, offset: the same whenever it is sent
//! webhook-timestamp  1674087231             of the attempt, in s
//! webhook-signature  v1,K5oZ… v1,9xQd…      one for each secret
//! content-type       application/json       or application/octet-stream, if the value is no JSON
//! weir-topic, weir-partition, weir-offset, weir-timestamp (ms), weir-key (percent-encoded)
//! ```
//! The signature covers the id, the timestamp and the body. The `weir-` headers are for people and
//! routers; what a receiver must rely on is in the body or the id.

use std::fmt::Write;

use bytes::Bytes;
use serde::de::IgnoredAny;
use weir_client::ConsumedEvent;
use weir_sink::Never;

use crate::signature::SigningSecrets;

/// Bytes of a body: a broker takes events of a mebibyte, receivers seldom more.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a key that are told in a header, percent-encoded: servers take some 8 KiB of them all.
const KEY_BYTES_MAX: usize = 1 << 10;

/// An event as it is posted.
#[derive(Debug)]
pub struct Request {
    id: String,
    pub(crate) body: Bytes,
    headers: Vec<(&'static str, String)>,
}

impl Request {
    pub(crate) fn new(event: &ConsumedEvent) -> Result<Self, Never> {
        let ConsumedEvent { topic, partition, offset, event } = event;
        let body = event.value.clone().unwrap_or_default();
        if BODY_BYTES_MAX < body.len() {
            let bytes = body.len();
            let sentence = format!("a body of {bytes} bytes is over the limit of {BODY_BYTES_MAX}");
            return Err(Never::new("too-large", sentence));
        }
        // What is signed is put together with full stops, so the id must have none.
        let id = format!("{}:{partition}:{offset}", topic.as_str().replace('.', "~"));
        let is_json = serde_json::from_slice::<IgnoredAny>(&body).is_ok();
        let content_type = if is_json { "application/json" } else { "application/octet-stream" };
        let mut headers = vec![
            ("content-type", content_type.to_owned()),
            ("weir-topic", topic.to_string()),
            ("weir-partition", partition.to_string()),
            ("weir-offset", offset.to_string()),
            ("weir-timestamp", event.timestamp.to_string()),
        ];
        let key = event.key.as_deref().filter(|key| key.len() <= KEY_BYTES_MAX);
        headers.extend(key.map(|key| ("weir-key", percent_encoded(key))));
        Ok(Self { id, body, headers })
    }

    /// All its headers, signed as of `timestamp`, which is in s since the epoch.
    pub(crate) fn signed(
        &self,
        secrets: &SigningSecrets,
        timestamp: u64,
    ) -> Vec<(&'static str, String)> {
        let signature = secrets.sign(&self.id, timestamp, &self.body);
        let mut headers = self.headers.clone();
        headers.push(("webhook-id", self.id.clone()));
        headers.push(("webhook-timestamp", timestamp.to_string()));
        headers.push(("webhook-signature", signature));
        headers
    }
}

/// RFC 3986: letters, digits and `-._~` stand for themselves. So no key ends a header.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(byte.into());
            }
            // A String takes everything.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_client::Event;
    use weir_wire::ids::{Offset, PartitionId, TopicName};

    fn request(topic: &str, key: Option<&[u8]>, value: &[u8]) -> Result<Request, Never> {
        let event = Event {
            key: key.map(|key| key.to_vec().into()),
            value: Some(value.to_vec().into()),
            ..Event::default()
        };
        let topic = TopicName::parse(topic).unwrap();
        Request::new(&ConsumedEvent { topic, partition: PartitionId(3), offset: Offset(7), event })
    }

    fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
        let found = request.headers.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_request_is_the_value_as_it_is_under_a_name_of_its_own() {
        let request = request("a.b", Some(b"x\r\nHost: evil\xFF"), b"{\"a\": 1}").unwrap();
        assert_eq!((request.id.as_str(), &request.body[..]), ("a~b:3:7", &b"{\"a\": 1}"[..]));
        assert_eq!(header(&request, "content-type"), Some("application/json"));
        assert_eq!(header(&request, "weir-topic"), Some("a.b"));
        assert_eq!(header(&request, "weir-key"), Some("x%0D%0AHost%3A%20evil%FF"));
    }

    #[test]
    fn what_is_no_json_or_too_large_is_said_to_be_so() {
        let bytes = request("t", None, b"\xFF").unwrap();
        assert_eq!(header(&bytes, "content-type"), Some("application/octet-stream"));
        assert_eq!(header(&bytes, "weir-key"), None);
        let long_key = request("t", Some(&[b'k'; KEY_BYTES_MAX + 1]), b"1").unwrap();
        assert_eq!(header(&long_key, "weir-key"), None);
        assert!(request("t", None, &vec![b'1'; BODY_BYTES_MAX]).is_ok());
        let too_large = request("t", None, &vec![b'1'; BODY_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(too_large.code, "too-large");
    }
}

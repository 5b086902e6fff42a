//! Making and reading events.

use crate::{Event, Header};

impl Event {
    /// An event with this payload, no key, no headers and the timestamp 0.
    pub fn new(value: impl Into<Vec<u8>>) -> Event {
        Event { key: None, value: value.into(), headers: Vec::new(), timestamp: 0 }
    }

    /// The same event about `key`.
    pub fn key(self, key: impl Into<Vec<u8>>) -> Event {
        Event { key: Some(key.into()), ..self }
    }

    /// The same event at this time, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn timestamp_ms(self, timestamp: u64) -> Event {
        Event { timestamp, ..self }
    }

    /// The same event with one more header behind those it has.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Event {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// The value of the last header of this name; names may repeat and the last one counts.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|header| header.name == name).map(|header| &*header.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_headers_with_one_name_the_last_counts() {
        let event = Event::new("v").with_header("via", "a").with_header("via", "b");
        assert_eq!(event.header("via"), Some(b"b".as_slice()));
        assert_eq!(event.header("Via"), None);
    }
}

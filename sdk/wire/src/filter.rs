//! Which events a subscription is sent: by the beginning of their keys and by their headers, which
//! the broker may look at without knowing what a value means.

use bytes::Bytes;

use crate::fault::{Code, Fault};
use crate::proto;
use crate::record_batch::Record;

/// Bytes of a prefix at most: it is compared with every event.
const PREFIX_BYTES_MAX: usize = 4 << 10;
/// Bytes of a header's name at most.
const NAME_BYTES_MAX: usize = 256;

/// Events that meet all of this are sent, others left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// The key begins so. An event without a key does not.
    pub key_prefix: Option<Bytes>,
    /// It has such a header.
    pub header: Option<HeaderFilter>,
}

/// One header by its name, and by the beginning of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderFilter {
    /// The whole name.
    pub name: String,
    /// How its value begins; empty: whatever it is. Of several headers of the name one is enough.
    pub value_prefix: Bytes,
}

impl Filter {
    /// Reads what a subscription asks for; `None` if that is everything.
    ///
    /// # Errors
    /// `invalid-request` for one over its limits, or a value without a name.
    pub fn from_proto(filter: proto::Filter) -> Result<Option<Self>, Fault> {
        let wrong = |sentence: String| Err(Fault::new(Code::InvalidRequest, sentence));
        let proto::Filter { key_prefix, header, header_value_prefix } = filter;
        let prefixes = [&key_prefix, &header_value_prefix];
        if prefixes.into_iter().flatten().any(|prefix| PREFIX_BYTES_MAX < prefix.len()) {
            return wrong(format!("a prefix of a filter has {PREFIX_BYTES_MAX} bytes at most"));
        }
        let header = match (header, header_value_prefix) {
            (Some(name), _) if NAME_BYTES_MAX < name.len() => {
                return wrong(format!(
                    "a filter's header has a name of {NAME_BYTES_MAX} bytes at most"
                ));
            }
            (Some(name), value) => {
                Some(HeaderFilter { name, value_prefix: value.unwrap_or_default().into() })
            }
            (None, Some(_)) => {
                return wrong("a filter by a header's value has to name the header".to_owned());
            }
            (None, None) => None,
        };
        let filter = Self { key_prefix: key_prefix.map(Bytes::from), header };
        Ok((filter != Self::default()).then_some(filter))
    }

    /// Whether an event is sent.
    pub fn matches(&self, record: &Record<'_>) -> bool {
        let has_key = self
            .key_prefix
            .as_ref()
            .is_none_or(|prefix| record.key.is_some_and(|key| key.starts_with(prefix)));
        let has_header = self.header.as_ref().is_none_or(|HeaderFilter { name, value_prefix }| {
            record.headers.iter().any(|(of, value)| {
                of == name && value.unwrap_or_default().starts_with(value_prefix)
            })
        });
        has_key && has_header
    }
}

impl From<Filter> for proto::Filter {
    fn from(filter: Filter) -> Self {
        let (header, header_value_prefix) = match filter.header {
            Some(HeaderFilter { name, value_prefix }) => (Some(name), Some(value_prefix.into())),
            None => (None, None),
        };
        Self { key_prefix: filter.key_prefix.map(Into::into), header, header_value_prefix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_batch::{Event, Header};

    fn filter(key_prefix: &str, header: Option<(&str, &str)>) -> Filter {
        let header = header.map(|(name, value)| HeaderFilter {
            name: name.to_owned(),
            value_prefix: Bytes::copy_from_slice(value.as_bytes()),
        });
        Filter { key_prefix: Some(Bytes::copy_from_slice(key_prefix.as_bytes())), header }
    }

    fn event(key: Option<&'static str>, headers: &[(&str, Option<&'static str>)]) -> Event {
        let header = |(name, value): &(&str, Option<&'static str>)| Header {
            name: (*name).to_owned(),
            value: value.map(Bytes::from),
        };
        let headers = headers.iter().map(header).collect();
        Event { key: key.map(Bytes::from), headers, ..Event::default() }
    }

    #[test]
    fn all_that_is_asked_has_to_be_met() {
        let all = filter("al", Some(("region", "eu-")));
        for (key, headers, sent) in [
            (Some("alice"), &[("region", Some("eu-west"))][..], true),
            (Some("alice"), &[("region", Some("us")), ("region", Some("eu-"))], true),
            (Some("bob"), &[("region", Some("eu-west"))], false),
            (None, &[("region", Some("eu-west"))], false),
            (Some("alice"), &[("regions", Some("eu-west"))], false),
            (Some("alice"), &[("region", None)], false),
            (Some("alice"), &[], false),
        ] {
            assert_eq!(all.matches(&event(key, headers).as_record()), sent, "{key:?} {headers:?}");
        }
        let any_value = filter("", Some(("region", "")));
        assert!(any_value.matches(&event(Some(""), &[("region", None)]).as_record()));
    }

    #[test]
    fn what_goes_over_the_wire_comes_back_and_nothing_is_no_filter() {
        for asked in [filter("al", None), filter("", Some(("region", "")))] {
            assert_eq!(Filter::from_proto(asked.clone().into()).unwrap(), Some(asked));
        }
        assert_eq!(Filter::from_proto(proto::Filter::default()).unwrap(), None);
        let too_long = proto::Filter { key_prefix: Some(vec![0; 5_000]), ..Default::default() };
        let nameless = proto::Filter { header_value_prefix: Some(vec![]), ..Default::default() };
        for wrong in [too_long, nameless] {
            assert_eq!(Filter::from_proto(wrong).unwrap_err().code, Code::InvalidRequest);
        }
    }
}

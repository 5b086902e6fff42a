//! `--from`: where `weir consume` begins.

use std::str::FromStr;

use weir_wire::ids::{Offset, Timestamp};

use super::input::rfc3339;

/// Where to begin in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first event that is still there.
    Earliest,
    /// Behind the last event.
    Latest,
    /// At this offset.
    Offset(Offset),
    /// At the first event whose timestamp is this or later.
    Time(Timestamp),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let offset = || text.parse().ok().map(|offset| Self::Offset(Offset(offset)));
        let time = || rfc3339(text).map(Self::Time);
        offset().or_else(time).ok_or_else(|| {
            "give earliest, latest, an offset or an RFC 3339 time such as 2013-06-01T00:00:00Z"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_an_offset_or_a_time() {
        for (text, start) in [
            ("earliest", Some(Start::Earliest)),
            ("latest", Some(Start::Latest)),
            ("0", Some(Start::Offset(Offset(0)))),
            ("9531", Some(Start::Offset(Offset(9531)))),
            ("2013-06-01T00:00:00Z", Some(Start::Time(Timestamp(1_370_044_800_000)))),
            ("2013-06-01T02:00:00+02:00", Some(Start::Time(Timestamp(1_370_044_800_000)))),
            ("2013-06-01", None),
            ("-1", None),
            ("Earliest", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), start, "{text:?}");
        }
    }
}

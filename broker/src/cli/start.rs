//! `--from` and `--until`: where `weir consume` begins and ends.

use weir_client::{From, Until};
use weir_wire::ids::Offset;

use super::input::rfc3339;

/// Reads a word, an offset or a time.
pub fn start(text: &str) -> Result<From, String> {
    match text {
        "earliest" => return Ok(From::Earliest),
        "latest" => return Ok(From::Latest),
        _ => {}
    }
    let time = || rfc3339(text).map(From::Time);
    offset(text).map(From::Offset).or_else(time).ok_or_else(|| {
        "give earliest, latest, an offset or an RFC 3339 time such as 2013-06-01T00:00:00Z"
            .to_owned()
    })
}

/// Reads an offset or a time.
pub fn end(text: &str) -> Result<Until, String> {
    let time = || rfc3339(text).map(Until::Time);
    offset(text)
        .map(Until::Offset)
        .or_else(time)
        .ok_or_else(|| "give an offset or an RFC 3339 time such as 2013-06-01T00:00:00Z".to_owned())
}

fn offset(text: &str) -> Option<Offset> {
    text.parse().ok().map(Offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::ids::Timestamp;

    #[test]
    fn a_start_is_a_word_an_offset_or_a_time() {
        let june = Some(From::Time(Timestamp(1_370_044_800_000)));
        for (text, expected) in [
            ("earliest", Some(From::Earliest)),
            ("latest", Some(From::Latest)),
            ("0", Some(From::Offset(Offset(0)))),
            ("9531", Some(From::Offset(Offset(9531)))),
            ("2013-06-01T00:00:00Z", june),
            ("2013-06-01T02:00:00+02:00", june),
            ("2013-06-01", None),
            ("-1", None),
            ("Earliest", None),
            ("committed", None),
            ("", None),
        ] {
            assert_eq!(start(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn an_end_is_an_offset_or_a_time() {
        let june = Some(Until::Time(Timestamp(1_370_044_800_000)));
        for (text, expected) in [
            ("7", Some(Until::Offset(Offset(7)))),
            ("2013-06-01T00:00:00Z", june),
            ("latest", None),
            ("-1", None),
        ] {
            assert_eq!(end(text).ok(), expected, "{text:?}");
        }
    }
}

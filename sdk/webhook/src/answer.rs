//! What a receiver's answer means. Pure.

use std::time::{Duration, SystemTime};

use weir_sink::{Never, Outcome};

/// The outcome of a request that was answered with `status`; `retry_after` is that header's value.
pub(crate) fn decide(
    status: u16,
    retry_after: Option<&str>,
    words: &str,
    now: SystemTime,
) -> Outcome {
    let reason = match words {
        "" => format!("the receiver answers {status}"),
        words => format!("the receiver answers {status}: {words}"),
    };
    match status {
        200..300 => Outcome::Taken,
        408 | 429 | 500..600 => {
            Outcome::Later { reason, after: retry_after.and_then(|text| wait(text, now)) }
        }
        // The specification's word for "no more of these".
        410 => Outcome::Never(Never::new("gone", reason)),
        300..400 => Outcome::Never(Never::new(
            "redirected",
            format!("{reason}; redirects are not followed, give the URL it leads to"),
        )),
        _ => Outcome::Never(Never::new("refused", reason)),
    }
}

/// RFC 9110: seconds, or a date.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, retry_after: Option<&str>) -> String {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        match decide(status, retry_after, "why", now) {
            Outcome::Taken => "taken".to_owned(),
            Outcome::Later { after: None, .. } => "later".to_owned(),
            Outcome::Later { after: Some(after), .. } => format!("later, {} s", after.as_secs()),
            Outcome::Never(why) => format!("never: {}", why.code),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn statuses_mean_taken_later_or_never() {
        for (statuses, expected) in [
            (&[200, 201, 204][..], "taken"),
            (&[408, 429, 500, 502, 503, 504, 599], "later"),
            (&[301, 302, 307, 308], "never: redirected"),
            (&[410], "never: gone"),
            (&[100, 400, 401, 403, 404, 405, 413, 422, 600], "never: refused"),
        ] {
            for status in statuses {
                assert_eq!(told(*status, None), expected, "{status}");
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (text, expected) in [
            ("120", "later, 120 s"),
            (" 0 ", "later, 0 s"),
            ("Sun, 06 Nov 1994 08:50:07 GMT", "later, 30 s"),
            ("Sun, 06 Nov 1994 08:00:00 GMT", "later, 0 s"),
            ("soon", "later"),
            ("-1", "later"),
            ("1e999", "later"),
        ] {
            assert_eq!(told(429, Some(text)), expected, "{text}");
        }
    }
}

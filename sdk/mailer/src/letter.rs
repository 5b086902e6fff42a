//! From a notice to the mail that tells of it. Pure.

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use serde::Deserialize;
use weir_client::ConsumedEvent;

/// Bytes of a foreign notice that are quoted: enough to recognize it, and no mail of a megabyte.
const QUOTE_BYTES_MAX: usize = 16 << 10;

/// Who writes to whom.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The sender of every mail, such as `weir <weir@example.com>`.
    pub from: String,
    /// The recipient, in which `{key}` stands for the notice's key: `{key}@example.com`.
    pub to_template: String,
}

/// What `daily-limit` says when a key goes over.
#[derive(Deserialize)]
struct DailyLimit {
    key: String,
    day: String,
    limit: u64,
    opens_at: String,
    topic: String,
}

/// Why no mail can be written. Trying again would not help.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwritable {
    #[error("the notice has no key, so nobody can be written to")]
    NoKey,
    #[error("{0:?} is no mail address")]
    Address(String),
    #[error("the mail cannot be put together: {0}")]
    Message(String),
}

/// The mail for one notice.
pub(crate) fn write(addresses: &Addresses, notice: &ConsumedEvent) -> Result<Message, Unwritable> {
    let value = notice.event.value.as_deref().unwrap_or_default();
    let daily_limit: Option<DailyLimit> = serde_json::from_slice(value).ok();
    let event_key =
        notice.event.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned());
    let key = daily_limit.as_ref().map(|notice| notice.key.clone()).or(event_key);
    let key = key.ok_or(Unwritable::NoKey)?;
    let (subject, body) = match &daily_limit {
        Some(over) => about_daily_limit(over),
        None => about_anything(notice, value),
    };
    Message::builder()
        .from(mailbox(&addresses.from)?)
        .to(mailbox(&addresses.to_template.replace("{key}", &key))?)
        .subject(one_line(&subject))
        // The same notice has the same id, so a second copy can be told from a second notice.
        .message_id(Some(format!("<{}.{}.{}@weir>", notice.topic, notice.partition, notice.offset)))
        .header(ContentType::TEXT_PLAIN)
        .body(body)
        .map_err(|error| Unwritable::Message(error.to_string()))
}

/// Reads an address, or says that it is none.
pub(crate) fn mailbox(text: &str) -> Result<Mailbox, Unwritable> {
    text.parse().map_err(|_| Unwritable::Address(text.to_owned()))
}

fn about_daily_limit(over: &DailyLimit) -> (String, String) {
    let DailyLimit { key, day, limit, opens_at, topic } = over;
    let subject = format!("{key} is over the limit of {limit} on {day}");
    let body = format!(
        "On {day}, {key} reached the limit of {limit} a day in {topic}.\n\
         What came after that was refused; it opens again at {opens_at}.\n"
    );
    (subject, body)
}

fn about_anything(notice: &ConsumedEvent, value: &[u8]) -> (String, String) {
    let quote = &value[..value.len().min(QUOTE_BYTES_MAX)];
    (format!("A notice of {}", notice.topic), format!("{}\n", String::from_utf8_lossy(quote)))
}

/// A key may hold anything; a header is one line.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use weir_client::Event;
    use weir_wire::ids::{Offset, PartitionId, TopicName};

    fn notice(key: Option<&str>, value: &str) -> ConsumedEvent {
        let event = Event {
            key: key.map(|key| key.to_owned().into()),
            value: Some(value.to_owned().into()),
            ..Event::default()
        };
        let topic = TopicName::parse("notices").expect("a name");
        ConsumedEvent { topic, partition: PartitionId(3), offset: Offset(7), event }
    }

    fn check(to_template: &str, notice: &ConsumedEvent, expected: Expect) {
        let addresses =
            Addresses { from: "weir@example.com".into(), to_template: to_template.into() };
        let text = match write(&addresses, notice) {
            Ok(mail) => String::from_utf8_lossy(&mail.formatted()).replace('\r', ""),
            Err(why) => format!("{why}\n"),
        };
        let undated: String =
            text.split_inclusive('\n').filter(|line| !line.starts_with("Date:")).collect();
        expected.assert_eq(&undated);
    }

    const OVER: &str = r#"{"key":"N14228","day":"2013-01-01","limit":2,"opens_at":"2013-01-02T00:00:00Z","topic":"flights"}"#;

    #[test]
    fn a_daily_limit_is_told_in_words() {
        check(
            "{key}@example.com",
            &notice(Some("N14228"), OVER),
            expect![[r#"
                From: weir@example.com
                To: N14228@example.com
                Subject: N14228 is over the limit of 2 on 2013-01-01
                Message-ID: <notices.3.7@weir>
                Content-Type: text/plain; charset=utf-8
                Content-Transfer-Encoding: 7bit

                On 2013-01-01, N14228 reached the limit of 2 a day in flights.
                What came after that was refused; it opens again at 2013-01-02T00:00:00Z.
            "#]],
        );
    }

    #[test]
    fn a_notice_of_another_shape_is_quoted() {
        check(
            "ops@example.com",
            &notice(Some("k"), "hello"),
            expect![[r#"
                From: weir@example.com
                To: ops@example.com
                Subject: A notice of notices
                Message-ID: <notices.3.7@weir>
                Content-Type: text/plain; charset=utf-8
                Content-Transfer-Encoding: 7bit

                hello
            "#]],
        );
    }

    #[test]
    fn who_cannot_be_written_to_is_named() {
        check(
            "{key}@example.com",
            &notice(None, "hello"),
            expect![[r#"
            the notice has no key, so nobody can be written to
        "#]],
        );
        check(
            "{key}@example.com",
            &notice(Some("a b\r\nBcc: eve"), "hello"),
            expect![[r#"
            "a b\r\nBcc: eve@example.com" is no mail address
        "#]],
        );
    }
}

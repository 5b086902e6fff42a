//! From an event to the mail that tells of it. Pure.

use lettre::address::{Address, Envelope};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use weir_client::ConsumedEvent;
use weir_sink::{Never, SinkError};

use crate::template::{self, Templates};

/// Who is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// The address at this JSON pointer of the value: `/user/email`.
    Pointer(String),
    /// An address with fields of the event in it: `{{ key }}@example.com`.
    Pattern(String),
}

/// Writes mails.
#[derive(Debug)]
pub(crate) struct Letters {
    from: Mailbox,
    /// The pointer, or the templates' pattern.
    pointer: Option<String>,
    templates: Templates,
}

/// A mail, ready to be sent.
#[derive(Debug)]
pub struct Mail {
    pub(crate) envelope: Envelope,
    pub(crate) text: Vec<u8>,
}

impl Letters {
    pub(crate) fn new(
        from: &str,
        to: &Recipient,
        templates: &Templates,
    ) -> Result<Self, SinkError> {
        let from = from.parse().map_err(|_| {
            SinkError::Options(format!(
                "the sender {from:?} is no mail address; write name@domain or Name <name@domain>"
            ))
        })?;
        let (pointer, templates) = match to {
            Recipient::Pointer(pointer) if pointer.starts_with('/') => {
                (Some(pointer.clone()), templates.clone())
            }
            Recipient::Pointer(pointer) => {
                return Err(SinkError::Options(format!(
                    "{pointer:?} is no JSON pointer; it begins with a slash, as /user/email does"
                )));
            }
            Recipient::Pattern(pattern) => (None, templates.with_pattern(pattern)?),
        };
        Ok(Self { from, pointer, templates })
    }

    /// The mail for one event.
    pub(crate) fn write(&self, event: &ConsumedEvent) -> Result<Mail, Never> {
        let fields = template::fields(event);
        let filled = template::filled(&fields);
        let to = match &self.pointer {
            Some(pointer) => text_at(&fields["value"], pointer),
            None => self.templates.pattern(&filled),
        };
        let to =
            to.map_err(|why| Never::new("no-recipient", format!("nobody to write to: {why}")))?;
        // An address and nothing else: a display name or a second address is what an attacker adds.
        let to: Address = to.parse().map_err(|_| bad_address(&to))?;
        let written = self.templates.write(&filled)?;
        let broken = |error: lettre::error::Error| Never::new("no-mail", error.to_string());
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![to.clone()]);
        let message = Message::builder()
            .from(self.from.clone())
            .to(to.into())
            .subject(one_line(&written.subject))
            .message_id(Some(self.message_id(event)))
            // RFC 3834: nobody's absence note comes back.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .header(ContentType::TEXT_PLAIN)
            .body(written.body)
            .map_err(broken)?;
        Ok(Mail { envelope: envelope.map_err(broken)?, text: message.formatted() })
    }

    /// The same event has the same id, so a second copy can be told from a second notice.
    fn message_id(&self, event: &ConsumedEvent) -> String {
        let ConsumedEvent { topic, partition, offset, .. } = event;
        format!("<{topic}.{partition}.{offset}.weir@{}>", self.from.email.domain())
    }
}

fn text_at(value: &serde_json::Value, pointer: &str) -> Result<String, String> {
    match value.pointer(pointer) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("what {pointer} points to is no text")),
        None => Err(format!("the value is no JSON with a {pointer}")),
    }
}

fn bad_address(text: &str) -> Never {
    // A hostile address may be long; the sentence about it is not.
    let shown: String = text.chars().take(80).collect();
    Never::new("bad-address", format!("{shown:?} is no mail address"))
}

/// Anything may be in a field or in what a server says; a header and a log line are one line.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    line.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;
    use expect_test::{Expect, expect};
    use weir_client::Event;
    use weir_wire::ids::{Offset, PartitionId, TopicName};

    fn event(key: &[u8], value: &[u8]) -> ConsumedEvent {
        let event = Event {
            key: (!key.is_empty()).then(|| key.to_vec().into()),
            value: Some(value.to_vec().into()),
            ..Event::default()
        };
        let topic = TopicName::parse("notices").unwrap();
        ConsumedEvent { topic, partition: PartitionId(3), offset: Offset(7), event }
    }

    fn letters(to: Recipient, templates: Vec<Template>) -> Letters {
        Letters::new("weir <weir@example.com>", &to, &Templates::new(templates).unwrap()).unwrap()
    }

    fn by_key() -> Letters {
        letters(Recipient::Pattern("{{ key }}@example.com".to_owned()), Template::built_in())
    }

    fn by_pointer(text: &str) -> Letters {
        let template = Template::parse("over.txt", text).unwrap();
        letters(Recipient::Pointer("/user/email".to_owned()), vec![template])
    }

    fn told(letters: &Letters, event: &ConsumedEvent) -> String {
        match letters.write(event) {
            Ok(mail) => String::from_utf8(mail.text).unwrap().replace('\r', ""),
            Err(why) => format!("{}: {}\n", why.code, why.reason),
        }
    }

    fn check(letters: &Letters, event: &ConsumedEvent, expected: Expect) {
        let told = told(letters, event);
        let undated: String =
            told.split_inclusive('\n').filter(|line| !line.starts_with("Date:")).collect();
        expected.assert_eq(&undated);
    }

    const OVER: &[u8] = br#"{"key":"N14228","day":"2013-01-01","limit":2,"opens_at":"2013-01-02T00:00:00Z","topic":"flights"}"#;

    #[test]
    fn a_daily_limit_is_told_in_words() {
        check(
            &by_key(),
            &event(b"N14228", OVER),
            expect![[r#"
                From: weir <weir@example.com>
                To: N14228@example.com
                Subject: N14228 is over the limit of 2 on 2013-01-01
                Message-ID: <notices.3.7.weir@example.com>
                Auto-Submitted: auto-generated
                Content-Type: text/plain; charset=utf-8
                Content-Transfer-Encoding: 7bit

                On 2013-01-01, N14228 reached the limit of 2 a day in flights.
                What came after that was refused; it opens again at 2013-01-02T00:00:00Z.
            "#]],
        );
    }

    #[test]
    fn an_event_of_another_shape_is_quoted_and_not_escaped() {
        let told = told(&by_key(), &event(b"k", b"<hello> & \"more\""));
        assert!(told.contains("Subject: A notice of notices\n"), "{told}");
        assert!(told.ends_with("\n\n<hello> & \"more\"\n"), "{told}");
    }

    #[test]
    fn a_template_of_ones_own_has_all_fields_and_a_pointer_finds_the_recipient() {
        let letters = by_pointer(
            "Subject: {{ value.user.name }}, {{ topic }}/{{ partition }}@{{ offset }}\n\n\
             {{ time }} {{ timestamp }} {{ headers.a }} {{ key }}\n\
             {% for seat in value.seats %}- {{ seat }}\n{% endfor %}",
        );
        let mut event = event(
            b"k",
            br#"{"user":{"name":"J\u00f6rg","email":"j@example.com"},"seats":["1A","1B"]}"#,
        );
        event.event.headers.push(weir_client::Header { name: "a".into(), value: Some("1".into()) });
        check(
            &letters,
            &event,
            expect![[r#"
                From: weir <weir@example.com>
                To: j@example.com
                Subject: =?utf-8?b?SsO2cmcs?= notices/3@7
                Message-ID: <notices.3.7.weir@example.com>
                Auto-Submitted: auto-generated
                Content-Type: text/plain; charset=utf-8
                Content-Transfer-Encoding: 7bit

                1970-01-01T00:00:00Z 0 1 k
                - 1A
                - 1B
            "#]],
        );
    }

    #[test]
    fn who_cannot_be_written_to_is_named() {
        let pattern = by_key();
        for (key, says) in [
            (&b""[..], "no-recipient: nobody to write to"),
            (b"\xFF\xFE", "no-recipient: nobody to write to"),
            (b"a b\r\nBcc: eve", r#"bad-address: "a b\r\nBcc: eve@example.com""#),
            (b"a@evil.com, b", "bad-address"),
            (b"eve@evil.com> <a", "bad-address"),
            (b"a@evil.com\r\nRCPT TO:<b", "bad-address"),
        ] {
            let told = told(&pattern, &event(key, b"{}"));
            assert!(told.starts_with(says), "{told} is not {says}");
        }
        let pointer = by_pointer("Subject: x\n\ny");
        for (value, says) in [
            (&br#"{"user":{}}"#[..], "no-recipient: nobody to write to: the value is no JSON with"),
            (br#"{"user":{"email":["a@example.com"]}}"#, "no-recipient: nobody to write to: what"),
            (b"no JSON", "no-recipient"),
            (b"\xFF", "no-recipient"),
            (br#"{"user":{"email":"Eve <eve@example.com>"}}"#, "bad-address"),
            (br#"{"user":{"email":"a@example.com\nBcc: eve@example.com"}}"#, "bad-address"),
            (br#"{"user":{"email":"a@example.com,eve@example.com"}}"#, "bad-address"),
        ] {
            let told = told(&pointer, &event(b"k", value));
            assert!(told.starts_with(says), "{told} is not {says}");
        }
    }

    #[test]
    fn no_event_adds_a_header_or_ends_them_early() {
        let letters = by_pointer("Subject: {{ value.what }}\n\n{{ value.what }}\n");
        let value = br#"{"user":{"email":"a@example.com"},"what":"x\r\nBcc: eve@example.com\r\n\r\nhello\u0000\r\n.\r\nMAIL FROM:<e@e>"}"#;
        let told = told(&letters, &event(b"k", value));
        let (head, _) = told.split_once("\n\n").unwrap();
        let names: Vec<_> = head.lines().map(|line| line.split(':').next().unwrap()).collect();
        let all = ["From", "To", "Subject", "Message-ID", "Auto-Submitted", "Date"];
        assert!(
            names.iter().all(|name| all.contains(name)
                || name.starts_with("Content-")
                || name.starts_with(' ')),
            "{head}"
        );
        assert!(head.contains("Subject: x"), "{head}");
        assert!(!head.contains("\nBcc"), "{head}");
    }

    #[test]
    fn a_template_that_lacks_a_field_does_not_fit_and_pages_are_bounded() {
        let letters = by_pointer("Subject: s\n\n{{ value.user.age }}");
        let value = br#"{"user":{"email":"a@example.com"},"n":1}"#;
        assert!(
            told(&letters, &event(b"k", value))
                .starts_with("no-template: no template fits this event (over.txt: undefined value")
        );
        let long =
            format!(r#"{{"user":{{"email":"a@example.com"}},"what":"{}"}}"#, "x".repeat(1 << 20));
        let letters = by_pointer("Subject: s\n\n{{ value.what }}");
        let told_long = told(&letters, &event(b"k", long.as_bytes()));
        assert!(told_long.contains("over 262144 bytes"), "{}", &told_long[..200]);
        let letters = by_pointer(
            "Subject: s\n\n{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        );
        assert!(told(&letters, &event(b"k", value)).starts_with("no-template"));
    }

    #[test]
    fn wrong_options_are_named() {
        let templates = Templates::new(Template::built_in()).unwrap();
        let pattern = |text: &str| Recipient::Pattern(text.to_owned());
        for (from, to, says) in [
            ("weir", pattern("a@example.com"), "the sender \"weir\""),
            ("w@example.com", pattern("{{ key"), "the pattern"),
            ("w@example.com", Recipient::Pointer("user".to_owned()), "no JSON pointer"),
        ] {
            let error = Letters::new(from, &to, &templates).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        for text in ["", "Subject: a\nb", "Hello\n\nb", "Subject: a\nX: b\n\nc"] {
            assert!(Template::parse("t", text).is_err(), "{text:?}");
        }
        let broken = Template::parse("t", "Subject: a\n\n{% if %}").unwrap();
        assert!(
            Templates::new(vec![broken]).unwrap_err().to_string().contains("template t cannot")
        );
    }
}

//! What is said to JetStream and what it answers, as bytes: pure. ADR-50 of NATS describes both
//! kinds of batches.
//!
//! ```text
//! async        reply  <inbox>.<ordinal>                          answer: a publish ack each
//! atomic       header Nats-Batch-Id, Nats-Batch-Sequence, on the last Nats-Batch-Commit: 1
//!              reply  <inbox>.<ordinal of the last>              answer: a publish ack for all of it
//! fast ingest  reply  <inbox>.<first ordinal>.<flow>.<gap>.<sequence>.<op>.$FI
//!                                                                answer: how far all is stored, every
//!                                                                so many messages and at its end
//! ```

use async_nats::{HeaderMap, Subject};
use serde::Deserialize;

/// Messages of one atomic batch at most. A server takes 1,000 unless it is told otherwise; ours is, since
/// each batch costs it a handful of syncs and files, however large it is.
pub const ATOMIC_BATCH_MAX: usize = 5_000;

/// Messages after which a fast batch is answered at the latest; at its end it is answered anyway.
const FAST_FLOW: u16 = 500;
/// Which token of a fast batch's reply subject is its first ordinal: an inbox has two.
const FAST_FIRST_TOKEN: usize = 2;

/// What a message of a fast batch is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FastOp {
    /// The first one: it begins the batch.
    Start = 0,
    /// One more.
    Append = 1,
    /// The last one, which may be the first, too.
    Commit = 2,
}

impl FastOp {
    /// That of message `at` (from 0) of `count`.
    pub fn of(at: usize, count: usize) -> Self {
        match at {
            at if at + 1 == count => FastOp::Commit,
            0 => FastOp::Start,
            _ => FastOp::Append,
        }
    }
}

/// The headers of message `sequence` (from 1) of an atomic batch.
pub fn atomic_headers(batch: &str, sequence: usize, last: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Batch-Id", batch);
    headers.insert("Nats-Batch-Sequence", sequence.to_string());
    if last {
        headers.insert("Nats-Batch-Commit", "1");
    }
    headers
}

/// Where the answer for everything up to `ordinal` goes.
pub fn ordinal_reply(inbox: &str, ordinal: u64) -> Subject {
    Subject::from(format!("{inbox}.{ordinal}"))
}

/// The reply subject of message `at` (from 0) of a fast batch of `count` that begins with ordinal
/// `first`; a lost message ends the batch.
pub fn fast_reply(inbox: &str, first: u64, at: usize, count: usize) -> Subject {
    let op = FastOp::of(at, count) as u8;
    Subject::from(format!("{inbox}.{first}.{FAST_FLOW}.fail.{}.{op}.$FI", at + 1))
}

/// What an answer of JetStream means.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Everything before this ordinal (from 0) is stored.
    Stored(u64),
    /// Nothing yet: the server only says that it listens.
    Listening,
    /// It was not stored.
    Refused(String),
}

#[derive(Deserialize)]
struct Body {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    count: u64,
    error: Option<Trouble>,
}

#[derive(Deserialize)]
struct Trouble {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Reads the answer that came to a subject made by [`ordinal_reply`].
pub fn ordinal_answer(subject: &str, body: &[u8]) -> Answer {
    let ordinal = subject.rsplit('.').next().and_then(|last| last.parse::<u64>().ok());
    match (parse(body), ordinal) {
        (Err(why), _) => Answer::Refused(why),
        (Ok(_), Some(ordinal)) => Answer::Stored(ordinal + 1),
        (Ok(_), None) => Answer::Refused(format!("an answer to {subject}, which nobody asked for")),
    }
}

/// Reads the answer that came to a subject made by [`fast_reply`].
pub fn fast_answer(subject: &str, body: &[u8]) -> Answer {
    let first =
        subject.split('.').nth(FAST_FIRST_TOKEN).and_then(|token| token.parse::<u64>().ok());
    match (parse(body), first) {
        (Err(why), _) => Answer::Refused(why),
        (Ok(_), None) => Answer::Refused(format!("an answer to {subject}, which nobody asked for")),
        // The last answer is a publish ack, and says how many messages the batch has.
        (Ok(Body { kind, count, .. }), Some(first)) if kind.is_empty() && count > 0 => {
            Answer::Stored(first + count)
        }
        (Ok(Body { kind, seq, .. }), Some(first)) if kind == "ack" => match seq {
            0 => Answer::Listening,
            stored => Answer::Stored(first + stored),
        },
        (Ok(Body { kind, seq, .. }), _) => {
            Answer::Refused(format!("{kind:?} at message {seq} of a batch"))
        }
    }
}

fn parse(body: &[u8]) -> Result<Body, String> {
    let answer: Body = serde_json::from_slice(body).map_err(|error| {
        format!(
            "JetStream answered something else than JSON ({error}): {}",
            String::from_utf8_lossy(body)
        )
    })?;
    match answer.error {
        Some(Trouble { err_code, description }) => {
            Err(format!("JetStream says {err_code}: {description}"))
        }
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_told_by_its_headers() {
        let first = atomic_headers("b-7", 1, false);
        assert_eq!(first.get("Nats-Batch-Id").map(|value| value.as_str()), Some("b-7"));
        assert_eq!(first.get("Nats-Batch-Sequence").map(|value| value.as_str()), Some("1"));
        assert!(first.get("Nats-Batch-Commit").is_none(), "only the last one commits");
        let last = atomic_headers("b-7", 1_000, true);
        assert_eq!(last.get("Nats-Batch-Sequence").map(|value| value.as_str()), Some("1000"));
        assert_eq!(last.get("Nats-Batch-Commit").map(|value| value.as_str()), Some("1"));
    }

    #[test]
    fn a_fast_batch_is_told_by_its_reply_subjects() {
        let replies = |count| -> Vec<String> {
            (0..count).map(|at| fast_reply("_INBOX.x", 70, at, count).to_string()).collect()
        };
        let three = ["1.0", "2.1", "3.2"].map(|end| format!("_INBOX.x.70.500.fail.{end}.$FI"));
        assert_eq!(replies(3), three);
        assert_eq!(replies(1), ["_INBOX.x.70.500.fail.1.2.$FI"], "one message begins and ends it");
    }

    #[test]
    fn answers_say_how_far_all_is_stored() {
        let stored = br#"{"stream":"IN","seq":12}"#;
        assert_eq!(ordinal_answer(&ordinal_reply("_INBOX.x", 41), stored), Answer::Stored(42));
        let error = br#"{"error":{"code":400,"err_code":10176,"description":"incomplete"}}"#;
        let refused = Answer::Refused("JetStream says 10176: incomplete".into());
        assert_eq!(ordinal_answer("_INBOX.x.3", error), refused);
        let reply = fast_reply("_INBOX.x", 1_000, 399, 400);
        let fast = |body: &[u8]| fast_answer(&reply, body);
        assert_eq!(fast(error), refused);
        assert_eq!(fast(br#"{"type":"ack","seq":0,"msgs":100}"#), Answer::Listening);
        assert_eq!(fast(br#"{"type":"ack","seq":300,"msgs":100}"#), Answer::Stored(1_300));
        let end = br#"{"stream":"IN","seq":7400,"batch":"x","count":400}"#;
        assert_eq!(fast(end), Answer::Stored(1_400));
        assert!(matches!(fast(br#"{"type":"gap","last_seq":3,"seq":9}"#), Answer::Refused(_)));
        assert!(matches!(fast(b"no responders"), Answer::Refused(_)));
        assert!(matches!(fast_answer("elsewhere", end), Answer::Refused(_)));
        assert!(matches!(ordinal_answer("elsewhere", stored), Answer::Refused(_)));
    }
}

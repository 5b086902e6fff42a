//! What is said to JetStream and what it answers, as bytes: pure. ADR-50 of NATS describes both
//! kinds of batches.
//!
//! ```text
//! async        reply  <inbox>.<ordinal>                          answer: a publish ack each
//! atomic       header Nats-Batch-Id, Nats-Batch-Sequence, on the last Nats-Batch-Commit: 1
//!              reply  <inbox>.<ordinal of the last>              answer: a publish ack for all of it
//! fast ingest  reply  <inbox>.<flow>.<gap>.<sequence>.<op>.$FI   answer: how far all is stored,
//!                                                                every so many messages or when asked
//! ```

use async_nats::{HeaderMap, Subject};
use serde::Deserialize;

/// Messages of one atomic batch at most. A server takes 1,000 unless it is told otherwise; ours is, since
/// each batch costs it a handful of syncs and files, however large it is.
pub const ATOMIC_BATCH_MAX: usize = 5_000;

/// What a message of a fast batch is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FastOp {
    /// The first one: it begins the batch.
    Start = 0,
    /// One more.
    Append = 1,
    /// No message at all but the end of the batch.
    End = 3,
    /// No message either: asks how far all is stored.
    Ping = 4,
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

/// The reply subject of message `sequence` (from 1) of a fast batch; a lost one ends the batch.
pub fn fast_reply(inbox: &str, flow: u16, sequence: u64, op: FastOp) -> Subject {
    Subject::from(format!("{inbox}.{flow}.fail.{sequence}.{}.$FI", op as u8))
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

/// Reads what came to the inbox of a fast batch.
pub fn fast_answer(body: &[u8]) -> Answer {
    match parse(body) {
        Err(why) => Answer::Refused(why),
        Ok(Body { kind, seq: 0, .. }) if kind == "ack" => Answer::Listening,
        Ok(Body { kind, seq, .. }) if kind == "ack" => Answer::Stored(seq),
        Ok(Body { kind, .. }) if kind.is_empty() => Answer::Listening,
        Ok(Body { kind, seq, .. }) => {
            Answer::Refused(format!("{kind} at message {seq} of the batch"))
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
        let reply = |sequence, op| fast_reply("_INBOX.x", 500, sequence, op).to_string();
        assert_eq!(reply(1, FastOp::Start), "_INBOX.x.500.fail.1.0.$FI");
        assert_eq!(reply(2, FastOp::Append), "_INBOX.x.500.fail.2.1.$FI");
        assert_eq!(reply(2, FastOp::Ping), "_INBOX.x.500.fail.2.4.$FI");
        assert_eq!(reply(3, FastOp::End), "_INBOX.x.500.fail.3.3.$FI");
    }

    #[test]
    fn answers_say_how_far_all_is_stored() {
        let stored = br#"{"stream":"IN","seq":12}"#;
        assert_eq!(ordinal_answer(&ordinal_reply("_INBOX.x", 41), stored), Answer::Stored(42));
        let error = br#"{"error":{"code":400,"err_code":10176,"description":"incomplete"}}"#;
        let refused = Answer::Refused("JetStream says 10176: incomplete".into());
        assert_eq!(ordinal_answer("_INBOX.x.3", error), refused);
        assert_eq!(fast_answer(error), refused);
        assert_eq!(fast_answer(br#"{"type":"ack","seq":0,"msgs":100}"#), Answer::Listening);
        assert_eq!(fast_answer(br#"{"type":"ack","seq":400,"msgs":100}"#), Answer::Stored(400));
        assert!(matches!(
            fast_answer(br#"{"type":"gap","last_seq":3,"seq":9}"#),
            Answer::Refused(_)
        ));
        assert!(matches!(fast_answer(b"no responders"), Answer::Refused(_)));
        assert!(matches!(ordinal_answer("elsewhere", stored), Answer::Refused(_)));
    }
}

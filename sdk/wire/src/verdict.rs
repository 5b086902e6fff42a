//! The verdict of every event of a batch, as it is answered, recorded and answered again.
//!
//! Promises: `encode` and `decode` are inverse; the bytes in the commit record are the bytes on
//! the wire. Not here: who decides.

use prost::Message;

use crate::proto;
use crate::proto::verdict_run::Verdict as Wire;

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// In the log (as it was sent, or as a plugin replaced it).
    Accepted,
    /// Taken away by a plugin without a complaint.
    Dropped {
        /// Which plugin dropped it.
        plugin: String,
    },
    /// Refused, with a reason for its publisher.
    Rejected(Rejection),
    /// Innocent, but its all-or-nothing batch was refused.
    Aborted,
}

/// Why an event was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The plugin that refused.
    pub plugin: String,
    /// The plugin's stable code; of a fault: `plugin-trap`, `plugin-timeout` and so on.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// When trying again can help.
    pub retry_after_ms: Option<u64>,
    /// The plugin did not say no: it failed, and its failure policy is `closed`.
    pub fault: bool,
}

/// The verdicts of a batch in batch order, equal neighbours as one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdicts {
    runs: Vec<(u32, Verdict)>,
    events: u32,
    accepted: u32,
}

/// Bytes that are not verdicts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a list of verdicts: {0}")]
pub struct InvalidVerdicts(&'static str);

impl Verdicts {
    /// All `events` accepted.
    pub fn all_accepted(events: u32) -> Self {
        let mut verdicts = Self::default();
        verdicts.push_many(events, Verdict::Accepted);
        verdicts
    }

    /// Adds one that is accepted.
    #[inline]
    pub fn push_accepted(&mut self) {
        match self.runs.last_mut() {
            Some((run, Verdict::Accepted)) => {
                *run += 1;
                self.events += 1;
                self.accepted += 1;
            }
            _ => self.push_many(1, Verdict::Accepted),
        }
    }

    /// Adds the verdict of the next event.
    pub fn push(&mut self, verdict: Verdict) {
        self.push_many(1, verdict);
    }

    /// Adds the verdict of the next `count` events.
    pub fn push_many(&mut self, count: u32, verdict: Verdict) {
        if count == 0 {
            return;
        }
        self.events += count;
        if verdict == Verdict::Accepted {
            self.accepted += count;
        }
        match self.runs.last_mut() {
            Some((run, same)) if *same == verdict => *run += count,
            _ => self.runs.push((count, verdict)),
        }
    }

    /// How many events.
    pub fn len(&self) -> u32 {
        self.events
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }
    /// How many were accepted.
    pub fn accepted(&self) -> u32 {
        self.accepted
    }
    /// Whether all were accepted.
    pub fn are_all_accepted(&self) -> bool {
        self.accepted == self.events
    }
    /// The runs: how many neighbours share which verdict.
    pub fn runs(&self) -> impl Iterator<Item = (u32, &Verdict)> {
        self.runs.iter().map(|(count, verdict)| (*count, verdict))
    }
    /// One verdict per event, in batch order.
    pub fn iter(&self) -> impl Iterator<Item = &Verdict> {
        self.runs.iter().flat_map(|(count, verdict)| std::iter::repeat_n(verdict, *count as usize))
    }
    /// The verdicts of the events `from..from + count`; shorter where there are no more.
    pub fn slice(&self, from: u32, count: u32) -> Self {
        let (mut skip, mut left) = (from, count);
        let mut part = Self::default();
        for (run, verdict) in self.runs() {
            let skipped = skip.min(run);
            skip -= skipped;
            let taken = left.min(run - skipped);
            left -= taken;
            part.push_many(taken, verdict.clone());
        }
        part
    }
    /// Adds all of `other` behind.
    pub fn append(&mut self, other: Self) {
        for (count, verdict) in other.runs {
            self.push_many(count, verdict);
        }
    }

    /// The bytes of `weir.v1.Verdicts`.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_to(&mut bytes);
        bytes
    }

    /// Adds the bytes of `weir.v1.Verdicts` to `out`.
    // By hand, since prost's message would want a copy of every text: these are the bytes of most
    // commits in which anything was refused.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        for (count, verdict) in self.runs() {
            let verdict_bytes = verdict_bytes(verdict);
            let run_bytes = 1
                + varint_bytes(count.into())
                + 1
                + varint_bytes(verdict_bytes as u64)
                + verdict_bytes;
            out.push(field(1, LENGTH_DELIMITED));
            push_varint(run_bytes as u64, out);
            out.push(field(1, VARINT));
            push_varint(count.into(), out);
            let number = match verdict {
                Verdict::Accepted => 2,
                Verdict::Dropped { .. } => 3,
                Verdict::Rejected(_) => 4,
                Verdict::Aborted => 5,
            };
            out.push(field(number, LENGTH_DELIMITED));
            push_varint(verdict_bytes as u64, out);
            match verdict {
                Verdict::Accepted | Verdict::Aborted => {}
                Verdict::Dropped { plugin } => push_text(out, 1, plugin),
                Verdict::Rejected(why) => {
                    push_text(out, 1, &why.plugin);
                    push_text(out, 2, &why.code);
                    push_text(out, 3, &why.message);
                    if let Some(after_ms) = why.retry_after_ms {
                        out.push(field(4, VARINT));
                        push_varint(after_ms, out);
                    }
                    if why.fault {
                        out.extend_from_slice(&[field(5, VARINT), 1]);
                    }
                }
            }
        }
    }

    /// Reads the bytes of `weir.v1.Verdicts` that speak of at most `events_max` events.
    pub fn decode(bytes: &[u8], events_max: u32) -> Result<Self, InvalidVerdicts> {
        let wire = proto::Verdicts::decode(bytes).map_err(|_| InvalidVerdicts("not protobuf"))?;
        Self::from_proto(wire, events_max)
    }

    /// Takes over a decoded message that speaks of at most `events_max` events.
    pub fn from_proto(wire: proto::Verdicts, events_max: u32) -> Result<Self, InvalidVerdicts> {
        let mut verdicts = Self::default();
        for run in wire.runs {
            if run.count == 0 || run.count > events_max - verdicts.events {
                return Err(InvalidVerdicts("more events than were sent, or an empty run"));
            }
            let verdict = match run.verdict.ok_or(InvalidVerdicts("a run without a verdict"))? {
                Wire::Accepted(_) => Verdict::Accepted,
                Wire::Dropped(dropped) => Verdict::Dropped { plugin: dropped.plugin },
                Wire::Aborted(_) => Verdict::Aborted,
                Wire::Rejected(rejected) => Verdict::Rejected(Rejection {
                    plugin: rejected.plugin,
                    code: rejected.code,
                    message: rejected.message,
                    retry_after_ms: rejected.retry_after_ms,
                    fault: rejected.fault,
                }),
            };
            verdicts.push_many(run.count, verdict);
        }
        Ok(verdicts)
    }
}

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// How protobuf announces a field with a number below 16.
const fn field(number: u8, wire_type: u8) -> u8 {
    number << 3 | wire_type
}

/// Bytes of the message of one verdict.
fn verdict_bytes(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Accepted | Verdict::Aborted => 0,
        Verdict::Dropped { plugin } => text_bytes(plugin),
        Verdict::Rejected(why) => {
            let retry_after = why.retry_after_ms.map_or(0, |ms| 1 + varint_bytes(ms));
            let fault = if why.fault { 2 } else { 0 };
            let texts = [&why.plugin, &why.code, &why.message].map(|text| text_bytes(text));
            texts.iter().sum::<usize>() + retry_after + fault
        }
    }
}

/// Bytes of a text field; an empty one is left out, as proto3 has it.
fn text_bytes(text: &str) -> usize {
    if text.is_empty() { 0 } else { 1 + varint_bytes(text.len() as u64) + text.len() }
}

fn push_text(out: &mut Vec<u8>, number: u8, text: &str) {
    if !text.is_empty() {
        out.push(field(number, LENGTH_DELIMITED));
        push_varint(text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Adds an unsigned varint.
fn push_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many bytes that takes.
fn varint_bytes(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

impl From<&Verdicts> for proto::Verdicts {
    fn from(verdicts: &Verdicts) -> Self {
        let run = |(count, verdict): (u32, &Verdict)| proto::VerdictRun {
            count,
            verdict: Some(match verdict {
                Verdict::Accepted => Wire::Accepted(proto::Accepted {}),
                Verdict::Dropped { plugin } => {
                    Wire::Dropped(proto::Dropped { plugin: plugin.clone() })
                }
                Verdict::Aborted => Wire::Aborted(proto::Aborted {}),
                Verdict::Rejected(why) => Wire::Rejected(proto::Rejected {
                    plugin: why.plugin.clone(),
                    code: why.code.clone(),
                    message: why.message.clone(),
                    retry_after_ms: why.retry_after_ms,
                    fault: why.fault,
                }),
            }),
        };
        Self { runs: verdicts.runs().map(run).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn retry_after_ms() -> impl Strategy<Value = Option<u64>> {
        proptest::option::of(prop_oneof![0u64..3, any::<u64>()])
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Accepted),
            Just(Verdict::Aborted),
            "[a-c]{1}".prop_map(|plugin| Verdict::Dropped { plugin }),
            ("[a-c]{0,1}", ".{0,200}", retry_after_ms(), any::<bool>()).prop_map(
                |(code, message, retry_after_ms, fault)| Verdict::Rejected(Rejection {
                    plugin: "p".into(),
                    code,
                    message,
                    retry_after_ms,
                    fault,
                })
            ),
        ]
    }

    proptest! {
        #[test]
        fn verdicts_round_trip(all in proptest::collection::vec(any_verdict(), 0..50)) {
            let mut verdicts = Verdicts::default();
            all.iter().cloned().for_each(|verdict| verdicts.push(verdict));
            prop_assert_eq!(verdicts.len() as usize, all.len());
            prop_assert_eq!(verdicts.encode(), proto::Verdicts::from(&verdicts).encode_to_vec());
            prop_assert_eq!(&Verdicts::decode(&verdicts.encode(), verdicts.len()).unwrap(), &verdicts);
            let again: Vec<_> = verdicts.iter().cloned().collect();
            prop_assert_eq!(again, all);
        }

        #[test]
        fn a_slice_and_the_rest_are_the_whole(all in proptest::collection::vec(any_verdict(), 0..50), at in 0u32..60) {
            let mut verdicts = Verdicts::default();
            all.into_iter().for_each(|verdict| verdicts.push(verdict));
            let mut halves = verdicts.slice(0, at);
            halves.append(verdicts.slice(at, u32::MAX));
            prop_assert_eq!(halves, verdicts);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Verdicts::decode(&bytes, 1000);
        }
    }
}

//! Since which offset a version judges: recorded in the note of a chain's commit, beside the chain.
//!
//! ```text
//! { "revision": 3, "bindings": [...], "since": { "daily-limit": { "version": 2, "digest": "ab..", "offset": 98 } } }
//! ```
//! Promises: a version that stays over a change keeps its offset; a note that is no JSON object stays
//! as it is, and one without offsets, as they were written before, gives none.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_wire::ids::{Digest, Offset, PluginName};

use crate::chain::Judge;

const SINCE: &str = "since";

/// A version at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Since {
    version: u32,
    digest: Digest,
    offset: Offset,
}

/// What a note says; nothing if it does not.
pub(crate) fn since(note: &[u8]) -> BTreeMap<PluginName, Since> {
    #[derive(Deserialize)]
    struct Note {
        #[serde(default)]
        since: BTreeMap<PluginName, Since>,
    }
    serde_json::from_slice(note).map_or_else(|_| BTreeMap::new(), |note: Note| note.since)
}

/// The offset from which on this component judges, if the note says so.
pub(crate) fn since_of(note: &[u8], judge: &Judge) -> Option<Offset> {
    let at_work = since(note).remove(&judge.plugin)?;
    at_work.is(judge).then_some(at_work.offset)
}

/// The note of a chain that takes effect at `offset`, where `before` was the note of the last one.
pub(crate) fn noted<'j>(
    note: Bytes,
    before: &[u8],
    judges: impl Iterator<Item = &'j Judge>,
    offset: Offset,
) -> Bytes {
    let before = since(before);
    let began = |judge: &Judge| match before.get(&judge.plugin) {
        Some(at_work) if at_work.is(judge) => *at_work,
        _ => Since { version: judge.version, digest: judge.digest, offset },
    };
    let now: BTreeMap<_, _> = judges.map(|judge| (judge.plugin.clone(), began(judge))).collect();
    if now.is_empty() {
        return note;
    }
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_slice(&note) else {
        return note;
    };
    match serde_json::to_value(now) {
        Ok(now) => drop(fields.insert(SINCE.to_owned(), now)),
        Err(_) => return note,
    }
    serde_json::to_vec(&fields).map_or(note, Bytes::from)
}

impl Since {
    fn is(&self, judge: &Judge) -> bool {
        (self.version, self.digest) == (judge.version, judge.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(plugin: &str, version: u32) -> Judge {
        let plugin = PluginName::parse(plugin).expect("a name");
        Judge { plugin, version, digest: Digest([version as u8; 32]) }
    }

    #[test]
    fn a_version_that_stays_keeps_its_offset() {
        let note = |revision: u64| Bytes::from(format!("{{\"revision\":{revision}}}"));
        let first = noted(note(1), b"", [&judge("limit", 1)].into_iter(), Offset(5));
        let two = [&judge("audit", 1), &judge("limit", 1)];
        let second = noted(note(2), &first, two.into_iter(), Offset(9));
        assert_eq!(since_of(&second, &judge("limit", 1)), Some(Offset(5)));
        assert_eq!(since_of(&second, &judge("audit", 1)), Some(Offset(9)));
        let third = noted(note(3), &second, [&judge("limit", 2)].into_iter(), Offset(12));
        assert_eq!(since_of(&third, &judge("limit", 2)), Some(Offset(12)));
        assert_eq!(since_of(&third, &judge("limit", 1)), None);
        assert_eq!(since_of(&third, &judge("audit", 1)), None);
    }

    #[test]
    fn what_says_nothing_stays_as_it_is() {
        for text in ["", "no chain", "[1]", "{\"revision\":1}"] {
            assert_eq!(since_of(text.as_bytes(), &judge("limit", 1)), None, "{text}");
            let note = Bytes::from_static(text.as_bytes());
            assert_eq!(noted(note.clone(), b"", [].into_iter(), Offset(1)), note);
        }
        let judges = [judge("limit", 1)];
        assert_eq!(noted(Bytes::from_static(b"[1]"), b"", judges.iter(), Offset(1)), "[1]");
    }
}

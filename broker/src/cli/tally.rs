//! What became of the events of `weir publish` or of a redrive: counted, and with `--rejected` written down.
//!
//! Promises: `sent` is the sum of all the others.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use weir_client::{ClientError, Outcome, Verdict};

use super::Failure;
use crate::table::thousands;

/// The code of an innocent event of a refused all-or-nothing batch.
const ABORTED: &str = "aborted";

/// The summary.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Events handed to the broker.
    pub sent: u64,
    /// In the log.
    pub accepted: u64,
    /// Taken away by a plugin.
    pub dropped: u64,
    /// Refused, by code.
    pub rejected: BTreeMap<String, u64>,
    /// May be in the log or not: the answer was lost for good.
    pub unknown: u64,
    /// Not judged, since the broker could not: only there if there are any.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where in a file an event stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Counted from 1.
    pub line: u64,
}

/// One refused event, as a line of the `--rejected` file.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Refused<'o, P> {
    #[serde(flatten)]
    place: P,
    code: &'o str,
    message: &'o str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Tally {
    /// Counts what became of the event at `place`; gives the refusal, if it is one.
    pub fn count<'o, P>(
        &mut self,
        place: P,
        outcome: &'o Result<Outcome, ClientError>,
    ) -> Option<Refused<'o, P>> {
        self.sent += 1;
        let refused = match outcome.as_ref().map(|outcome| &outcome.verdict) {
            Ok(Verdict::Accepted) => {
                self.accepted += 1;
                return None;
            }
            Ok(Verdict::Dropped { .. }) => {
                self.dropped += 1;
                return None;
            }
            Err(ClientError::Unknown) => {
                self.unknown += 1;
                return None;
            }
            Err(_) => {
                self.failed += 1;
                return None;
            }
            Ok(Verdict::Rejected(why)) => Refused {
                place,
                code: &why.code,
                message: &why.message,
                plugin: Some(&why.plugin),
                retry_after_ms: why.retry_after_ms,
            },
            Ok(Verdict::Aborted) => Refused {
                place,
                code: ABORTED,
                message: "another event of its all-or-nothing batch was refused",
                plugin: None,
                retry_after_ms: None,
            },
        };
        match self.rejected.get_mut(refused.code) {
            Some(count) => *count += 1,
            None => drop(self.rejected.insert(refused.code.to_owned(), 1)),
        }
        Some(refused)
    }

    /// The summary for people.
    pub fn table(&self) -> String {
        let rejected = self.rejected.values().sum();
        let mut rows = vec![
            ("sent".to_owned(), self.sent),
            ("accepted".to_owned(), self.accepted),
            ("dropped".to_owned(), self.dropped),
            ("rejected".to_owned(), rejected),
        ];
        rows.extend(self.rejected.iter().map(|(code, count)| (format!("  {code}"), *count)));
        rows.push(("unknown".to_owned(), self.unknown));
        if 0 < self.failed {
            rows.push(("failed".to_owned(), self.failed));
        }
        let names = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        let row =
            |(name, count): &(String, u64)| format!("{name:<names$}  {:>11}\n", thousands(*count));
        rows.iter().map(row).collect()
    }
}

/// The `--rejected` file; without one, nothing is written.
pub struct RefusedFile {
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl RefusedFile {
    /// Makes the file, empty; an old one is replaced.
    pub fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let create = |path: &Path| match File::create(path) {
            Ok(file) => Ok((path.to_owned(), BufWriter::new(file))),
            Err(error) => Err(unwritable(path, &error)),
        };
        Ok(Self { file: path.map(create).transpose()? })
    }

    /// Adds a line.
    pub fn write<P: Serialize>(&mut self, refused: &Refused<'_, P>) -> Result<(), Failure> {
        self.with(|file| {
            serde_json::to_writer(&mut *file, refused)?;
            file.write_all(b"\n")
        })
    }

    /// Hands all lines to the operating system.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.with(BufWriter::flush)
    }

    fn with(
        &mut self,
        act: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        act(file).map_err(|error| unwritable(path, &error))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!(
        "cannot write {}: {error}; choose another --rejected file",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use weir_client::Rejection;
    use weir_wire::fault::{Code, Fault};
    use weir_wire::ids::{ChainRevision, PartitionId, Timestamp};

    fn judged(verdict: Verdict) -> Result<Outcome, ClientError> {
        Ok(Outcome {
            partition: PartitionId(0),
            verdict,
            offset: None,
            partition_time: Timestamp(0),
            chain_revision: ChainRevision(1),
            is_durable: true,
            is_duplicate: false,
            is_consumed: false,
        })
    }

    fn rejected(code: &str, retry_after_ms: Option<u64>) -> Result<Outcome, ClientError> {
        judged(Verdict::Rejected(Rejection {
            plugin: "daily-limit".to_owned(),
            code: code.to_owned(),
            message: "N14228 has had its 2 of today".to_owned(),
            retry_after_ms,
            fault: false,
        }))
    }

    #[test]
    fn every_event_is_counted_once_and_refusals_are_lines() {
        let outcomes = [
            judged(Verdict::Accepted),
            rejected("daily-limit", Some(1000)),
            judged(Verdict::Dropped { plugin: "p".to_owned() }),
            rejected("no-key", None),
            rejected("daily-limit", None),
            judged(Verdict::Aborted),
            Err(ClientError::Unknown),
            Err(ClientError::Fault(Fault::new(Code::StorageFull, "full"))),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refused.jsonl");
        let mut file = RefusedFile::create(Some(&path)).unwrap();
        let mut tally = Tally::default();
        for (line, outcome) in (1..).zip(&outcomes) {
            if let Some(refused) = tally.count(Line { line }, outcome) {
                file.write(&refused).unwrap();
            }
        }
        file.flush().unwrap();
        expect![[r#"
            {"line":2,"code":"daily-limit","message":"N14228 has had its 2 of today","plugin":"daily-limit","retry_after_ms":1000}
            {"line":4,"code":"no-key","message":"N14228 has had its 2 of today","plugin":"daily-limit"}
            {"line":5,"code":"daily-limit","message":"N14228 has had its 2 of today","plugin":"daily-limit"}
            {"line":6,"code":"aborted","message":"another event of its all-or-nothing batch was refused"}
        "#]].assert_eq(&std::fs::read_to_string(&path).unwrap());
        expect![[r#"{"sent":8,"accepted":1,"dropped":1,"rejected":{"aborted":1,"daily-limit":2,"no-key":1},"unknown":1,"failed":1}"#]].assert_eq(&serde_json::to_string(&tally).unwrap());
        expect![[r#"
            sent                     8
            accepted                 1
            dropped                  1
            rejected                 4
              aborted                1
              daily-limit            2
              no-key                 1
            unknown                  1
            failed                   1
        "#]]
        .assert_eq(&tally.table());
        let others = tally.accepted + tally.dropped + tally.unknown + tally.failed;
        assert_eq!(tally.sent, others + tally.rejected.values().sum::<u64>());
    }

    #[test]
    fn a_summary_without_failures_has_the_promised_fields_only() {
        expect![[r#"{"sent":0,"accepted":0,"dropped":0,"rejected":{},"unknown":0}"#]]
            .assert_eq(&serde_json::to_string(&Tally::default()).unwrap());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let Err(failure) = RefusedFile::create(Some(Path::new("/nowhere/x"))) else { panic!() };
        expect!["cannot write /nowhere/x: No such file or directory (os error 2); choose another --rejected file"].assert_eq(&failure.to_string());
    }
}

//! What a consumer reads, and how.

use std::time::Duration;

use weir_wire::filter::Filter;
use weir_wire::ids::{GroupName, Offset, PartitionId, Timestamp};

use crate::error::ClientError;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// At the first event that is still there.
    #[default]
    Earliest,
    /// Behind the last: only what comes from now on.
    Latest,
    /// At this offset of every partition that is read.
    Offset(Offset),
    /// At the first event whose own timestamp is this or later, in ms since 1970.
    Time(Timestamp),
    /// Where the options' group committed; at the earliest where it never did.
    Committed,
}

/// Where to end. It is settled when the consumer is opened: a partition that has not come so far by
/// then ends where it ends then, so a reading with an end always ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Before this offset of every partition that is read.
    Offset(Offset),
    /// Before the first event whose own timestamp is this or later, in ms since 1970.
    Time(Timestamp),
}

/// What to do where the next event to be read is not there any more: retention has removed it. (An
/// offset behind the end of its partition was never there, and is always the fault
/// `offset-out-of-range`.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// The partition ends with the fault `offset-out-of-range`.
    Error,
    /// Reading goes on at the first event that is still there. What was passed over is counted
    /// ([`Consumer::skipped`](super::Consumer::skipped)) and logged as a warning.
    Earliest,
    /// The same behind the last event there is.
    Latest,
}

/// What a consumer reads, and how.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Which partitions; `None`: all, or with a `group` the share of them that the broker assigns
    /// to this member of it.
    pub partitions: Option<Vec<PartitionId>>,
    /// Where to begin.
    pub from: From,
    /// End where the partitions ended when the consumer was opened, instead of following them.
    pub until_end: bool,
    /// End there, or at that end if it is nearer.
    pub until: Option<Until>,
    /// What to do where the next event was removed. `None`: [`OnMissing::Error`] where `from` is an
    /// offset, since somebody wanted that one; elsewhere [`OnMissing::Earliest`].
    pub on_missing: Option<OnMissing>,
    /// Whose committed offsets to read and write; needed by [`From::Committed`], `auto_commit` and
    /// [`Consumer::commit`](super::Consumer::commit).
    pub group: Option<GroupName>,
    /// Commit by itself, so often; `None`: only when told to. What is committed is what the caller
    /// has finished: everything it was given before its last call of `next` (or `next_batch`, or
    /// poll of the stream), and of what came with a [`Receipt`](super::Receipt) what is done. So
    /// delivery stays at least once: a crash brings the last interval's events again and skips
    /// none. What is finished is also committed when a partition is to become another member's, and
    /// by [`Consumer::close`](super::Consumer::close); nothing is by dropping. At least 10 ms; each
    /// commit is one write to the broker's disk, so a second or more is kind to it.
    pub auto_commit: Option<Duration>,
    /// Which events the broker sends; the others are passed over, and count as finished.
    pub filter: Option<Filter>,
    /// Bytes the broker sends at a time, per partition. 256 KiB: a few batches.
    pub chunk_bytes: u32,
    /// How long a partition may be out of reach before
    /// [`Consumer::next`](super::Consumer::next) says so and gives it up. 120 s: a broker's restart
    /// with recovery.
    pub outage_timeout: Duration,
    /// As a member of a group: how long the broker may hear nothing before others get this member's
    /// partitions. 10 s; 1 s to 5 minutes.
    pub session_timeout: Duration,
    /// As a member of a group: how long the caller may take to commit what it was given of a
    /// partition that another member is to get. Then that one gets it all the same, and what was not
    /// committed a second time. 5 s.
    pub release_timeout: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            partitions: None,
            from: From::Earliest,
            until_end: false,
            until: None,
            on_missing: None,
            group: None,
            auto_commit: None,
            filter: None,
            chunk_bytes: 256 << 10,
            outage_timeout: Duration::from_secs(120),
            session_timeout: Duration::from_secs(10),
            release_timeout: Duration::from_secs(5),
        }
    }
}

/// A commit is a write to the broker's disk: more of them than this are a mistake.
const AUTO_COMMIT_MIN: Duration = Duration::from_millis(10);

impl ConsumerOptions {
    /// What to do where an event is missing, whoever said so.
    pub(super) fn on_missing(&self) -> OnMissing {
        self.on_missing.unwrap_or(match self.from {
            From::Offset(_) => OnMissing::Error,
            From::Earliest | From::Latest | From::Time(_) | From::Committed => OnMissing::Earliest,
        })
    }

    /// Whether the reading has an end.
    pub(super) fn ends(&self) -> bool {
        self.until_end || self.until.is_some()
    }

    /// Refuses what means nothing.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        let wrong = |sentence: &str| Err(ClientError::Config(sentence.to_owned()));
        match self {
            Self { from: From::Committed, group: None, .. } => {
                wrong("reading from committed offsets needs a group; name one in the options")
            }
            Self { auto_commit: Some(_), group: None, .. } => {
                wrong("automatic commits need a group; name one in the options")
            }
            Self { auto_commit: Some(interval), .. } if *interval < AUTO_COMMIT_MIN => {
                wrong("auto_commit has to be 10 ms or more; each commit is a write to a disk")
            }
            _ => Ok(()),
        }
    }
}

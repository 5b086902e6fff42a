//! Counts of events judged since the partition was opened.

use weir_wire::verdict::{Verdict, Verdicts};

/// Events judged, by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// In the log.
    pub accepted: u64,
    /// Taken away by a plugin.
    pub dropped: u64,
    /// Refused by a plugin.
    pub rejected: u64,
    /// Refused because a plugin failed.
    pub faulted: u64,
    /// Let pass although a plugin failed.
    pub passed_open: u64,
    /// Innocent ones of a refused batch.
    pub aborted: u64,
    /// Answered from the record.
    pub duplicates: u64,
}

impl Counts {
    /// Adds what was just judged.
    pub(crate) fn judged(&mut self, verdicts: &Verdicts) {
        for (count, verdict) in verdicts.runs() {
            let counter = match verdict {
                Verdict::Accepted => &mut self.accepted,
                Verdict::Dropped { .. } => &mut self.dropped,
                Verdict::Rejected(why) if why.fault => &mut self.faulted,
                Verdict::Rejected(_) => &mut self.rejected,
                Verdict::Aborted => &mut self.aborted,
            };
            *counter += u64::from(count);
        }
    }
}

//! Counts of events judged since the partition was opened.

use weir_wire::admin::JudgedCounts;
use weir_wire::verdict::{Verdict, Verdicts};

/// Adds what was just judged.
pub(crate) fn add(counts: &mut JudgedCounts, verdicts: &Verdicts) {
    for (count, verdict) in verdicts.runs() {
        let counter = match verdict {
            Verdict::Accepted => &mut counts.accepted,
            Verdict::Dropped { .. } => &mut counts.dropped,
            Verdict::Rejected(why) if why.fault => &mut counts.faulted,
            Verdict::Rejected(_) => &mut counts.rejected,
            Verdict::Aborted => &mut counts.aborted,
        };
        *counter += u64::from(count);
    }
}

//! How much of a log is cleaned, and when: retention and compaction as one decision.
//!
//! Retention counts from when an event was stored (partition time), not from the event's own
//! timestamp: a publisher cannot make its events go sooner or stay longer. Compaction waits until half
//! of what could be cleaned is dirty, as Kafka's `min.cleanable.dirty.ratio` of 0.5 does, so that each
//! byte is copied a bounded number of times.
//!
//! Promises: pure; nothing goes before its time, and never what is not sealed.

use weir_log::Stretch;
use weir_wire::ids::{Offset, Position, Timestamp};
use weir_wire::retention::Retention;

/// A topic's retention is kept in so many steps: what is stored may stay longer by one of them.
const STEPS: u64 = 8;
/// Bytes of a segment at least, where a small retention asks for smaller ones: a file and its index
/// cost more than they hold below.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Bytes of a segment where nothing asks for another size.
const SEGMENT_BYTES: u64 = 64 << 20;
/// How long a segment grows at least, where a short retention asks for shorter ones.
const SEGMENT_MS_MIN: u64 = 1_000;

/// Whether a cleaning is worth its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Only if it is due.
    Due,
    /// Whatever it costs: an operator asks for it.
    Now,
}

/// Bytes after which a topic's segment is followed by the next.
pub fn segment_bytes(retention: &Retention) -> u64 {
    let asked = retention.segment_bytes.unwrap_or(SEGMENT_BYTES);
    let step = retention.bytes.map_or(asked, |bytes| bytes / STEPS);
    asked.min(step).max(SEGMENT_BYTES_MIN)
}

/// Whether the stretch that is appended to should end, so that it can be cleaned when its time comes.
pub(super) fn is_to_be_sealed(
    retention: &Retention,
    active: &Stretch,
    now: Timestamp,
    when: When,
) -> bool {
    let is_large = segment_bytes(retention) <= active.bytes;
    let is_old = retention.removes().then_some(retention.ms).flatten().is_some_and(|ms| {
        (ms / STEPS).max(SEGMENT_MS_MIN) <= now.0.saturating_sub(active.first_time.0)
    });
    let has_events = active.first_offset < active.next_offset;
    has_events && (is_large || is_old || (when == When::Now && !retention.keeps_everything()))
}

/// What a cleaning is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Everything before is cleaned.
    pub(super) below: Position,
    /// The first offset that stays.
    pub(super) start: Offset,
    /// Whether older events of a key go.
    pub(super) compacts: bool,
}

/// What is to be done about `stretches`, of which offsets from `start` on may be fetched and
/// everything before `cleaned` is in the snapshot; `None` if nothing is.
pub(super) fn plan(
    retention: &Retention,
    stretches: &[Stretch],
    (cleaned, start): (Position, Offset),
    now: Timestamp,
    when: When,
) -> Option<Plan> {
    let mut plan = Plan { below: cleaned, start, compacts: false };
    // What holds nothing but what producers may still ask for is no event's.
    let live: Vec<_> = stretches.iter().filter(|stretch| start < stretch.next_offset).collect();
    let mut bytes: u64 = live.iter().map(|stretch| stretch.bytes).sum();
    for stretch in live.iter().take_while(|stretch| stretch.is_sealed) {
        let is_old = |ms: u64| stretch.last_time.0.saturating_add(ms) <= now.0;
        // As much as is asked for stays: what was just stored never goes for its own size.
        let left = bytes - stretch.bytes;
        let is_enough = |kept: u64| kept <= left;
        let goes = retention.removes()
            && (retention.ms.is_some_and(is_old) || retention.bytes.is_some_and(is_enough));
        if !goes {
            break;
        }
        bytes = left;
        plan.start = stretch.next_offset;
        plan.below = plan.below.max(stretch.end);
    }
    if retention.compacts() {
        let stays =
            live.iter().filter(|stretch| stretch.is_sealed && plan.start < stretch.next_offset);
        let sum = |is_clean| -> u64 {
            stays.clone().filter(|of| of.is_clean == is_clean).map(|of| of.bytes).sum()
        };
        let (clean, dirty) = (sum(true), sum(false));
        if 0 < dirty && (clean <= dirty || when == When::Now) {
            plan.compacts = true;
            plan.below =
                stays.clone().next_back().map_or(plan.below, |last| plan.below.max(last.end));
        }
    }
    (plan.start != start || plan.compacts).then_some(plan)
}

#[cfg(test)]
mod tests {
    use weir_wire::retention::Cleanup;

    use super::*;

    /// Stretches of ten commits, ten events and ten bytes, one a second; the first `clean` are clean,
    /// the last is appended to.
    fn stretches(clean: u64, sealed: u64) -> Vec<Stretch> {
        let stretch = |n: u64| Stretch {
            first: Position(n * 10),
            end: Position(n * 10 + 10),
            first_offset: Offset(n * 10),
            next_offset: Offset(n * 10 + 10),
            bytes: 10,
            first_time: Timestamp(n * 1_000),
            last_time: Timestamp(n * 1_000 + 900),
            is_clean: n < clean,
            is_sealed: n < sealed,
        };
        (0..=sealed).map(stretch).collect()
    }

    fn delete(ms: Option<u64>, bytes: Option<u64>) -> Retention {
        Retention { ms, bytes, ..Retention::default() }
    }

    /// "below start compacts" of the plan at `now` seconds.
    fn at(retention: &Retention, stretches: &[Stretch], from: (u64, u64), now: u64) -> String {
        let from = (Position(from.0), Offset(from.1));
        let plan = plan(retention, stretches, from, Timestamp(now * 1_000), When::Due);
        plan.map_or("-".into(), |plan| format!("{} {} {}", plan.below, plan.start, plan.compacts))
    }

    #[test]
    fn what_is_kept_for_ever_is() {
        assert_eq!(at(&delete(None, None), &stretches(0, 5), (0, 0), u64::MAX / 1_000), "-");
    }

    #[test]
    fn a_stretch_goes_when_its_last_event_is_old_enough_and_not_before() {
        let retention = delete(Some(3_000), None);
        assert_eq!(at(&retention, &stretches(0, 5), (0, 0), 3), "-");
        assert_eq!(at(&retention, &stretches(0, 5), (0, 0), 4), "10 10 false");
        assert_eq!(at(&retention, &stretches(0, 5), (0, 0), 6), "30 30 false");
        // The last one is appended to, however old it is.
        assert_eq!(at(&retention, &stretches(0, 5), (0, 0), 1_000), "50 50 false");
        assert_eq!(at(&retention, &stretches(0, 5), (30, 30), 6), "-");
    }

    #[test]
    fn the_oldest_go_as_long_as_the_rest_is_enough() {
        assert_eq!(at(&delete(None, Some(60)), &stretches(0, 5), (0, 0), 0), "-");
        assert_eq!(at(&delete(None, Some(51)), &stretches(0, 5), (0, 0), 0), "-");
        assert_eq!(at(&delete(None, Some(50)), &stretches(0, 5), (0, 0), 0), "10 10 false");
        assert_eq!(at(&delete(None, Some(30)), &stretches(0, 5), (0, 0), 0), "30 30 false");
        assert_eq!(at(&delete(None, Some(0)), &stretches(0, 5), (0, 0), 0), "50 50 false");
    }

    #[test]
    fn what_only_holds_verdicts_is_not_cleaned_again_for_its_age() {
        // Cleaned up to 20, all events below gone, two stretches of verdicts left.
        assert_eq!(at(&delete(Some(3_000), None), &stretches(2, 5), (20, 20), 5), "-");
        assert_eq!(at(&delete(None, Some(40)), &stretches(2, 5), (20, 20), 5), "-");
    }

    #[test]
    fn compaction_waits_until_half_is_dirty() {
        let compact = Retention { cleanup: Cleanup::Compact, ..Retention::default() };
        assert_eq!(at(&compact, &stretches(0, 0), (0, 0), 9), "-");
        assert_eq!(at(&compact, &stretches(0, 1), (0, 0), 9), "10 0 true");
        assert_eq!(at(&compact, &stretches(3, 5), (30, 0), 9), "-");
        assert_eq!(at(&compact, &stretches(3, 6), (30, 0), 9), "60 0 true");
        let from = (Position(30), Offset(0));
        let asked = plan(&compact, &stretches(3, 5), from, Timestamp(0), When::Now);
        assert_eq!(asked.map(|plan| plan.below), Some(Position(50)), "an operator does not wait");
        // Its time to go is not asked for.
        let compact = Retention { ms: Some(1), ..compact };
        assert_eq!(at(&compact, &stretches(3, 5), (30, 0), 9), "-");
    }

    #[test]
    fn both_remove_what_is_old_and_thin_out_the_rest() {
        let both =
            Retention { cleanup: Cleanup::CompactDelete, ms: Some(3_000), ..Retention::default() };
        assert_eq!(at(&both, &stretches(2, 5), (20, 0), 4), "50 10 true");
        assert_eq!(at(&both, &stretches(4, 5), (40, 0), 4), "40 10 false");
    }

    #[test]
    fn segments_are_small_enough_for_the_retention_that_is_asked_for() {
        assert_eq!(segment_bytes(&Retention::default()), 64 << 20);
        assert_eq!(segment_bytes(&delete(None, Some(8 << 20))), 1 << 20);
        assert_eq!(segment_bytes(&delete(None, Some(1))), 64 << 10);
        let active = |first_time, bytes| Stretch {
            first_time: Timestamp(first_time),
            bytes,
            ..stretches(0, 0)[0]
        };
        let by_time = delete(Some(80_000), None);
        assert!(!is_to_be_sealed(&by_time, &active(5_000, 1), Timestamp(14_999), When::Due));
        assert!(is_to_be_sealed(&by_time, &active(5_000, 1), Timestamp(15_000), When::Due));
        assert!(is_to_be_sealed(&by_time, &active(5_000, 64 << 20), Timestamp(0), When::Due));
        let empty = Stretch { next_offset: Offset(0), ..active(0, 100) };
        let at_once = |retention: &Retention| {
            is_to_be_sealed(retention, &active(0, 1), Timestamp(0), When::Now)
        };
        assert!(at_once(&by_time));
        assert!(!at_once(&Retention::default()), "nothing would come of it");
        assert!(!is_to_be_sealed(&by_time, &empty, Timestamp(u64::MAX), When::Due));
    }
}

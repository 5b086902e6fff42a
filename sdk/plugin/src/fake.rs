//! A broker for unit tests: what a rule sees when it runs natively. Not part of a component.
//!
//! It holds what the contract says of one rule in one partition: the context, the state with its
//! times to live, the side events, the log lines, and the limits of all of these. What a broker calls
//! a fault is a panic here, and of that event nothing stands but its log lines.
//! Not here: chains, limits on time and memory, and what becomes of effects when another rule refuses
//! (clone the host before, and go on with the clone).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bindings::weir::plugin::log::Level;
use crate::{Event, Filter, Header, Migrate, OldEntry, Verdict};

/// The broker as a rule sees it. Tests change and read its fields between events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The partition time, in milliseconds since 1970-01-01T00:00:00Z.
    pub now: u64,
    /// The topic being judged.
    pub topic: String,
    /// The partition being judged.
    pub partition: u32,
    /// Who publishes.
    pub publisher: String,
    /// The side events so far: topic and event.
    pub emitted: Vec<(String, Event)>,
    /// The log lines so far.
    pub lines: Vec<(Level, String)>,
    /// Each key's value and from which partition time on it is gone.
    pub state: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>,
    /// The topics that the binding lets it emit to; `None`: any.
    pub emit_to: Option<Vec<String>>,
    /// What one event may use up.
    pub limits: Limits,
}

/// What a binding lets an event use up, beside time and memory. The defaults are a broker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Side events of one event.
    pub side_events: usize,
    /// Bytes of them.
    pub side_event_bytes: usize,
    /// Bytes of log lines of one event; more is cut.
    pub log_bytes: usize,
    /// Keys that one event changes.
    pub state_changes: usize,
    /// Keys in all.
    pub state_keys: usize,
    /// Bytes of keys and values in all.
    pub state_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            side_events: 16,
            side_event_bytes: 256 << 10,
            log_bytes: 4 << 10,
            state_changes: 64,
            state_keys: 1_000_000,
            state_bytes: 256 << 20,
        }
    }
}

/// Bytes of an event's key, value and headers at most.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// Headers that begin like this are the broker's: no rule writes one.
const RESERVED_HEADER_PREFIX: &str = "weir-";

impl Host {
    /// Judges one event with `rule`.
    ///
    /// # Panics
    /// Where the rule does, and where a broker would call it a fault.
    pub fn judge<F: Filter>(&mut self, rule: &mut F, event: Event) -> Verdict {
        self.run(|| {
            let reserved: Vec<Header> =
                event.headers.iter().filter(|h| is_reserved(h)).cloned().collect();
            let mut verdict = rule.process(event);
            if let Verdict::Replace(other) = &mut verdict {
                let is_forged = |header: &Header| is_reserved(header) && !reserved.contains(header);
                assert!(
                    !other.headers.iter().any(is_forged),
                    "wrote a header that is the broker's"
                );
                assert!(
                    bytes_of(other) <= EVENT_BYTES_MAX,
                    "an event has up to {EVENT_BYTES_MAX} bytes"
                );
                // The broker's own headers pass a rule unchanged.
                other.headers.retain(|header| !is_reserved(header));
                other.headers.extend(reserved);
            }
            verdict
        })
    }

    /// The same, and what a broker would call a fault is an `Err` with what the panic said. A broker
    /// then throws the rule's instance away and makes a fresh one: so should the test.
    pub fn try_judge<F: Filter>(&mut self, rule: &mut F, event: Event) -> Result<Verdict, String> {
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge(rule, event)));
        judged.map_err(|panic| match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("a panic").to_string(),
        })
    }

    /// Has `rule` take over the state, which a version with the schema `old_schema` has left here:
    /// afterwards the state is what the rule made of it.
    ///
    /// # Errors
    /// The rule's own, at the first entry that it refuses; the state is then as it was.
    ///
    /// # Panics
    /// Where the rule does, and where a broker would call it a fault.
    pub fn migrate<F: Migrate>(&mut self, rule: &mut F, old_schema: &str) -> Result<(), String> {
        let old = std::mem::take(&mut self.state);
        for (key, (value, gone_at)) in &old {
            if gone_at.is_some_and(|at| at <= self.now) {
                continue;
            }
            let entry = OldEntry {
                schema: old_schema.to_string(),
                key: key.clone(),
                value: value.clone(),
                ttl_ms: gone_at.map(|at| at - self.now),
            };
            if let Err(why) = self.run(|| rule.migrate(entry)) {
                self.state = old;
                return Err(why);
            }
        }
        Ok(())
    }

    /// Runs `body` with this host behind the functions of this crate, as one event. If it panics,
    /// none of its effects stand.
    pub fn run<T>(&mut self, body: impl FnOnce() -> T) -> T {
        let before = (self.state.clone(), self.emitted.len());
        let lent = Lent { owner: self, before };
        CURRENT.with_borrow_mut(|current| {
            assert!(current.is_none(), "a host is running in this thread already");
            *current = Some(Running { host: std::mem::take(lent.owner), used: Used::default() });
        });
        let done = body();
        lent.give_back(|_, _| {});
        done
    }
}

/// A host at work, and what the event has used up of its limits.
struct Running {
    host: Host,
    used: Used,
}

#[derive(Default)]
struct Used {
    side_events: usize,
    side_event_bytes: usize,
    log_bytes: usize,
    changed: BTreeSet<Vec<u8>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Running>> = const { RefCell::new(None) };
}

type State = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// Gives the host back to its owner, as it was if the rule panics.
struct Lent<'a> {
    owner: &'a mut Host,
    /// The state, and how many side events there were.
    before: (State, usize),
}

impl Lent<'_> {
    fn give_back(mut self, restore: impl FnOnce(&mut Host, (State, usize))) {
        self.put_back(restore);
    }

    fn put_back(&mut self, restore: impl FnOnce(&mut Host, (State, usize))) {
        if let Some(running) = CURRENT.take() {
            *self.owner = running.host;
            restore(self.owner, std::mem::take(&mut self.before));
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // Only a panic comes here with the host still lent.
        self.put_back(|host, (state, emitted)| {
            host.state = state;
            host.emitted.truncate(emitted);
        });
    }
}

fn is_reserved(header: &Header) -> bool {
    header.name.starts_with(RESERVED_HEADER_PREFIX)
}

fn bytes_of(event: &Event) -> usize {
    let headers = event.headers.iter().map(|header| header.name.len() + header.value.len());
    event.key.as_ref().map_or(0, Vec::len) + event.value.len() + headers.sum::<usize>()
}

/// The imports of the contract, with the signatures of the generated ones.
pub(crate) mod host {
    use super::{CURRENT, Host, Used};

    fn with<T>(f: impl FnOnce(&mut Host) -> T) -> T {
        with_used(|host, _| f(host))
    }

    fn with_used<T>(f: impl FnOnce(&mut Host, &mut Used) -> T) -> T {
        CURRENT.with_borrow_mut(|running| {
            let running =
                running.as_mut().expect("outside a broker, call the rule through fake::Host");
            f(&mut running.host, &mut running.used)
        })
    }

    pub(crate) mod context {
        use super::with;

        pub(crate) fn now() -> u64 {
            with(|host| host.now)
        }
        pub(crate) fn topic() -> String {
            with(|host| host.topic.clone())
        }
        pub(crate) fn partition() -> u32 {
            with(|host| host.partition)
        }
        pub(crate) fn publisher() -> String {
            with(|host| host.publisher.clone())
        }
    }

    pub(crate) mod state {
        use super::{Host, Used, with, with_used};

        const KEY_BYTES_MAX: usize = 256;
        const VALUE_BYTES_MAX: usize = 64 << 10;

        fn live<'a>(host: &'a Host, key: &[u8]) -> Option<&'a (Vec<u8>, Option<u64>)> {
            host.state.get(key).filter(|(_, gone_at)| gone_at.is_none_or(|at| host.now < at))
        }

        /// Keys, and bytes of keys and values; what has expired takes space too.
        fn size(host: &Host) -> (usize, usize) {
            let bytes = host.state.iter().map(|(key, (value, _))| key.len() + value.len());
            (host.state.len(), bytes.sum())
        }

        fn changes(host: &Host, used: &mut Used, key: &[u8]) {
            used.changed.insert(key.to_vec());
            let max = host.limits.state_changes;
            assert!(used.changed.len() <= max, "an event changes up to {max} keys");
        }

        fn put(host: &mut Host, used: &mut Used, key: &[u8], value: Vec<u8>, gone_at: Option<u64>) {
            assert!(key.len() <= KEY_BYTES_MAX, "a state key takes up to {KEY_BYTES_MAX} bytes");
            assert!(value.len() <= VALUE_BYTES_MAX, "a value takes up to {VALUE_BYTES_MAX} bytes");
            let before = size(host);
            host.state.insert(key.to_vec(), (value, gone_at));
            let (keys, bytes) = size(host);
            let is_over = host.limits.state_keys < keys || host.limits.state_bytes < bytes;
            let grows = before.0 < keys || before.1 < bytes;
            assert!(!(grows && is_over), "more keys or bytes of state than the binding may have");
            changes(host, used, key);
        }

        pub(crate) fn get(key: &[u8]) -> Option<Vec<u8>> {
            with(|host| live(host, key).map(|(value, _)| value.clone()))
        }

        pub(crate) fn set(key: &[u8], value: &[u8], ttl_ms: Option<u64>) {
            with_used(|host, used| {
                let gone_at = ttl_ms.map(|ttl| host.now.saturating_add(ttl));
                put(host, used, key, value.to_vec(), gone_at);
            });
        }

        pub(crate) fn delete(key: &[u8]) {
            with_used(|host, used| {
                if host.state.remove(key).is_some() {
                    changes(host, used, key);
                }
            });
        }

        /// A counter's value, and until when it is there.
        fn counter(host: &Host, key: &[u8]) -> (i64, Option<u64>) {
            live(host, key).map_or((0, None), |(value, gone_at)| {
                let bytes = value.as_slice().try_into().expect("a counter is 8 bytes");
                (i64::from_le_bytes(bytes), *gone_at)
            })
        }

        pub(crate) fn increment(key: &[u8], by: i64, ttl_ms: Option<u64>) -> i64 {
            increment_up_to(key, by, i64::MAX, ttl_ms).expect("a counter must not overflow")
        }

        pub(crate) fn increment_up_to(
            key: &[u8],
            by: i64,
            most: i64,
            ttl_ms: Option<u64>,
        ) -> Result<i64, i64> {
            with_used(|host, used| {
                let (count, kept) = counter(host, key);
                let sum = i128::from(count) + i128::from(by);
                if i128::from(most) < sum {
                    return Err(count);
                }
                let sum = i64::try_from(sum).expect("a counter must not overflow");
                let gone_at = ttl_ms.map(|ttl| host.now.saturating_add(ttl)).or(kept);
                put(host, used, key, sum.to_le_bytes().to_vec(), gone_at);
                Ok(sum)
            })
        }
    }

    pub(crate) mod outbox {
        use super::super::{EVENT_BYTES_MAX, bytes_of, is_reserved};
        use super::with_used;
        use crate::Event;

        pub(crate) fn emit(topic: &str, event: &Event) {
            with_used(|host, used| {
                let grants = host.emit_to.as_ref();
                let is_granted =
                    grants.is_none_or(|grants| grants.iter().any(|name| name == topic));
                assert!(is_granted, "emitted to {topic:?}, which the binding does not name");
                assert!(
                    !event.headers.iter().any(is_reserved),
                    "wrote a header that is the broker's"
                );
                let bytes = bytes_of(event);
                used.side_events += 1;
                used.side_event_bytes += bytes;
                assert!(
                    bytes <= EVENT_BYTES_MAX
                        && used.side_events <= host.limits.side_events
                        && used.side_event_bytes <= host.limits.side_event_bytes,
                    "more side events for one event than the binding may have"
                );
                host.emitted.push((topic.to_string(), event.clone()));
            });
        }
    }

    pub(crate) mod log {
        use super::with_used;
        use crate::bindings::weir::plugin::log::Level;

        pub(crate) fn write(level: Level, message: &str) {
            with_used(|host, used| {
                let room = host.limits.log_bytes.saturating_sub(used.log_bytes);
                used.log_bytes += message.len();
                let shown = &message[..message.floor_char_boundary(room)];
                if !shown.is_empty() {
                    host.lines.push((level, shown.to_string()));
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Host;
    use crate::{context, log, outbox, state};

    #[test]
    fn a_key_is_gone_when_its_time_to_live_is_over() {
        let mut host = Host { now: 100, ..Host::default() };
        host.run(|| state::set(b"k", b"v", Some(10)));
        host.now = 109;
        assert_eq!(host.run(|| state::get(b"k")), Some(b"v".to_vec()));
        host.now = 110;
        assert_eq!(host.run(|| state::get(b"k")), None);
    }

    #[test]
    fn a_counter_starts_at_nothing_and_keeps_its_time_unless_told() {
        let mut host = Host { now: 100, ..Host::default() };
        assert_eq!(host.run(|| state::increment(b"n", 2, Some(10))), 2);
        host.now = 105;
        assert_eq!(host.run(|| state::increment(b"n", 1, None)), 3);
        assert_eq!(host.run(|| state::counter(b"n")), 3);
        host.now = 110;
        assert_eq!(host.run(|| state::counter(b"n")), 0);
        assert_eq!(host.run(|| state::increment(b"n", -1, None)), -1);
        host.now = 1 << 40;
        assert_eq!(host.run(|| state::counter(b"n")), -1, "an expired key's end is not inherited");
    }

    #[test]
    fn a_counter_goes_up_to_a_limit_and_a_refused_call_changes_nothing() {
        let mut host = Host { now: 100, ..Host::default() };
        assert_eq!(host.run(|| state::increment_up_to(b"n", 2, 3, Some(10))), Ok(2));
        let before = host.clone();
        assert_eq!(host.run(|| state::increment_up_to(b"n", 2, 3, Some(50))), Err(2));
        assert_eq!(host.run(|| state::increment_up_to(b"n", i64::MAX, i64::MAX, None)), Err(2));
        assert_eq!(host.run(|| state::increment_up_to(b"n", -1, 0, None)), Err(2));
        assert_eq!(host.run(|| state::increment_up_to(b"m", 1, 0, None)), Err(0));
        assert_eq!(host, before);
        assert_eq!(host.run(|| state::increment_up_to(b"n", -2, 0, None)), Ok(0));
        assert_eq!(host.state[b"n".as_slice()].1, Some(110), "its time to live is kept");
        host.now = 110;
        assert_eq!(host.run(|| state::increment_up_to(b"n", i64::MIN, -1, None)), Ok(i64::MIN));
        let under = || host.run(|| state::increment_up_to(b"n", -1, 3, None));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(under)).is_err());
    }

    #[test]
    fn a_rule_that_panics_does_not_take_the_host_with_it() {
        let mut host = Host { topic: "flights".into(), ..Host::default() };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            host.run(|| {
                state::set(b"n", b"not a counter", None);
                state::increment(b"n", 1, None)
            })
        }));
        assert!(caught.is_err());
        assert_eq!(host.run(context::topic), "flights");
        assert!(host.state.is_empty(), "and nothing that it did stands");
    }

    /// Keys that begin with one letter become one; `?` is refused.
    struct Letters;

    impl crate::Filter for Letters {
        fn configure(_: &str) -> Result<Self, String> {
            Ok(Letters)
        }
        fn process(&mut self, _: crate::Event) -> crate::Verdict {
            crate::Verdict::Accept
        }
    }

    impl crate::Migrate for Letters {
        const SCHEMA: &str = "per-letter";

        fn migrate(&mut self, old: crate::OldEntry) -> Result<(), String> {
            let count = old.counter().filter(|_| old.key[0] != b'?').ok_or("what is this?")?;
            state::increment(&old.key[..1], count, old.ttl_ms);
            Ok(())
        }
    }

    crate::export!(Letters, migration);

    #[test]
    fn a_rule_takes_over_earlier_state_or_leaves_it_as_it_was() {
        let mut host = Host { now: 100, ..Host::default() };
        host.run(|| {
            state::increment(b"ann", 1, Some(10));
            state::increment(b"alf", 2, Some(50));
            state::increment(b"bob", 3, None);
        });
        host.now = 120;
        host.migrate(&mut Letters, "").unwrap();
        let counter = |n: i64| n.to_le_bytes().to_vec();
        let expected =
            [(b"a".to_vec(), (counter(2), Some(150))), (b"b".to_vec(), (counter(3), None))];
        assert_eq!(host.state, expected.into(), "what expired is not taken over");
        host.run(|| state::increment(b"?", 1, None));
        let before = host.clone();
        assert_eq!(host.migrate(&mut Letters, "per-letter"), Err("what is this?".to_string()));
        assert_eq!(host, before);
    }

    #[test]
    fn lines_and_side_events_are_kept_in_order() {
        let mut host = Host::default();
        let event = crate::Event::new("v").key("k").timestamp_ms(7);
        host.run(|| {
            log::warn("first");
            log::debug("second");
            outbox::emit("notices", &event);
        });
        let lines: Vec<_> = host.lines.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(lines, ["first", "second"]);
        assert_eq!(host.emitted, [("notices".to_string(), event)]);
    }
}

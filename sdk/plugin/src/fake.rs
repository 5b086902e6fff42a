//! A broker for unit tests: what a rule sees when it runs natively. Not part of a component.
//!
//! It holds what the contract says of one rule in one partition: the context, the state with its
//! times to live, the side events, the log lines. Not here: chains, limits on time and memory,
//! and what becomes of effects when another rule refuses (clone the host before, and go on with
//! the clone).

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::bindings::weir::plugin::log::Level;
use crate::{Event, Filter, Migrate, OldEntry, Verdict};

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
}

impl Host {
    /// Judges one event with `rule`.
    ///
    /// # Panics
    /// Where the rule does, and where a broker would call it a fault.
    pub fn judge<F: Filter>(&mut self, rule: &mut F, event: Event) -> Verdict {
        self.run(|| rule.process(event))
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

    /// Runs `body` with this host behind the functions of this crate.
    pub fn run<T>(&mut self, body: impl FnOnce() -> T) -> T {
        let lent = Lent { owner: self };
        CURRENT.with_borrow_mut(|current| {
            assert!(current.is_none(), "a host is running in this thread already");
            *current = Some(std::mem::take(lent.owner));
        });
        body()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Gives the host back to its owner, also when a rule panics.
struct Lent<'a> {
    owner: &'a mut Host,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(host) = CURRENT.take() {
            *self.owner = host;
        }
    }
}

/// The imports of the contract, with the signatures of the generated ones.
pub(crate) mod host {
    use super::{CURRENT, Host};

    fn with<T>(f: impl FnOnce(&mut Host) -> T) -> T {
        CURRENT.with_borrow_mut(|host| {
            f(host.as_mut().expect("outside a broker, call the rule through fake::Host"))
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
        use super::{Host, with};

        const KEY_BYTES_MAX: usize = 256;
        const VALUE_BYTES_MAX: usize = 64 << 10;

        fn live<'a>(host: &'a Host, key: &[u8]) -> Option<&'a (Vec<u8>, Option<u64>)> {
            assert!(key.len() <= KEY_BYTES_MAX, "a state key takes up to {KEY_BYTES_MAX} bytes");
            host.state.get(key).filter(|(_, gone_at)| gone_at.is_none_or(|at| host.now < at))
        }

        pub(crate) fn get(key: &[u8]) -> Option<Vec<u8>> {
            with(|host| live(host, key).map(|(value, _)| value.clone()))
        }

        pub(crate) fn set(key: &[u8], value: &[u8], ttl_ms: Option<u64>) {
            assert!(key.len() <= KEY_BYTES_MAX, "a state key takes up to {KEY_BYTES_MAX} bytes");
            assert!(value.len() <= VALUE_BYTES_MAX, "a value takes up to {VALUE_BYTES_MAX} bytes");
            with(|host| {
                let gone_at = ttl_ms.map(|ttl| host.now.saturating_add(ttl));
                host.state.insert(key.to_vec(), (value.to_vec(), gone_at));
            });
        }

        pub(crate) fn delete(key: &[u8]) {
            with(|host| host.state.remove(key));
        }

        pub(crate) fn increment(key: &[u8], by: i64, ttl_ms: Option<u64>) -> i64 {
            with(|host| {
                let (count, kept) = live(host, key).map_or((0, None), |(value, gone_at)| {
                    let bytes = value.as_slice().try_into().expect("a counter is 8 bytes");
                    (i64::from_le_bytes(bytes), *gone_at)
                });
                let count: i64 = count.checked_add(by).expect("a counter must not overflow");
                let gone_at = ttl_ms.map(|ttl| host.now.saturating_add(ttl)).or(kept);
                host.state.insert(key.to_vec(), (count.to_le_bytes().to_vec(), gone_at));
                count
            })
        }
    }

    pub(crate) mod outbox {
        use super::with;
        use crate::Event;

        pub(crate) fn emit(topic: &str, event: &Event) {
            with(|host| host.emitted.push((topic.to_string(), event.clone())));
        }
    }

    pub(crate) mod log {
        use super::with;
        use crate::bindings::weir::plugin::log::Level;

        pub(crate) fn write(level: Level, message: &str) {
            with(|host| host.lines.push((level, message.to_string())));
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

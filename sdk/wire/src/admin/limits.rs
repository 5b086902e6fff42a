//! What a binding may use up, and how that is changed: limit by limit, the others stay.
//!
//! Promises: a change names every limit there is by the same name, and nothing else.

use serde::{Deserialize, Serialize};

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $number:ty = $default:expr, at most $max:expr;)*) => {
        /// What a plugin may use up. Defaults and maxima are in `weir plugin bind --help`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Limits { $($(#[$doc])* pub $name: $number,)* }

        impl Limits {
            /// What no binding may exceed.
            pub const MAX: Self = Self { $($name: $max,)* };

            /// Every limit, by name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), u64::from(self.$name)),)*].into_iter()
            }

            /// The same with some of them changed.
            pub fn with(self, changes: &LimitChanges) -> Self {
                Self { $($name: changes.$name.unwrap_or(self.$name),)* }
            }
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        /// Limits to be changed; one that is not named stays as it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct LimitChanges {
            $($(#[$doc])*
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $name: Option<$number>,)*
        }

        impl LimitChanges {
            /// Names one more limit; `false` if there is none of that name, or its number is too
            /// large to be written.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($name) => match <$number>::try_from(value) {
                        Ok(value) => self.$name = Some(value),
                        Err(_) => return false,
                    },)*
                    _ => return false,
                }
                true
            }
        }
    };
}

limits! {
    /// Instructions per event, roughly; independent of the machine's load.
    fuel: u64 = 10_000_000, at most 10_000_000_000;
    /// Wall clock per event in ms: the backstop behind the fuel.
    deadline_ms: u64 = 50, at most 10_000;
    /// Wall clock of `configure` in ms.
    configure_ms: u64 = 1_000, at most 10_000;
    /// Linear memory in bytes.
    memory_bytes: u64 = 64 << 20, at most 512 << 20;
    /// Side events per event.
    side_events: u32 = 16, at most 256;
    /// Bytes of side events per event.
    side_event_bytes: u64 = 256 << 10, at most 1 << 20;
    /// Bytes of log lines per event.
    log_bytes: u64 = 4 << 10, at most 64 << 10;
    /// Changed keys per event.
    state_changes: u32 = 64, at most 1024;
    /// Keys per partition.
    state_keys: u64 = 1_000_000, at most 10_000_000;
    /// Bytes of keys and values per partition.
    state_bytes: u64 = 256 << 20, at most 2 << 30;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let raised = Limits { fuel: 7, state_keys: 8, ..Limits::default() };
        let mut changes = LimitChanges::default();
        assert!(changes.set("fuel", 9) && changes.set("side_events", 3));
        assert_eq!(raised.with(&changes), Limits { fuel: 9, side_events: 3, ..raised });
        assert_eq!(raised.with(&LimitChanges::default()), raised);
    }

    #[test]
    fn only_what_there_is_can_be_named() {
        let mut changes = LimitChanges::default();
        assert!(!changes.set("power", 1));
        assert!(!changes.set("side_events", 1 << 32), "no number of side events");
        assert_eq!(changes, LimitChanges::default());
        let read = |json: &str| serde_json::from_str::<LimitChanges>(json);
        assert!(read(r#"{"power":1}"#).unwrap_err().to_string().contains("unknown field `power`"));
        assert_eq!(read(r#"{"fuel":5}"#).unwrap(), LimitChanges { fuel: Some(5), ..changes });
        for (name, value) in Limits::MAX.named() {
            assert!(LimitChanges::default().set(name, value), "{name}");
        }
    }

    #[test]
    fn all_limits_are_a_change_of_all() {
        let json = serde_json::to_string(&Limits::MAX).unwrap();
        let changes: LimitChanges = serde_json::from_str(&json).unwrap();
        assert_eq!(Limits::default().with(&changes), Limits::MAX);
    }
}

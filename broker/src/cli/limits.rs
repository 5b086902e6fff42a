//! `--limit KEY=VALUE`: what a binding may use up.
//!
//! Promises: every field of [`Limits`] can be set by its own name, and nothing else.

use std::str::FromStr;

use weir_wire::admin::Limits;

/// One `--limit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitFlag {
    key: String,
    value: u64,
}

impl FromStr for LimitFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=') else {
            return Err("write it as KEY=VALUE, as in fuel=20000000".to_owned());
        };
        let (key, value) = (key.trim(), value.trim());
        let value = number(key, value)?;
        set(&mut Limits::default(), key, value)?;
        Ok(Self { key: key.to_owned(), value })
    }
}

/// The default limits with these flags applied, later ones over earlier ones.
pub fn limits(flags: &[LimitFlag]) -> Limits {
    let mut limits = Limits::default();
    for flag in flags {
        set(&mut limits, &flag.key, flag.value).expect("a flag was checked when it was parsed");
    }
    limits
}

/// Keys, defaults and maxima, for `weir plugin bind --help`.
pub fn help() -> String {
    let mut default = Limits::default();
    let mut max = Limits::MAX;
    let mut text = String::from(
        "Limits (--limit KEY=VALUE; *_bytes take KiB and MiB):\n  KEY               DEFAULT      MAXIMUM\n",
    );
    for key in KEYS {
        let show = |limits: &mut Limits| field(limits, key).map_or(0, |field| field.value());
        let (default, max) = (show(&mut default), show(&mut max));
        text += &format!("  {key:<16} {default:>9} {max:>12}\n");
    }
    text
}

/// The fields of [`Limits`], in its order.
const KEYS: [&str; 10] = [
    "fuel",
    "deadline_ms",
    "configure_ms",
    "memory_bytes",
    "side_events",
    "side_event_bytes",
    "log_bytes",
    "state_changes",
    "state_keys",
    "state_bytes",
];

/// A field, by reference.
enum Field<'l> {
    Short(&'l mut u32),
    Long(&'l mut u64),
}

impl Field<'_> {
    fn value(&self) -> u64 {
        match self {
            Self::Short(field) => u64::from(**field),
            Self::Long(field) => **field,
        }
    }
}

fn field<'l>(limits: &'l mut Limits, key: &str) -> Option<Field<'l>> {
    Some(match key {
        "fuel" => Field::Long(&mut limits.fuel),
        "deadline_ms" => Field::Long(&mut limits.deadline_ms),
        "configure_ms" => Field::Long(&mut limits.configure_ms),
        "memory_bytes" => Field::Long(&mut limits.memory_bytes),
        "side_events" => Field::Short(&mut limits.side_events),
        "side_event_bytes" => Field::Long(&mut limits.side_event_bytes),
        "log_bytes" => Field::Long(&mut limits.log_bytes),
        "state_changes" => Field::Short(&mut limits.state_changes),
        "state_keys" => Field::Long(&mut limits.state_keys),
        "state_bytes" => Field::Long(&mut limits.state_bytes),
        _ => return None,
    })
}

fn set(limits: &mut Limits, key: &str, value: u64) -> Result<(), String> {
    let mut max = Limits::MAX;
    let Some(max) = field(&mut max, key).map(|field| field.value()) else {
        return Err(format!("there is no limit {key:?}; the limits are {}", KEYS.join(", ")));
    };
    if value > max {
        return Err(format!("{key} is at most {max}"));
    }
    match field(limits, key) {
        Some(Field::Short(field)) => *field = u32::try_from(value).unwrap_or(u32::MAX),
        Some(Field::Long(field)) => *field = value,
        None => {}
    }
    Ok(())
}

/// A whole number; of bytes also in KiB and MiB.
fn number(key: &str, text: &str) -> Result<u64, String> {
    let is_bytes = key.ends_with("_bytes");
    let (digits, unit) = match () {
        () if is_bytes && text.ends_with("KiB") => (&text[..text.len() - 3], 1 << 10),
        () if is_bytes && text.ends_with("MiB") => (&text[..text.len() - 3], 1 << 20),
        () => (text, 1),
    };
    let number = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| match is_bytes {
        true => format!("{text:?} is not a number of bytes; write 65536, 64KiB or 1MiB"),
        false => format!("{text:?} is not a whole number"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(flag: &str, expected: Expect) {
        let said = match flag.parse::<LimitFlag>() {
            Ok(flag) => format!("{} = {}", flag.key, flag.value),
            Err(sentence) => sentence,
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn limits_are_read_or_explained() {
        check("fuel=20000000", expect!["fuel = 20000000"]);
        check("memory_bytes=128MiB", expect!["memory_bytes = 134217728"]);
        check("log_bytes = 8 KiB", expect!["log_bytes = 8192"]);
        check("fuel", expect!["write it as KEY=VALUE, as in fuel=20000000"]);
        check("fuel=many", expect![[r#""many" is not a whole number"#]]);
        check("fuel=1MiB", expect![[r#""1MiB" is not a whole number"#]]);
        check(
            "state_bytes=1GB",
            expect![[r#""1GB" is not a number of bytes; write 65536, 64KiB or 1MiB"#]],
        );
        check("memory_bytes=1024MiB", expect!["memory_bytes is at most 536870912"]);
        check(
            "power=1",
            expect![[
                r#"there is no limit "power"; the limits are fuel, deadline_ms, configure_ms, memory_bytes, side_events, side_event_bytes, log_bytes, state_changes, state_keys, state_bytes"#
            ]],
        );
    }

    #[test]
    fn every_field_has_its_key() {
        let json = serde_json::to_value(Limits::default()).unwrap();
        let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut keys = KEYS.to_vec();
        names.sort_unstable();
        keys.sort_unstable();
        assert_eq!(names, keys);
        for key in KEYS {
            let flag: LimitFlag = format!("{key}=7").parse().unwrap();
            assert_eq!(serde_json::to_value(limits(&[flag])).unwrap()[key], 7, "{key}");
        }
    }

    #[test]
    fn the_last_flag_wins_and_the_rest_are_defaults() {
        let flags = ["fuel=5", "fuel=6"].map(|flag| flag.parse().unwrap());
        assert_eq!(limits(&flags), Limits { fuel: 6, ..Limits::default() });
    }
}

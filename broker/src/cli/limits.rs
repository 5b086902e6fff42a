//! `--limit KEY=VALUE`: what a binding may use up.
//!
//! Promises: every limit can be set by its own name, and nothing else; what no flag names stays.

use std::str::FromStr;

use weir_wire::admin::{LimitChanges, Limits};

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
        check(key, value)?;
        Ok(Self { key: key.to_owned(), value })
    }
}

/// What these flags change, later ones over earlier ones.
pub fn limits(flags: &[LimitFlag]) -> LimitChanges {
    let mut changes = LimitChanges::default();
    for flag in flags {
        let is_known = changes.set(&flag.key, flag.value);
        assert!(is_known, "a flag was checked when it was parsed");
    }
    changes
}

/// Keys, defaults and maxima, for `weir plugin bind --help`.
pub fn help() -> String {
    let mut text = String::from(
        "Limits (--limit KEY=VALUE; *_bytes take KiB and MiB):\n  KEY               DEFAULT      MAXIMUM\n",
    );
    for ((key, default), (_, max)) in Limits::default().named().zip(Limits::MAX.named()) {
        text += &format!("  {key:<16} {default:>9} {max:>12}\n");
    }
    text
}

fn check(key: &str, value: u64) -> Result<(), String> {
    let Some((_, max)) = Limits::MAX.named().find(|(name, _)| *name == key) else {
        let names: Vec<_> = Limits::MAX.named().map(|(name, _)| name).collect();
        return Err(format!("there is no limit {key:?}; the limits are {}", names.join(", ")));
    };
    if value > max {
        return Err(format!("{key} is at most {max}"));
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
    fn every_limit_has_its_flag() {
        for (key, _) in Limits::MAX.named() {
            let flag: LimitFlag = format!("{key}=7").parse().unwrap();
            let changes = serde_json::to_value(limits(&[flag])).unwrap();
            assert_eq!(changes, serde_json::json!({ key: 7 }));
        }
    }

    #[test]
    fn the_last_flag_wins_and_the_rest_is_not_said() {
        let flags = ["fuel=5", "fuel=6"].map(|flag| flag.parse().unwrap());
        assert_eq!(limits(&flags), LimitChanges { fuel: Some(6), ..LimitChanges::default() });
    }
}

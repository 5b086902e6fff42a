//! What the rule daily-limit should say, in the fewest words: at most `limit` flights of one
//! aircraft a day, counted by the flights' own time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What should become of some lines.
#[derive(Debug, Default)]
pub struct Expected {
    /// The admitted lines of each aircraft, in order.
    pub accepted: BTreeMap<String, Vec<String>>,
    /// The refused lines, counted from 1, with their codes.
    pub refused: BTreeMap<u64, &'static str>,
    /// Aircraft and day of everyone who went over.
    pub over: BTreeSet<(String, String)>,
}

impl Expected {
    /// How many lines are admitted.
    pub fn accepted_count(&self) -> u64 {
        self.accepted.values().map(|lines| lines.len() as u64).sum()
    }

    /// How many lines are refused with this code.
    pub fn refused_count(&self, code: &str) -> u64 {
        self.refused.values().filter(|refused| **refused == code).count() as u64
    }
}

/// Judges lines with `tailnum` and `time`, an RFC 3339 time in UTC.
pub fn daily_limit(lines: &[String], limit: u64) -> Expected {
    let mut expected = Expected::default();
    let mut flown: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (number, line) in (1..).zip(lines) {
        let flight: Value = serde_json::from_str(line).unwrap();
        let Some(aircraft) = flight["tailnum"].as_str() else {
            expected.refused.insert(number, "no-key");
            continue;
        };
        let time = flight["time"].as_str().unwrap();
        assert!(time.ends_with('Z'), "{time} is not in UTC");
        let day = (aircraft.to_owned(), time[..10].to_owned());
        let flown = flown.entry(day.clone()).or_default();
        if *flown < limit {
            *flown += 1;
            expected.accepted.entry(aircraft.to_owned()).or_default().push(line.clone());
        } else {
            expected.refused.insert(number, "daily-limit");
            expected.over.insert(day);
        }
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flights;

    /// The one place where figures are written down: those that the project was asked for.
    #[test]
    fn the_sample_has_the_known_figures() {
        let lines = flights::lines();
        let expected = daily_limit(&lines, 2);
        assert_eq!(lines.len(), 10_000);
        assert_eq!(expected.accepted_count(), 9_531);
        assert_eq!(expected.refused_count("daily-limit"), 455);
        assert_eq!(expected.refused_count("no-key"), 14);
        assert_eq!(expected.over.len(), 403);
    }
}

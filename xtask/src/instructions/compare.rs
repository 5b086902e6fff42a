//! Counts beside kept counts: what has changed, and in which words that is said.

use std::fmt::Write as _;

/// A part and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub name: String,
    pub instructions: u64,
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared {
    pub name: String,
    pub kept: Option<u64>,
    pub now: Option<u64>,
    pub verdict: Verdict,
}

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// Over it.
    Dearer,
    /// Below it.
    Cheaper,
    /// A part that no count is kept of.
    New,
    /// A kept count of no part.
    Gone,
}

/// The rows, in the order of `now`; kept counts of no part behind them, if `all` parts were counted.
pub fn compare(
    kept: &[Counted],
    now: &[Counted],
    tolerance_percent: u64,
    all: bool,
) -> Vec<Compared> {
    let of = |list: &[Counted], name: &str| {
        list.iter().find(|one| one.name == name).map(|one| one.instructions)
    };
    let row = |one: &Counted| {
        let kept = of(kept, &one.name);
        let verdict =
            kept.map_or(Verdict::New, |kept| judge(kept, one.instructions, tolerance_percent));
        Compared { name: one.name.clone(), kept, now: Some(one.instructions), verdict }
    };
    let gone = |one: &&Counted| all && of(now, &one.name).is_none();
    let gone = kept.iter().filter(gone).map(|one| Compared {
        name: one.name.clone(),
        kept: Some(one.instructions),
        now: None,
        verdict: Verdict::Gone,
    });
    now.iter().map(row).chain(gone).collect()
}

fn judge(kept: u64, now: u64, tolerance_percent: u64) -> Verdict {
    let (kept, now) = (u128::from(kept) * 100, u128::from(now));
    let tolerance = u128::from(tolerance_percent);
    if kept / 100 * (100 + tolerance) < now * 100 {
        Verdict::Dearer
    } else if now * 100 < kept / 100 * (100 - tolerance.min(100)) {
        Verdict::Cheaper
    } else {
        Verdict::Same
    }
}

/// The rows as a table in Markdown.
pub fn table(compared: &[Compared]) -> String {
    let width = compared.iter().map(|row| row.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "\n| {:width$} | {:>12} | {:>12} | {:>7} |  |\n|{:-<dashes$}|{:->14}|{:->14}|{:->9}|---|\n",
        "part",
        "kept",
        "now",
        "ratio",
        "",
        ":",
        ":",
        ":",
        dashes = width + 2,
    );
    for row in compared {
        let number = |count: Option<u64>| count.map_or("-".to_owned(), grouped);
        let ratio = match (row.kept, row.now) {
            (Some(kept @ 1..), Some(now)) => format!("{:.3}", now as f64 / kept as f64),
            _ => "-".to_owned(),
        };
        let verdict = match row.verdict {
            Verdict::Same => "",
            Verdict::Dearer => "DEARER",
            Verdict::Cheaper => "cheaper",
            Verdict::New => "NEW",
            Verdict::Gone => "GONE",
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {:width$} | {:>12} | {:>12} | {ratio:>7} | {verdict} |",
            row.name,
            number(row.kept),
            number(row.now)
        );
    }
    text
}

/// What a check fails for, a sentence each.
pub fn failures(compared: &[Compared]) -> Vec<String> {
    let sentence = |row: &Compared| match (row.verdict, row.kept, row.now) {
        (Verdict::Dearer, Some(kept), Some(now)) => Some(format!(
            "{} takes {} instructions, {:.1} % more than the {} that are kept",
            row.name,
            grouped(now),
            (now as f64 / kept as f64 - 1.0) * 100.0,
            grouped(kept)
        )),
        (Verdict::New, ..) => Some(format!("{} is new, and no count of it is kept", row.name)),
        (Verdict::Gone, ..) => {
            Some(format!("{} is no part any more, and a count is kept", row.name))
        }
        _ => None,
    };
    compared.iter().filter_map(sentence).collect()
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(list: &[(&str, u64)]) -> Vec<Counted> {
        let one =
            |&(name, instructions): &(&str, u64)| Counted { name: name.to_owned(), instructions };
        list.iter().map(one).collect()
    }

    fn check(kept: &[(&str, u64)], now: &[(&str, u64)], expected: &[(&str, Verdict)]) {
        let compared = compare(&counted(kept), &counted(now), 3, true);
        let found: Vec<_> = compared.iter().map(|row| (row.name.as_str(), row.verdict)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_change_begins_beyond_the_tolerance() {
        for (now, verdict) in [
            (1_030, Verdict::Same),
            (1_031, Verdict::Dearer),
            (970, Verdict::Same),
            (969, Verdict::Cheaper),
            (u64::MAX, Verdict::Dearer),
            (0, Verdict::Cheaper),
        ] {
            check(&[("a", 1_000)], &[("a", now)], &[("a", verdict)]);
        }
    }

    #[test]
    fn a_part_that_came_or_went_is_a_failure_too() {
        let (kept, now) = ([("a", 7), ("b", 7)], [("b", 7), ("c", 7)]);
        check(&kept, &now, &[("b", Verdict::Same), ("c", Verdict::New), ("a", Verdict::Gone)]);
        let compared = compare(&counted(&kept), &counted(&now), 3, true);
        assert_eq!(
            failures(&compared),
            ["c is new, and no count of it is kept", "a is no part any more, and a count is kept"]
        );
        // Where some were counted the others are not gone.
        assert_eq!(compare(&counted(&kept), &counted(&[("b", 7)]), 3, false).len(), 1);
    }

    #[test]
    fn a_failure_says_by_how_much() {
        let compared =
            compare(&counted(&[("a", 1_000_000)]), &counted(&[("a", 1_105_000)]), 3, true);
        assert_eq!(
            failures(&compared),
            ["a takes 1,105,000 instructions, 10.5 % more than the 1,000,000 that are kept"]
        );
        assert_eq!(
            table(&compared),
            "\n| part |         kept |          now |   ratio |  |\n\
             |------|-------------:|-------------:|--------:|---|\n\
             | a    |    1,000,000 |    1,105,000 |   1.105 | DEARER |\n"
        );
    }
}

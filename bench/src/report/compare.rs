//! Two results beside each other: ratios, and which of them are more than the noise that repeats show.

use std::fmt::Write;

use super::results::Results;
use super::row::{Metric, Row, Spread};
use super::table::number;

/// What one measurement alone may be off by: what repeats of the same differ by on a machine that does
/// other things as well.
const NOISE_OF_ONE: f64 = 0.15;
/// Less than this is no difference, however well the repeats agree.
const NOISE_LEAST: f64 = 0.03;

/// What a ratio means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Better,
    Worse,
    Noise,
}

/// A table of ratios, B to A.
pub fn compare(a: &Results, b: &Results) -> String {
    let mut page = format!(
        "A: {} ({}), weir {}\nB: {} ({}), weir {}\n",
        a.date, a.size, a.versions.weir, b.date, b.size, b.versions.weir
    );
    if a.machine.cpu != b.machine.cpu || a.machine.cores != b.machine.cores {
        // Writing to a String does not fail.
        let _ = writeln!(
            page,
            "Not the same machine ({} x {}, {} x {}): the ratios say little.",
            a.machine.cores, a.machine.cpu, b.machine.cores, b.machine.cpu
        );
    }
    page.push_str(
        "\n| chart | series | x | what | A | B | B/A | |\n|---|---|--:|---|--:|--:|--:|---|\n",
    );
    let (mut better, mut worse) = (0, 0);
    for (row, other) in pairs(a, b) {
        for (metric, before) in &row.metrics {
            let Some(after) = other.metrics.get(metric) else { continue };
            // What a subject does not have, such as a server, is nothing in both.
            if before.median == 0.0 && after.median == 0.0 {
                continue;
            }
            let meaning = meaning(*metric, before, after);
            better += u32::from(meaning == Meaning::Better);
            worse += u32::from(meaning == Meaning::Worse);
            let word = match meaning {
                Meaning::Better => "better",
                Meaning::Worse => "**worse**",
                Meaning::Noise => "",
            };
            let _ = writeln!(
                page,
                "| {} | {} ({}) | {} | {} | {} | {} | {:.2} | {word} |",
                row.chart,
                row.series,
                row.fsync.name(),
                row.x,
                metric.label(),
                number(before.median),
                number(after.median),
                after.median / before.median,
            );
        }
    }
    let _ = writeln!(page, "\nBeyond the noise: {better} better, {worse} worse.");
    for (has, name, rows) in [(b, "A", missing(a, b)), (a, "B", missing(b, a))] {
        if !rows.is_empty() && !has.rows.is_empty() {
            let _ = writeln!(page, "Only in {name}: {}.", rows.join("; "));
        }
    }
    page
}

fn pairs<'a>(a: &'a Results, b: &'a Results) -> impl Iterator<Item = (&'a Row, &'a Row)> {
    a.rows.iter().filter_map(|row| Some((row, twin(row, b)?)))
}

fn twin<'a>(row: &Row, other: &'a Results) -> Option<&'a Row> {
    other.rows.iter().find(|twin| {
        (&twin.chart, &twin.series, twin.fsync) == (&row.chart, &row.series, row.fsync)
            && twin.x == row.x
    })
}

fn missing(from: &Results, other: &Results) -> Vec<String> {
    let alone = from.rows.iter().filter(|row| twin(row, other).is_none());
    alone.map(|row| format!("{} {} {}", row.chart, row.series, row.x)).collect()
}

/// A difference counts where the two ranges do not meet, and the medians are apart by more than noise.
fn meaning(metric: Metric, before: &Spread, after: &Spread) -> Meaning {
    let is_single = before.repeats.min(after.repeats) < 2;
    let noise = if is_single { NOISE_OF_ONE } else { NOISE_LEAST };
    let is_far = noise < (after.median / before.median).ln().abs();
    let do_meet = before.min <= after.max && after.min <= before.max;
    // How slow the machine was is nobody's work; and a ratio that is no number is noise as well.
    if !is_far || do_meet || metric == Metric::MachineSlowPercent {
        return Meaning::Noise;
    }
    if (before.median < after.median) == metric.is_better_higher() {
        Meaning::Better
    } else {
        Meaning::Worse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Fsync;
    use crate::measure::{Machine, Versions};

    fn check(metric: Metric, before: &[f64], after: &[f64], expected: Meaning) {
        let [before_spread, after_spread] =
            [before, after].map(|values| Spread::of(values).unwrap());
        let found = meaning(metric, &before_spread, &after_spread);
        assert_eq!(found, expected, "{metric:?} {before:?} {after:?}");
    }

    #[test]
    fn a_difference_counts_beyond_what_repeats_show() {
        let (rate, p99) = (Metric::EventsPerSecond, Metric::P99Us);
        check(rate, &[100.0, 102.0, 104.0], &[110.0, 112.0, 114.0], Meaning::Better);
        check(p99, &[100.0, 102.0, 104.0], &[110.0, 112.0, 114.0], Meaning::Worse);
        check(p99, &[110.0, 112.0, 114.0], &[100.0, 102.0, 104.0], Meaning::Better);
        // The ranges meet.
        check(rate, &[100.0, 102.0, 111.0], &[110.0, 112.0, 114.0], Meaning::Noise);
        // They do not, but it is next to nothing.
        check(rate, &[100.0, 100.1, 100.2], &[101.0, 101.1, 101.2], Meaning::Noise);
        // One run alone says nothing of its noise.
        check(rate, &[100.0], &[112.0], Meaning::Noise);
        check(rate, &[100.0], &[80.0], Meaning::Worse);
        check(rate, &[0.0], &[0.0], Meaning::Noise);
        check(Metric::MachineSlowPercent, &[1.0, 1.1], &[8.0, 9.0], Meaning::Noise);
    }

    #[test]
    fn rows_are_found_by_where_they_stand() {
        let row = |x, rate: f64| {
            Row::new("headline", "weir", x, Fsync::EachAnswer)
                .with(Metric::EventsPerSecond, &[rate, rate])
        };
        let results = |rows| Results {
            date: "2026-01-31".into(),
            size: "short".into(),
            machine: Machine {
                cpu: "c".into(),
                cores: 2,
                kernel: "k".into(),
                memory_bytes: 1,
                filesystem: "f".into(),
                sync_us: 1.0,
            },
            versions: Versions { weir: "v".into(), rustc: "r".into(), nats_server: String::new() },
            rows,
        };
        let page = compare(
            &results(vec![row(128.0, 1_000.0), row(1024.0, 500.0)]),
            &results(vec![row(1024.0, 1_000.0)]),
        );
        let line =
            "| headline | weir (each answer) | 1024 | events/s | 500 | 1,000 | 2.00 | better |";
        assert!(page.contains(line), "{page}");
        assert!(page.contains("1 better, 0 worse"), "{page}");
        assert!(page.contains("Only in A: headline weir 128."), "{page}");
    }
}

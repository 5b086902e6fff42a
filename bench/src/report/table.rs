//! The results as a page of Markdown.

use std::fmt::Write;

use super::results::{Heading, Results};
use super::row::{Metric, Row, Spread};

/// The page of a run.
pub fn page(results: &Results, charts: &[Heading]) -> String {
    let Results { date, size, machine, versions, rows } = results;
    let gib = machine.memory_bytes as f64 / f64::from(1 << 30);
    let nats = match versions.nats_server.as_str() {
        "" => "nats-server: not there",
        version => version,
    };
    let mut page = format!(
        "# How fast, {date} ({size})\n\n\
         Made by `cargo xtask bench`. Client and servers share the machine. A latency counts from the \
         moment when its event was meant to be sent. Medians; in brackets the least and the most, where \
         something was measured several times. \"machine slow\" is the share of the time in which latencies \
         were measured when a processor took more than three times as long as at its best, which nothing \
         that runs here does: others on the same hardware are every subject's latency in these \
         moments.\n\n\
         - machine: {}, {} cores, {gib:.1} GiB, Linux {}\n\
         - data on: {}; one write of 4 KiB with fdatasync takes {:.0} µs (median)\n\
         - weir {}; {}; {nats}\n",
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.filesystem,
        machine.sync_us,
        versions.weir,
        versions.rustc,
    );
    for chart in charts {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.chart == chart.name).collect();
        if !rows.is_empty() {
            page.push_str(&section(chart, &rows));
        }
    }
    page
}

fn section(chart: &Heading, rows: &[&Row]) -> String {
    let mut section = format!("\n## {}\n\n{}\n\n", chart.name, chart.about);
    for plot in chart.plots.iter().filter(|plot| plot.has_points(rows)) {
        // Writing to a String does not fail.
        let _ = writeln!(section, "![{}]({})", plot.title, plot.file_name(chart.name));
    }
    let mut metrics: Vec<Metric> =
        rows.iter().flat_map(|row| row.metrics.keys().copied()).collect();
    metrics.sort();
    metrics.dedup();
    let labels: Vec<&str> = metrics.iter().map(|metric| metric.label()).collect();
    let _ = write!(
        section,
        "\n| series | {} | fsync | {} |\n|---|--:|---|{}\n",
        chart.x.label,
        labels.join(" | "),
        "--:|".repeat(metrics.len())
    );
    for row in rows {
        let cell = |metric| row.metrics.get(metric).map(spread).unwrap_or_default();
        let cells: Vec<String> = metrics.iter().map(cell).collect();
        let (x, fsync) = (chart.x.text(row.x), row.fsync.name());
        let _ = writeln!(section, "| {} | {x} | {fsync} | {} |", row.series, cells.join(" | "));
    }
    section
}

fn spread(spread: &Spread) -> String {
    let Spread { median, min, max, repeats } = *spread;
    match repeats {
        1 => number(median),
        _ => format!("{} ({} to {})", number(median), number(min), number(max)),
    }
}

/// Three digits that mean something, thousands set apart.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        size => (2 - size.log10().floor() as i32).clamp(0, 4) as usize,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.find('.').map_or((&*text, ""), |at| text.split_at(at));
    let digits = whole.trim_start_matches('-');
    let mut grouped = String::from(if digits.len() < whole.len() { "-" } else { "" });
    for (index, digit) in digits.char_indices() {
        if index != 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_mean_something() {
        for (value, text) in [
            (0.0, "0"),
            (1_234_567.8, "1,234,568"),
            (999.6, "1,000"),
            (123.4, "123"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.01234, "0.0123"),
            (0.000_012, "0.0000"),
            (-4_321.0, "-4,321"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
    }
}

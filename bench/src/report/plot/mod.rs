//! Plots of a chart's rows, as SVG.

mod lines;
mod bars;
mod canvas;
mod scale;

use super::row::{Metric, Row};
use crate::load::Fsync;

/// How rows become marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// x to the right, a line for each series and metric.
    Lines,
    /// A bar for each row and metric, one below the other.
    Bars,
}

/// One picture.
#[derive(Debug)]
pub struct Plot {
    /// What is said above it.
    pub title: &'static str,
    /// Added to the chart's name for the file's; empty for a chart's only one.
    pub suffix: &'static str,
    /// What is shown; all of one unit.
    pub metrics: &'static [Metric],
    /// What the values' axis is called, with its unit.
    pub values: &'static str,
    /// How.
    pub shape: Shape,
    /// Whether the values' axis goes by powers of ten: for what differs by much more than tenfold.
    pub is_log: bool,
}

/// A chart's x.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// With its unit.
    pub label: &'static str,
    /// Whether it goes by powers of ten.
    pub is_log: bool,
    /// What a number of it is written like.
    pub write: fn(f64) -> String,
}

impl Axis {
    /// A number of it.
    pub fn text(&self, x: f64) -> String {
        (self.write)(x)
    }
}

impl Plot {
    /// Its file beside the table.
    pub fn file_name(&self, chart: &str) -> String {
        match self.suffix {
            "" => format!("{chart}.svg"),
            suffix => format!("{chart}-{suffix}.svg"),
        }
    }

    /// Whether there is anything to show.
    pub fn has_points(&self, rows: &[&Row]) -> bool {
        rows.iter().any(|row| self.metrics.iter().any(|metric| row.metrics.contains_key(metric)))
    }
}

/// Draws it; `None` where there is nothing to show.
pub fn draw(plot: &Plot, x: &Axis, rows: &[&Row]) -> Result<Option<String>, String> {
    if !plot.has_points(rows) {
        return Ok(None);
    }
    let drawn = match plot.shape {
        Shape::Lines => lines::draw(plot, x, rows),
        Shape::Bars => bars::draw(plot, x, rows),
    };
    drawn.map(Some).map_err(|error| format!("cannot draw {:?}: {error}", plot.title))
}

/// What a row is called in a legend: its durability is said where rows differ in it.
fn series_name(row: &Row, rows: &[&Row]) -> String {
    let differs = rows.iter().any(|other| other.fsync != row.fsync && other.series == row.series);
    match row.fsync {
        fsync if differs => format!("{} (fsync: {})", row.series, Fsync::name(fsync)),
        _ => row.series.clone(),
    }
}

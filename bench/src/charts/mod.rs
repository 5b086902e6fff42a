//! The charts: which series, which points, which loads.

mod headline;
mod plugins;
mod refusing;
mod languages;
mod swaps;
mod recovery;
mod growth;
mod idle;
mod start;
mod nats;
mod limits;
mod disk;
mod point;
mod plots;

use futures::future::BoxFuture;

use crate::load::{Setting, Size};
use crate::report::{Axis, Heading, Plot, Row};

/// What gives a chart's rows.
type Measure = for<'a> fn(&'a Setting) -> BoxFuture<'a, Result<Vec<Row>, String>>;

/// One chart.
pub struct Chart {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What it shows, in a sentence or two.
    pub about: &'static str,
    /// How long weir's part takes, about: short, full.
    pub seconds: [u32; 2],
    /// What its x is.
    pub x: Axis,
    /// Its plots.
    pub plots: &'static [Plot],
    /// Measures it.
    pub rows: Measure,
}

impl Chart {
    /// What the report needs of it.
    pub fn heading(&self) -> Heading {
        Heading { name: self.name, about: self.about, x: self.x, plots: self.plots }
    }

    /// How long it takes, about.
    pub fn seconds(&self, size: Size) -> u32 {
        self.seconds[size as usize]
    }
}

/// All of them, in the order in which they are measured and shown.
pub const CHARTS: &[&Chart] = &[
    &headline::CHART,
    &plugins::CHART,
    &refusing::CHART,
    &languages::CHART,
    &swaps::CHART,
    &recovery::CHART,
    &growth::PARTITIONS,
    &growth::KEYS,
    &growth::CONNECTIONS,
    &growth::SIZES,
    &growth::BATCHES,
    &idle::CHART,
    &start::CHART,
    &nats::CHART,
    &limits::CHART,
    &disk::CHART,
];

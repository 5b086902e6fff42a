//! A run's results, as programs read them.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::plot::{Axis, Plot};
use super::row::Row;
use crate::measure::{Machine, Versions};

/// The file that [`Results`] are read from and written to.
pub const FILE: &str = "results.json";

/// Everything that was measured in one go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Day, UTC.
    pub date: String,
    /// `short` or `full`.
    pub size: String,
    /// On what.
    pub machine: Machine,
    /// Of what.
    pub versions: Versions,
    /// What came out.
    pub rows: Vec<Row>,
}

impl Results {
    /// Reads them from a folder or its file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let text = fs::read_to_string(&file).map_err(|error| {
            format!("cannot read {}: {error}; name a folder that a run wrote", file.display())
        })?;
        serde_json::from_str(&text).map_err(|error| {
            format!("{} holds no results of this version: {error}", file.display())
        })
    }
}

/// What a chart is called, says, and shows: as much as the report needs of it.
pub struct Heading {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// What its x is.
    pub x: Axis,
    /// Its plots.
    pub plots: &'static [Plot],
}

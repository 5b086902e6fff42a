//! A run's results as a folder: `results.json` for programs, `README.md` and plots for people.

use std::fs;
use std::path::{Path, PathBuf};

use super::plot;
use super::results::{FILE, Heading, Results};
use super::row::Row;
use super::table;

/// Writes the folder; gives the files.
pub fn write(folder: &Path, results: &Results, charts: &[Heading]) -> Result<Vec<PathBuf>, String> {
    let cannot = |path: &Path, why: String| format!("cannot write {}: {why}", path.display());
    fs::create_dir_all(folder).map_err(|error| cannot(folder, error.to_string()))?;
    let mut written = Vec::new();
    let mut put = |name: String, text: String| -> Result<(), String> {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| cannot(&path, error.to_string()))?;
        written.push(path);
        Ok(())
    };
    let json = serde_json::to_string_pretty(results).map_err(|error| error.to_string())?;
    put(FILE.to_owned(), json + "\n")?;
    for chart in charts {
        let rows: Vec<&Row> = results.rows.iter().filter(|row| row.chart == chart.name).collect();
        for plot in chart.plots {
            if let Some(svg) = plot::draw(plot, &chart.x, &rows)? {
                put(plot.file_name(chart.name), svg)?;
            }
        }
    }
    put("README.md".to_owned(), table::page(results, charts))?;
    Ok(written)
}

//! Bars: what differs in kind, one below the other, each with its figure at its end.

use super::canvas::{self, At, Wrong};
use super::scale::{Scale, short};
use super::{Axis, Plot, Row, series_name};
use crate::report::row::Spread;

const WIDTH: i32 = 860;
const RIGHT: i32 = WIDTH - 90;
const TOP: i32 = 44;
const BAR: i32 = 16;
/// Between what belongs to two rows.
const GAP: i32 = 10;
/// Names longer than this would leave no room for bars.
const NAMES_MAX: i32 = 380;

/// Draws them.
pub fn draw(plot: &Plot, x: &Axis, rows: &[&Row]) -> Result<String, Wrong> {
    // A series that stands at several places says at which.
    let is_elsewhere = |row: &Row| {
        rows.iter().any(|other| {
            (&other.series, other.fsync) == (&row.series, row.fsync) && other.x != row.x
        })
    };
    let groups: Vec<(String, Vec<(usize, Spread)>)> = rows
        .iter()
        .map(|row| {
            let found = plot.metrics.iter().enumerate();
            let found = found.filter_map(|(at, metric)| Some((at, *row.metrics.get(metric)?)));
            let mut name = series_name(row, rows);
            if is_elsewhere(row) {
                name = format!("{name}, {}", x.text(row.x));
            }
            (name, found.collect())
        })
        .filter(|(_, bars): &(_, Vec<_>)| !bars.is_empty())
        .collect();
    let longest = groups.iter().map(|(name, _)| canvas::width(name)).max().unwrap_or(0);
    let left = 20 + longest.min(NAMES_MAX);
    let values = groups.iter().flat_map(|(_, bars)| bars.iter().map(|(_, spread)| spread.max));
    let scale = Scale::of_lengths(values, plot.is_log);
    let to_right = |value: f64| left + (scale.place(value) * f64::from(RIGHT - left)) as i32;
    let tall = |bars: &[(usize, Spread)]| BAR * bars.len() as i32 + GAP;
    let bottom = TOP + groups.iter().map(|(_, bars)| tall(bars)).sum::<i32>() + GAP;
    let legend_lines = if plot.metrics.len() == 1 { 0 } else { 1 };
    let height = bottom + 52 + 24 * legend_lines;
    canvas::sheet((WIDTH as u32, height as u32), plot.title, |sheet| {
        for tick in scale.ticks() {
            canvas::rule(sheet, (to_right(tick), TOP), (to_right(tick), bottom), true)?;
            canvas::text(sheet, &short(tick), (to_right(tick), bottom + 6), At::Below)?;
        }
        let mut top = TOP + GAP;
        for (name, bars) in &groups {
            let middle = top + BAR * bars.len() as i32 / 2;
            canvas::text(sheet, name, (left - 8, middle), At::Right)?;
            for (at, spread) in bars {
                let end = to_right(spread.median);
                let colour = canvas::colour(*at);
                canvas::bar(sheet, (left, top), (end, top + BAR - 2), colour)?;
                let (least, most) = (to_right(spread.min), to_right(spread.max));
                let across = top + BAR / 2 - 1;
                canvas::rule(sheet, (least, across), (most, across), false)?;
                canvas::text(sheet, &short(spread.median), (end.max(most) + 6, across), At::Left)?;
                top += BAR;
            }
            top += GAP;
        }
        canvas::rule(sheet, (left, TOP), (left, bottom), false)?;
        canvas::text(sheet, plot.values, ((left + RIGHT) / 2, bottom + 24), At::Below)?;
        if legend_lines == 1 {
            let mut right = left;
            for (at, metric) in plot.metrics.iter().enumerate() {
                let line = bottom + 58;
                canvas::bar(sheet, (right, line - 6), (right + 14, line + 6), canvas::colour(at))?;
                canvas::text(sheet, metric.label(), (right + 20, line), At::Left)?;
                right += 48 + canvas::width(metric.label());
            }
        }
        Ok(())
    })
}

//! Lines: how something changes along x.

use super::canvas::{self, At, Sheet, Wrong};
use super::scale::{Scale, short};
use super::{Axis, Plot, Row, series_name};
use crate::report::row::Spread;

const WIDTH: i32 = 860;
const PLOT_HEIGHT: i32 = 340;
const LEFT: i32 = 84;
const RIGHT: i32 = WIDTH - 30;
const TOP: i32 = 48;
const LEGEND_LINE: i32 = 20;

struct Line {
    name: String,
    points: Vec<(f64, Spread)>,
}

/// Draws them.
pub fn draw(plot: &Plot, x: &Axis, rows: &[&Row]) -> Result<String, Wrong> {
    let lines = lines_of(plot, rows);
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let across = Scale::around(points().map(|(x, _)| *x), x.is_log);
    let up = Scale::over(points().flat_map(|(_, y)| [y.min, y.max]), plot.is_log);
    let bottom = TOP + PLOT_HEIGHT;
    let height = bottom + 56 + LEGEND_LINE * lines.len() as i32 + 12;
    let to_right = |value: f64| LEFT + (across.place(value) * f64::from(RIGHT - LEFT)) as i32;
    let to_top = |value: f64| bottom - (up.place(value) * f64::from(PLOT_HEIGHT)) as i32;
    canvas::sheet((WIDTH as u32, height as u32), plot.title, |sheet| {
        for tick in up.ticks() {
            canvas::rule(sheet, (LEFT, to_top(tick)), (RIGHT, to_top(tick)), true)?;
            canvas::text(sheet, &short(tick), (LEFT - 8, to_top(tick)), At::Right)?;
        }
        name_places(sheet, x, points().map(|(x, _)| *x).collect(), bottom, to_right)?;
        canvas::rule(sheet, (LEFT, TOP), (LEFT, bottom), false)?;
        canvas::rule(sheet, (LEFT, bottom), (RIGHT, bottom), false)?;
        canvas::upright(sheet, plot.values, (12, TOP + PLOT_HEIGHT / 2))?;
        canvas::text(sheet, x.label, ((LEFT + RIGHT) / 2, bottom + 28), At::Below)?;
        for (index, line) in lines.iter().enumerate() {
            let colour = canvas::colour(index);
            let through = line.points.iter().map(|(x, y)| (to_right(*x), to_top(y.median)));
            canvas::line(sheet, through.clone().collect(), colour)?;
            for (x, y) in &line.points {
                // From the least to the most that the repeats showed.
                let right = to_right(*x);
                canvas::line(sheet, vec![(right, to_top(y.min)), (right, to_top(y.max))], colour)?;
            }
            through.into_iter().try_for_each(|point| canvas::dot(sheet, point, colour))?;
            let legend = bottom + 60 + LEGEND_LINE * index as i32;
            canvas::line(sheet, vec![(LEFT, legend), (LEFT + 24, legend)], colour)?;
            canvas::dot(sheet, (LEFT + 12, legend), colour)?;
            canvas::text(sheet, &line.name, (LEFT + 34, legend), At::Left)?;
        }
        Ok(())
    })
}

/// Names the measured places below the axis, as far as their names do not touch.
fn name_places(
    sheet: &Sheet<'_>,
    x: &Axis,
    mut places: Vec<f64>,
    bottom: i32,
    to_right: impl Fn(f64) -> i32,
) -> Result<(), Wrong> {
    places.sort_by(f64::total_cmp);
    places.dedup();
    let mut free_from = i32::MIN;
    for place in places {
        let (name, right) = (x.text(place), to_right(place));
        canvas::rule(sheet, (right, bottom), (right, bottom + 5), false)?;
        let half = canvas::width(&name) / 2;
        if free_from <= right - half {
            canvas::text(sheet, &name, (right, bottom + 9), At::Below)?;
            free_from = right + half + 8;
        }
    }
    Ok(())
}

fn lines_of(plot: &Plot, rows: &[&Row]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for metric in plot.metrics {
        for row in rows {
            let Some(spread) = row.metrics.get(metric) else { continue };
            let mut name = series_name(row, rows);
            if 1 < plot.metrics.len() {
                name = format!("{name}, {}", metric.label());
            }
            let point = (row.x, *spread);
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push(point),
                None => lines.push(Line { name, points: vec![point] }),
            }
        }
    }
    lines.iter_mut().for_each(|line| line.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    lines
}

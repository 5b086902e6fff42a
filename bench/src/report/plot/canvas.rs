//! What plots are drawn with: text, lines and boxes on a white sheet.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours that eyes of all kinds tell apart (Okabe and Ito), the one of weir first.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(150, 150, 150),
];
const INK: RGBColor = RGBColor(34, 34, 34);
const PALE: RGBColor = RGBColor(221, 221, 221);
const TEXT: i32 = 13;
const TITLE: i32 = 17;
/// What a letter is wide on average, of its height: SVG is laid out by whoever shows it.
const LETTER: f64 = 0.56;

/// A sheet.
pub type Sheet<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
/// What can go wrong on it.
pub type Wrong = DrawingAreaErrorKind<std::io::Error>;

/// Where a text is at its point.
#[derive(Debug, Clone, Copy)]
pub enum At {
    /// The point is the middle of its left end.
    Left,
    /// Of its right end.
    Right,
    /// The point is the middle of its upper edge.
    Below,
}

/// The colour of the `index`-th series.
pub fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// How wide a text is, about.
pub fn width(text: &str) -> i32 {
    (text.chars().count() as f64 * f64::from(TEXT) * LETTER) as i32
}

/// Makes a sheet, lets `paint` paint on it, and gives its SVG.
pub fn sheet(
    size: (u32, u32),
    title: &str,
    paint: impl FnOnce(&Sheet<'_>) -> Result<(), Wrong>,
) -> Result<String, Wrong> {
    let mut svg = String::new();
    {
        let sheet = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        sheet.fill(&WHITE)?;
        let style = ("sans-serif", TITLE).into_font().color(&INK);
        sheet.draw(&Text::new(title.to_owned(), (16, 12), style))?;
        paint(&sheet)?;
        sheet.present()?;
    }
    Ok(svg)
}

/// Writes.
pub fn text(sheet: &Sheet<'_>, text: &str, point: (i32, i32), at: At) -> Result<(), Wrong> {
    let anchor = match at {
        At::Left => Pos::new(HPos::Left, VPos::Center),
        At::Right => Pos::new(HPos::Right, VPos::Center),
        At::Below => Pos::new(HPos::Center, VPos::Top),
    };
    let style = ("sans-serif", TEXT).into_font().color(&INK).pos(anchor);
    sheet.draw(&Text::new(text.to_owned(), point, style))
}

/// Writes from below to above, around its middle.
pub fn upright(sheet: &Sheet<'_>, text: &str, point: (i32, i32)) -> Result<(), Wrong> {
    let font = ("sans-serif", TEXT).into_font().transform(FontTransform::Rotate270);
    let style = font.color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
    sheet.draw(&Text::new(text.to_owned(), point, style))
}

/// A line of the frame, or, pale, of the grid.
pub fn rule(
    sheet: &Sheet<'_>,
    from: (i32, i32),
    to: (i32, i32),
    is_pale: bool,
) -> Result<(), Wrong> {
    let colour = if is_pale { PALE } else { INK };
    sheet.draw(&PathElement::new(vec![from, to], colour.stroke_width(1)))
}

/// A line through points.
pub fn line(sheet: &Sheet<'_>, points: Vec<(i32, i32)>, colour: RGBColor) -> Result<(), Wrong> {
    sheet.draw(&PathElement::new(points, colour.stroke_width(2)))
}

/// A dot.
pub fn dot(sheet: &Sheet<'_>, point: (i32, i32), colour: RGBColor) -> Result<(), Wrong> {
    sheet.draw(&Circle::new(point, 4, colour.filled()))
}

/// A filled box.
pub fn bar(
    sheet: &Sheet<'_>,
    from: (i32, i32),
    to: (i32, i32),
    colour: RGBColor,
) -> Result<(), Wrong> {
    sheet.draw(&Rectangle::new([from, to], colour.filled()))
}

//! From values to pixels, and which values an axis names.

/// An axis from one value to another.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    from: f64,
    to: f64,
    is_log: bool,
}

impl Scale {
    /// One on which all of these have a place. A linear one begins at 0, so that lengths compare.
    pub fn over(values: impl Iterator<Item = f64>, is_log: bool) -> Self {
        // Nothing but zeros has an axis of one.
        let values: Vec<f64> = values.filter(|it| it.is_finite() && 0.0 < *it).collect();
        let max = values.iter().copied().reduce(f64::max).unwrap_or(1.0);
        if !is_log {
            let step = step(max);
            return Self { from: 0.0, to: (max / step).ceil() * step, is_log };
        }
        let min = values.into_iter().fold(max, f64::min);
        let (from, to) = (floor_125(min), ceil_125(max));
        Self { from, to: if from < to { to } else { from * 10.0 }, is_log }
    }

    /// The same for bars: a logarithmic one begins at least a half power of ten below the least, so that
    /// the shortest bar is still one.
    pub fn of_lengths(values: impl Iterator<Item = f64>, is_log: bool) -> Self {
        let scale = Self::over(values, is_log);
        if !is_log {
            return scale;
        }
        Self { from: 10f64.powf((scale.from.log10() - 0.5).floor()), ..scale }
    }

    /// One that ends at its outermost values, with a little room beside them: for places along x.
    pub fn around(values: impl Iterator<Item = f64> + Clone, is_log: bool) -> Self {
        let (min, max) = (
            values.clone().fold(f64::INFINITY, f64::min),
            values.fold(f64::NEG_INFINITY, f64::max),
        );
        if is_log {
            let room = (max / min).powf(0.04).max(1.2);
            return Self { from: min / room, to: max * room, is_log };
        }
        let room = ((max - min) * 0.04).max(f64::EPSILON);
        Self { from: min - room, to: max + room, is_log }
    }

    /// Where a value is, from 0 to 1.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        // What is no number or lies below a logarithmic axis stands at its beginning.
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The values that are named.
    pub fn ticks(&self) -> Vec<f64> {
        if !self.is_log {
            let step = step(self.to);
            let count = (self.to / step).round() as u32;
            return (0..=count).map(|index| f64::from(index) * step).collect();
        }
        let decades = (self.to / self.from).log10();
        let within = if decades <= 2.5 { &[1.0, 2.0, 5.0][..] } else { &[1.0][..] };
        let first = self.from.log10().floor() as i32;
        let last = self.to.log10().ceil() as i32;
        let all =
            (first..=last).flat_map(|power| within.iter().map(move |n| n * 10f64.powi(power)));
        let slack = 1.0 + 1e-9;
        all.filter(|value| self.from / slack <= *value && *value <= self.to * slack).collect()
    }
}

/// Of four to ten steps to `max`, a round one.
fn step(max: f64) -> f64 {
    let power = 10f64.powi((max.log10() - 0.3).floor() as i32);
    let steps = [0.2, 0.5, 1.0, 2.0].map(|n| n * power);
    steps.into_iter().find(|step| max / step <= 8.0).unwrap_or(power * 5.0)
}

fn floor_125(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    let below = [5.0, 2.0, 1.0].map(|n| n * power);
    below.into_iter().find(|bound| *bound <= value).unwrap_or(power)
}

fn ceil_125(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    let above = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
    above.into_iter().find(|bound| value <= *bound).unwrap_or(power * 10.0)
}

/// A value in few letters: 1.5 M, 200 k.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if 1e9 <= size => (value / 1e9, " G"),
        size if 1e6 <= size => (value / 1e6, " M"),
        size if 1e4 <= size => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        0.0 => 0,
        size if size < 0.1 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{scaled:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(values: &[f64], is_log: bool) -> Vec<String> {
        let scale = Scale::over(values.iter().copied(), is_log);
        scale.ticks().into_iter().map(short).collect()
    }

    #[test]
    fn axes_name_round_values_up_to_the_largest() {
        assert_eq!(ticks(&[3.0, 7.2], false), ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(ticks(&[410_000.0], false), ["0", "100 k", "200 k", "300 k", "400 k", "500 k"]);
        assert_eq!(
            ticks(&[30.0, 4_000.0], true),
            ["20", "50", "100", "200", "500", "1000", "2000", "5000"]
        );
        assert_eq!(ticks(&[3.0, 2e6], true), ["10", "100", "1000", "10 k", "100 k", "1 M"]);
        assert_eq!(ticks(&[0.0, f64::INFINITY], false).last().unwrap(), "1");
        assert_eq!(ticks(&[0.0], true), ["1", "2", "5", "10"]);
    }

    #[test]
    fn the_shortest_bar_has_a_length() {
        let scale = |value: f64| Scale::of_lengths([value, 1e5].into_iter(), true);
        assert!(0.1 < scale(1e3).place(1e3));
        assert_eq!(scale(1e3).from, 1e2);
        assert_eq!(scale(5e3).from, 1e3);
    }

    #[test]
    fn a_value_has_its_place_between_the_ends() {
        let linear = Scale::over([0.0, 8.0].into_iter(), false);
        assert_eq!([0.0, 4.0, 8.0].map(|value| linear.place(value)), [0.0, 0.5, 1.0]);
        let log = Scale::over([1.0, 100.0].into_iter(), true);
        assert!((log.place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(log.place(0.0), 0.0);
    }
}

//! UTC days: from a time in milliseconds to a day, its end and its name.

use std::fmt;

/// A day in milliseconds; UTC as computers count it has no leap seconds.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A UTC day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(u64);

impl Day {
    /// The day of a time in milliseconds since 1970-01-01T00:00:00Z.
    pub fn of(time_ms: u64) -> Day {
        Day(time_ms / DAY_MS)
    }

    /// The first millisecond of the next day (the last one that a u64 can say ends the last day).
    pub fn end_ms(self) -> u64 {
        // Not saturating_mul, which multiplies in 128 bits here.
        if self.0 < u64::MAX / DAY_MS { (self.0 + 1) * DAY_MS } else { u64::MAX }
    }

    /// Days since 1970-01-01, for state keys.
    pub fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Year, month and day of the month. After Howard Hinnant's `civil_from_days`: the year is
    /// taken to begin in March, so that the leap day is its last and months follow one formula.
    fn civil(self) -> (u64, u64, u64) {
        const ERA_DAYS: u64 = 146_097; // 400 years, after which the calendar repeats
        const MARCH_OF_YEAR_0: u64 = 719_468; // days from 0000-03-01 to 1970-01-01
        let days = self.0 + MARCH_OF_YEAR_0;
        let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        (year, month, day)
    }
}

/// `{}` is the day, `2013-01-01`; `{:#}` is when it is over, `2013-01-02T00:00:00Z`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return write!(f, "{}T00:00:00Z", Day(self.0 + 1));
        }
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_names_and_ends() {
        for (time_ms, day, end) in [
            (0, "1970-01-01", "1970-01-02T00:00:00Z"),
            (DAY_MS - 1, "1970-01-01", "1970-01-02T00:00:00Z"),
            (DAY_MS, "1970-01-02", "1970-01-03T00:00:00Z"),
            (951_782_400_000, "2000-02-29", "2000-03-01T00:00:00Z"),
            (1_357_034_400_000, "2013-01-01", "2013-01-02T00:00:00Z"),
            (1_388_534_399_999, "2013-12-31", "2014-01-01T00:00:00Z"),
            (4_107_542_400_000, "2100-03-01", "2100-03-02T00:00:00Z"),
        ] {
            assert_eq!(Day::of(time_ms).to_string(), day);
            assert_eq!(format!("{:#}", Day::of(time_ms)), end);
        }
    }

    #[test]
    fn the_end_of_all_time_is_no_trap() {
        let last = Day::of(u64::MAX);
        assert_eq!(last.end_ms(), u64::MAX);
        assert!(format!("{last} {last:#}").len() < 64);
    }
}

//! Numbers of JSON, exactly: 1, 1.0 and 10e-1 are one number, and no two numbers are one because
//! both are too long for a float.

use std::cmp::Ordering;
use std::fmt;

/// A number `0.DIGITS x 10^exponent` without zeros at either end of its digits; zero has none.
///
/// Invariant: one number has one form, so that equality of fields is equality of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Number {
    negative: bool,
    digits: String,
    exponent: i64,
}

/// Exponents beyond are refused: nobody counts by such a number.
const EXPONENT_MAX: i64 = 1_000_000;

/// Numbers of up to so many places before or behind the point are written without an exponent.
const PLAIN_PLACES_MAX: i64 = 40;

impl Number {
    /// Reads a number as JSON writes it; `None` for what is none, or has an endless exponent.
    pub fn parse(text: &str) -> Option<Number> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, written) = match rest.split_once(['e', 'E']) {
            None => (rest, 0),
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let digits = [whole, fraction].concat();
        let significant = digits.trim_start_matches('0');
        if significant.is_empty() {
            return Some(Number { negative: false, digits: String::new(), exponent: 0 });
        }
        let leading = digits.len() - significant.len();
        let places = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        let exponent = written.checked_add(places)?;
        if exponent.abs() > EXPONENT_MAX {
            return None;
        }
        let digits = significant.trim_end_matches('0').to_owned();
        Some(Number { negative, digits, exponent })
    }

    /// The number, if it is a whole one from 0 that a u64 can hold.
    pub fn as_u64(&self) -> Option<u64> {
        let places = i64::try_from(self.digits.len()).ok()?;
        if self.negative || self.exponent < places || 20 < self.exponent {
            return self.digits.is_empty().then_some(0);
        }
        self.to_string().parse().ok()
    }

    fn magnitude_cmp(&self, other: &Number) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            // Digits begin with no zero and end with none: they compare as text.
            (false, false) => {
                self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits))
            }
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude_cmp(other),
            (true, true) => other.magnitude_cmp(self),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Its one text: `42`, `1.5`, `0.001`, `1e100`.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        let sign = if self.negative { "-" } else { "" };
        let count = self.digits.len() as i64;
        if !(-PLAIN_PLACES_MAX..=PLAIN_PLACES_MAX).contains(&self.exponent) {
            return write!(f, "{sign}{}e{}", self.digits, self.exponent - count);
        }
        if self.exponent <= 0 {
            let zeros = "0".repeat(self.exponent.unsigned_abs() as usize);
            return write!(f, "{sign}0.{zeros}{}", self.digits);
        }
        if count <= self.exponent {
            let zeros = "0".repeat((self.exponent - count) as usize);
            return write!(f, "{sign}{}{zeros}", self.digits);
        }
        let (whole, fraction) = self.digits.split_at(self.exponent as usize);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect(text)
    }

    #[test]
    fn one_number_has_one_text_however_it_is_written() {
        for (written, text) in [
            ("0", "0"),
            ("-0.00e7", "0"),
            ("42", "42"),
            ("42.0", "42"),
            ("420e-1", "42"),
            ("4.2E1", "42"),
            ("-1.50", "-1.5"),
            ("0.0010", "0.001"),
            ("1e2", "100"),
            ("1e100", "1e100"),
            ("10e99", "1e100"),
            ("12345678901234567890123", "12345678901234567890123"),
        ] {
            assert_eq!(number(written).to_string(), text, "{written}");
        }
        for none in ["", "-", ".5", "1e", "1e99999999999999999999", "1e2000000", "true", "1x"] {
            assert_eq!(Number::parse(none), None, "{none}");
        }
    }

    #[test]
    fn long_numbers_are_told_apart_and_compared() {
        let mut numbers = [
            "-2",
            "-1.5",
            "-1",
            "0",
            "1e-9",
            "0.5",
            "1",
            "1.25",
            "9",
            "10",
            "18446744073709551615",
            "18446744073709551616",
            "18446744073709551617",
            "1e30",
        ]
        .map(number)
        .to_vec();
        let sorted = numbers.clone();
        numbers.reverse();
        numbers.sort();
        assert_eq!(numbers, sorted);
        assert_eq!(number("18446744073709551615").as_u64(), Some(u64::MAX));
        for none in ["18446744073709551616", "1.5", "-1", "0.1", "1e40"] {
            assert_eq!(number(none).as_u64(), None, "{none}");
        }
        assert_eq!((number("0").as_u64(), number("3e1").as_u64()), (Some(0), Some(30)));
    }

    proptest! {
        #[test]
        fn whole_numbers_are_what_integers_are(a: i64, b: i64, zeros in 0_usize..4) {
            let of = |n: i64| number(&format!("{n}.{}", "0".repeat(zeros)));
            prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
            prop_assert_eq!(of(a).to_string(), a.to_string());
            prop_assert_eq!(of(a).as_u64(), u64::try_from(a).ok());
        }

        #[test]
        fn no_text_is_too_odd(text in "[-+0-9.eE]{0,12}") {
            if let Some(number) = Number::parse(&text) {
                prop_assert_eq!(Number::parse(&number.to_string()), Some(number));
            }
        }
    }
}

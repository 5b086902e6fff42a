//! The file of kept counts.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::compare::Counted;
use super::place::Place;

/// Percent by which a count may differ from the kept one. The same code gives the same count, but for
/// the places of keys in hash tables with seeds, which move it by a few thousandths; a copy of every
/// record that nobody needs moves it by a tenth.
const HERE_PERCENT: u64 = 3;
/// The same with another compiler, C library or processor: they inline and copy otherwise, and of a
/// part as small as these a single decision is some percent. What is left to be seen is the gross.
const ELSEWHERE_PERCENT: u64 = 15;

/// What is kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    pub tolerances: Tolerances,
    pub place: Place,
    /// In the order of the road.
    pub parts: Vec<Counted>,
}

/// How much of a change is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerances {
    /// Where the counts were made.
    pub here_percent: u64,
    /// In another place.
    pub elsewhere_percent: u64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self { here_percent: HERE_PERCENT, elsewhere_percent: ELSEWHERE_PERCENT }
    }
}

impl Kept {
    /// Reads the file.
    pub fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let text = fs::read_to_string(file).map_err(|error| {
            format!("{shown}: {error}; `cargo xtask instructions --accept` writes it")
        })?;
        Self::parse(&text).map_err(|why| format!("{shown}: {why}"))
    }

    /// Writes the file.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        fs::write(file, self.text()).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let section = |name: &str| {
            let found = table.get(name).and_then(Value::as_table);
            found.ok_or_else(|| format!("there is no section [{name}]"))
        };
        let number = |of: &Table, name: &str| {
            let found = of.get(name).and_then(Value::as_integer);
            let found = found.and_then(|number| u64::try_from(number).ok());
            found.ok_or_else(|| format!("{name} is no number"))
        };
        let (tolerance, place, parts) =
            (section("tolerance_percent")?, section("made_with")?, section("parts")?);
        let word = |name: &str| {
            let found = place.get(name).and_then(Value::as_str);
            found.map(str::to_owned).ok_or_else(|| format!("{name} is no text"))
        };
        let tolerances = Tolerances {
            here_percent: number(tolerance, "here")?,
            elsewhere_percent: number(tolerance, "elsewhere")?,
        };
        let place = Place {
            rustc: word("rustc")?,
            libc: word("libc")?,
            valgrind: word("valgrind")?,
            cpu: word("cpu")?,
        };
        let counted =
            |name: &String| Ok(Counted { name: name.clone(), instructions: number(parts, name)? });
        let parts = parts.keys().map(counted).collect::<Result<_, String>>()?;
        Ok(Self { tolerances, place, parts })
    }

    fn text(&self) -> String {
        let Place { rustc, libc, valgrind, cpu } = &self.place;
        let mut text = format!(
            "# Instructions of the pure parts of the road, as `cargo xtask instructions --accept` counted\n\
             # them; CI compares with them. `weir-parts` says what each part is.\n\n\
             # What a count may differ by before it is called a change, in percent: with the same\n\
             # compiler, C library, valgrind and kind of processor, and with others.\n\
             [tolerance_percent]\nhere = {}\nelsewhere = {}\n\n\
             [made_with]\nrustc = {rustc:?}\nlibc = {libc:?}\nvalgrind = {valgrind:?}\ncpu = {cpu:?}\n\n\
             [parts]\n",
            self.tolerances.here_percent, self.tolerances.elsewhere_percent,
        );
        for Counted { name, instructions } in &self.parts {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name} = {instructions}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let counted = |name: &str, instructions| Counted { name: name.to_owned(), instructions };
        let kept = Kept {
            tolerances: Tolerances { here_percent: 2, elsewhere_percent: 20 },
            place: Place {
                rustc: "rustc 1.95.0 (59807616e 2026-04-14)".to_owned(),
                libc: "glibc 2.36".to_owned(),
                valgrind: "valgrind-3.19.0".to_owned(),
                cpu: "x86_64 avx2".to_owned(),
            },
            parts: vec![counted("admission-bare", 7), counted("view-pack", 1 << 40)],
        };
        assert_eq!(Kept::parse(&kept.text()), Ok(kept));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(Kept::parse(""), Err("there is no section [tolerance_percent]".to_owned()));
        let text = "[tolerance_percent]\nhere = 3\n[made_with]\n[parts]\n";
        assert_eq!(Kept::parse(text), Err("elsewhere is no number".to_owned()));
    }
}

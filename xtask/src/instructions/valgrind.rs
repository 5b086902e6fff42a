//! Counting with valgrind's callgrind.

use std::path::Path;
use std::process::{Command, Stdio};

/// While this function is on the stack, instructions are collected. The pattern takes the name as any
/// compiler writes it.
const COUNTED: &str = "--toggle-collect=*counted_part*";

/// The C library adapts itself: what it copies and clears with `rep`, which counts as an instruction a
/// byte, and whether large pieces of memory are cleared at all, depends on cache sizes and on what was
/// allocated before. Here it is held to one way, so that a count is of our code and not of its luck.
const TUNABLES: &str = "glibc.malloc.mmap_threshold=131072\
                        :glibc.cpu.x86_rep_movsb_threshold=1073741824\
                        :glibc.cpu.x86_rep_stosb_threshold=1073741824\
                        :glibc.cpu.x86_non_temporal_threshold=1073741824";

pub fn is_there() -> bool {
    let asked = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// The names of the parts.
pub fn parts(program: &Path) -> Result<Vec<String>, String> {
    let said = Command::new(program).output();
    let said = said.map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&said.stdout);
    Ok(text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect())
}

/// The instructions of one part. Its profile goes to `folder`.
pub fn count(program: &Path, part: &str, folder: &Path) -> Result<u64, String> {
    let profile = folder.join(part).with_extension("out");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--error-exitcode=1", COUNTED])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .arg(part)
        // Neither a backtrace's cost nor a log level is to be somebody's environment.
        .env("GLIBC_TUNABLES", TUNABLES)
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LOG");
    let done = valgrind.output().map_err(|error| format!("valgrind cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        let end: Vec<&str> = said.lines().rev().take(12).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        return Err(format!("valgrind: {}\n{}", done.status, end.join("\n")));
    }
    let text = std::fs::read_to_string(&profile)
        .map_err(|error| format!("{}: {error}", profile.display()))?;
    match total(&text) {
        Some(count @ 1..) => Ok(count),
        _ => Err("nothing was counted: are the program's symbols stripped?".to_owned()),
    }
}

/// What a profile's instructions add up to.
fn total(profile: &str) -> Option<u64> {
    let of = |line: &str| {
        line.strip_prefix("totals:").or(line.strip_prefix("summary:"))?.trim().parse().ok()
    };
    profile.lines().rev().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_at_the_end_of_a_profile() {
        let profile = "version: 1\nevents: Ir\nsummary: 12\n\nfn=(1) f\n0 7\n\ntotals: 123456\n";
        assert_eq!(total(profile), Some(123_456));
        assert_eq!(total("events: Ir\nfn=(1) f\n0 7\n"), None);
    }
}

//! `cargo xtask instructions`: what the pure parts of the road cost in instructions, beside what they
//! cost when somebody last looked and said that is right (`bench/parts/instructions.toml`).
//!
//! Instructions, since they are the same on an idle machine and on a busy one: a change that makes
//! judging an event dearer by a twentieth is seen, which no clock in CI would show. valgrind counts
//! them, in the one function `counted_part` of `weir-parts`; so what sets a part up costs nothing.
//!
//! Promises: every part is counted in a process of its own, so that one more part changes no other;
//! where nothing can be counted, that is said and not passed over. Not here: what the parts do
//! (`bench/parts`), and times (`cargo xtask bench`).

mod kept;
mod compare;
mod place;
mod valgrind;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Args;

use self::compare::{Counted, Verdict, compare, table};
use self::kept::Kept;
use self::place::Place;
use crate::{guests, release, root};

/// What to do with the counts.
#[derive(Args)]
pub struct Instructions {
    /// Names of parts; all if none is given. `weir-parts` lists them
    parts: Vec<String>,
    /// Fail where a part costs more than its kept count and the tolerance allow
    #[arg(long, conflicts_with = "accept")]
    check: bool,
    /// Keep the counts of this run: they are meant
    #[arg(long, conflicts_with = "parts")]
    accept: bool,
}

/// Counts, prints the table, and does with it what was asked.
pub fn run(wanted: &Instructions) -> Result<(), String> {
    find_valgrind()?;
    let counted = count(&wanted.parts)?;
    let here = Place::here();
    let file = file();
    if wanted.accept {
        let tolerances = Kept::read(&file).map(|kept| kept.tolerances).unwrap_or_default();
        let kept = Kept { tolerances, place: here, parts: counted };
        kept.write(&file)?;
        println!("{} counts are kept in {}", kept.parts.len(), file.display());
        return Ok(());
    }
    let kept = Kept::read(&file)?;
    let tolerance_percent = match kept.place.differences(&here).as_slice() {
        [] => kept.tolerances.here_percent,
        differences => {
            println!(
                "this is another place than where the counts were made, so only what is over {} % is \
                 called a change: {}",
                kept.tolerances.elsewhere_percent,
                differences.join("; ")
            );
            kept.tolerances.elsewhere_percent
        }
    };
    let all = wanted.parts.is_empty();
    let compared = compare(&kept.parts, &counted, tolerance_percent, all);
    print!("{}", table(&compared));
    if compared.iter().any(|part| part.verdict == Verdict::Cheaper) {
        println!(
            "\nsome parts have become cheaper. Accept it, so that it is not lost again unseen: \
             cargo xtask instructions --accept"
        );
    }
    let failures = compare::failures(&compared);
    if failures.is_empty() || !wanted.check {
        return Ok(());
    }
    Err(format!(
        "{}\nMake it cheaper (callgrind_annotate target/instructions/PART.out shows where they go), or, \
         when it is meant, keep the new counts with `cargo xtask instructions --accept` and say in the \
         commit why",
        failures.join("\n")
    ))
}

/// The step of `cargo xtask test`: where there is no valgrind to be had, it says so.
pub fn check() -> Result<(), String> {
    if let Err(why) = find_valgrind() {
        println!("NOT CHECKED: instruction counts were not compared. {why}");
        return Ok(());
    }
    run(&Instructions { parts: Vec::new(), check: true, accept: false })
}

fn find_valgrind() -> Result<(), String> {
    if !valgrind::is_there() && guests::may_install() {
        guests::apt_install(&["valgrind"]);
    }
    match valgrind::is_there() {
        true => Ok(()),
        false => {
            Err("valgrind is missing, which counts them: on Debian, `apt-get install valgrind`; \
                      it runs on Linux"
                .to_owned())
        }
    }
}

/// Builds the parts and counts them, as many at once as there are cores.
fn count(wanted: &[String]) -> Result<Vec<Counted>, String> {
    let program = release::build(&["--bin", "weir-parts"])?.join("weir-parts");
    let known = valgrind::parts(&program)?;
    if let Some(wrong) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no part {wrong}; there are: {}", known.join(" ")));
    }
    let wanted: Vec<&String> =
        known.iter().filter(|name| wanted.is_empty() || wanted.contains(name)).collect();
    let folder = root().join("target/instructions");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let counts = Mutex::new(vec![None; wanted.len()]);
    let next = AtomicUsize::new(0);
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = wanted.get(at) else { return };
                    let count = valgrind::count(&program, name, &folder);
                    counts.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(count);
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
    let counted = |(name, count): (&String, Option<Result<u64, String>>)| {
        let instructions = count.unwrap_or_else(|| Err("it was not counted".to_owned()));
        let instructions = instructions.map_err(|why| format!("part {name}: {why}"))?;
        Ok(Counted { name: name.clone(), instructions })
    };
    wanted.into_iter().zip(counts).map(counted).collect()
}

fn file() -> PathBuf {
    root().join("bench/parts/instructions.toml")
}

//! Waiting until the disk has done what an earlier run left it to do.
//!
//! A run begins with a new topic or stream, and the one before has just been deleted. To give back a GiB
//! holds every sync up for some hundred milliseconds where the disk is told what is free (`discard`): those
//! would be told as the next one's latency, whosever it is.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use super::machine::write_and_sync;

/// A sync that takes longer waits for something else.
const CALM: Duration = Duration::from_millis(5);
/// Syncs that have to be calm, one after another.
const CALM_IN_A_ROW: u32 = 64;
/// A disk that is not calm by then never is: what is measured is what it is like.
const CALM_WITHIN: Duration = Duration::from_secs(5);

/// Blocks until the disk under `folder` is calm, or for five seconds.
pub fn until_calm(folder: &Path) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot write in {}: {error}", folder.display());
    let path = folder.join("calm");
    let mut file = File::create(&path).map_err(cannot)?;
    let mut syncs = Calm::default();
    let began = Instant::now();
    while !syncs.are_calm() && began.elapsed() < CALM_WITHIN {
        syncs.took(write_and_sync(&mut file).map_err(cannot)?);
    }
    std::fs::remove_file(&path).map_err(cannot)
}

/// How many syncs in a row were calm.
#[derive(Default)]
struct Calm(u32);

impl Calm {
    fn took(&mut self, time: Duration) {
        self.0 = if time < CALM { self.0 + 1 } else { 0 };
    }

    fn are_calm(&self) -> bool {
        CALM_IN_A_ROW <= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_waits_begins_the_row_anew() {
        let mut syncs = Calm::default();
        let quick = |syncs: &mut Calm| (1..CALM_IN_A_ROW).for_each(|_| syncs.took(CALM / 2));
        quick(&mut syncs);
        assert!(!syncs.are_calm());
        syncs.took(CALM);
        quick(&mut syncs);
        assert!(!syncs.are_calm());
        syncs.took(CALM / 2);
        assert!(syncs.are_calm());
    }

    #[test]
    fn nothing_stays_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        until_calm(folder.path()).expect("a disk");
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}

//! The disk alone: blocks appended to a file, one fdatasync each.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::future::BoxFuture;
use tokio::task::spawn_blocking;

use super::of_machine;
use crate::load::{Load, Setting, Subject};
use crate::measure::{Measured, Window};

/// After so many bytes a file is deleted and a new one begun, as a log begins a new segment: what is
/// written must not fill the disk.
const FILE_BYTES: usize = 256 << 20;

/// A folder to write in. An event of its load is one block, and one sync.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Finds a place.
    pub fn start(setting: &Setting) -> Result<Self, String> {
        Ok(Self { folder: setting.folder()? })
    }
}

impl Subject for Disk {
    fn run<'a>(&'a mut self, load: &'a Load) -> BoxFuture<'a, Result<Measured, String>> {
        Box::pin(async move {
            let path = self.folder.path().join("blocks");
            let window = load.window(Instant::now());
            let (bytes, seed) = (load.event_bytes, load.seed);
            let writing = spawn_blocking(move || append(&path, bytes, seed, &window));
            of_machine(writing, window, bytes).await
        })
    }
}

/// How many blocks were on the disk while the window was open.
fn append(path: &PathBuf, bytes: usize, seed: u64, window: &Window) -> Result<u64, String> {
    let cannot = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let mut block = vec![0; bytes];
    fastrand::Rng::with_seed(seed).fill(&mut block);
    let mut counted = 0;
    loop {
        let mut file = File::create(path).map_err(cannot)?;
        sync_folder(path).map_err(cannot)?;
        for _ in 0..FILE_BYTES.div_ceil(bytes) {
            file.write_all(&block).and_then(|()| file.sync_data()).map_err(cannot)?;
            let now = Instant::now();
            if now >= window.closes() {
                return fs::remove_file(path).map(|()| counted).map_err(cannot);
            }
            counted += u64::from(window.counts(now));
        }
        fs::remove_file(path).map_err(cannot)?;
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let [warm_up, duration] = [Duration::ZERO, Duration::from_millis(50)];
        let window = Window { began: Instant::now(), warm_up, duration };
        let path = folder.path().join("blocks");
        append(&path, 4096, 1, &window).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

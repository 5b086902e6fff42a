//! Checkpoints on disk. The only file that says sled.
//!
//! Promises: a checkpoint is stored as a whole or not there at all; what cannot be read is
//! discarded with a warning, and a folder that sled cannot open is moved aside and begun anew.
//! Nothing here is evidence: only the log is.
//!
//! Not here: when to save, and whether a checkpoint belongs to the log at hand
//! ([`Checkpoint::position`] tells the caller).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;
use weir_wire::ids::{PartitionId, Position, TopicId};

use crate::ViewError;
use crate::checkpoint::{Changes, Checkpoint, Decoder, HEAD_KEY, position_in_head};

/// sled's page cache: checkpoints are written often and read once, at the start.
const CACHE_BYTES: u64 = 32 << 20;
/// Bytes written at once where a checkpoint replaces another whole: sled holds a batch in memory.
const BATCH_BYTES: usize = 1 << 20;
/// What a row takes there beside its key and value, about.
const ROW_BYTES: usize = 64;
/// The folder of checkpoints. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store(Kept);

/// One partition's checkpoint. Cheap to clone; its methods block on the disk.
#[derive(Debug, Clone)]
pub struct PartitionFold {
    kept: Kept,
    tree: String,
}

/// Where checkpoints are.
#[derive(Debug, Clone)]
enum Kept {
    Sled(sled::Db, Queue),
    /// By tree; for tests, which want no files.
    Memory(Arc<Mutex<BTreeMap<String, Tree>>>),
}

type Tree = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is to be saved, of any partition. Whoever comes while nobody saves does it for all who come
/// meanwhile: many partitions have their ticks at one time, and sled, asked by many threads at once,
/// has them wait for each other and syncs for each.
#[derive(Debug, Clone, Default)]
struct Queue(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    saves: Vec<Save>,
    is_saving: bool,
}

/// A checkpoint to be saved.
struct Save {
    tree: String,
    changes: Changes,
    done: Box<dyn FnOnce(Result<(), ViewError>) + Send>,
}

impl fmt::Debug for Save {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.tree, self.changes.position())
    }
}

impl Store {
    /// Opens or makes the folder. If sled finds it corrupt, it is moved to `<dir>.broken-N`.
    ///
    /// `Busy`: another process has it. `Broken`: the disk does not let us.
    pub fn open(dir: &Path) -> Result<Self, ViewError> {
        match open(dir) {
            Ok(db) => Ok(Self(Kept::Sled(db, Queue::default()))),
            Err(sled::Error::Io(error)) if is_lock(&error) => Err(ViewError::Busy(dir.to_owned())),
            Err(sled::Error::Io(error)) if !is_damage(&error) => {
                Err(ViewError::Broken(format!("{}: {error}", dir.display())))
            }
            Err(damage) => {
                let aside = move_aside(dir)
                    .map_err(|error| ViewError::Broken(format!("{}: {error}", dir.display())))?;
                warn!(
                    dir = %dir.display(), aside = %aside.display(), error = %damage,
                    "the views could not be opened and were moved aside; rebuilding them from the log"
                );
                Ok(Self(Kept::Sled(open(dir).map_err(broken)?, Queue::default())))
            }
        }
    }

    /// Checkpoints in memory: what was saved is there as long as a clone of the store is.
    pub fn in_memory() -> Self {
        Self(Kept::Memory(Arc::default()))
    }

    /// The checkpoint of a partition.
    pub fn partition(&self, topic: TopicId, partition: PartitionId) -> PartitionFold {
        let tree = format!("{}{:08x}", tree_prefix(topic), partition.0);
        PartitionFold { kept: self.0.clone(), tree }
    }

    /// Drops the checkpoints of a deleted topic. Its partitions' workers have stopped before.
    pub fn forget(&self, topic: TopicId) -> Result<(), ViewError> {
        let prefix = tree_prefix(topic);
        match &self.0 {
            Kept::Memory(trees) => {
                locked(trees).retain(|tree, _| !tree.starts_with(&prefix));
                Ok(())
            }
            Kept::Sled(db, _) => guarded(|| {
                for tree in db.tree_names() {
                    if tree.starts_with(prefix.as_bytes()) {
                        db.drop_tree(tree)?;
                    }
                }
                db.flush().map(drop)
            }),
        }
    }
}

impl PartitionFold {
    /// The stored checkpoint, if there is one that can be read.
    pub fn load(&self) -> Option<Checkpoint> {
        let checkpoint = match &self.kept {
            Kept::Memory(trees) => {
                let trees = locked(trees);
                let mut rows = trees.get(&self.tree).into_iter().flatten();
                let mut decoder = Decoder::default();
                Ok(rows
                    .try_for_each(|(key, value)| decoder.row(key, value))
                    .and_then(|()| decoder.finish()))
            }
            Kept::Sled(db, _) => guarded(|| {
                let mut decoder = Decoder::default();
                for row in &db.open_tree(&self.tree)? {
                    let (key, value) = row?;
                    if let Err(why) = decoder.row(&key, &value) {
                        return Ok(Err(why));
                    }
                }
                Ok(decoder.finish())
            }),
        };
        let why = match checkpoint {
            Ok(Ok(checkpoint)) => return checkpoint,
            Ok(Err(why)) => why.to_string(),
            Err(why) => why.to_string(),
        };
        warn!(
            tree = self.tree,
            why, "a checkpoint was discarded; rebuilding the view from the log"
        );
        None
    }

    /// Stores what changed, atomically with its position, and syncs it. Blocks.
    ///
    /// After any error the view has to `start_over` before the next `take_changes`.
    pub fn save(&self, changes: Changes) -> Result<(), ViewError> {
        match &self.kept {
            Kept::Memory(trees) => {
                save_in(locked(trees).entry(self.tree.clone()).or_default(), &changes)
            }
            Kept::Sled(db, _) => {
                write(db, &self.tree, &changes)?;
                guarded(|| db.flush().map(drop))
            }
        }
    }

    /// The same, and says to `done` what became of it; perhaps on another thread, which saves for many
    /// at once. Then it does not block.
    pub fn save_and_tell(
        &self,
        changes: Changes,
        done: impl FnOnce(Result<(), ViewError>) + Send + 'static,
    ) {
        let Kept::Sled(db, queue) = &self.kept else { return done(self.save(changes)) };
        let save = Save { tree: self.tree.clone(), changes, done: Box::new(done) };
        {
            let mut waiting = locked(&queue.0);
            waiting.saves.push(save);
            if std::mem::replace(&mut waiting.is_saving, true) {
                return;
            }
        }
        loop {
            let saves = {
                let mut waiting = locked(&queue.0);
                waiting.is_saving = !waiting.saves.is_empty();
                std::mem::take(&mut waiting.saves)
            };
            if saves.is_empty() {
                return;
            }
            let write = |Save { tree, changes, done }| (write(db, &tree, &changes), done);
            let written: Vec<_> = saves.into_iter().map(write).collect();
            // None of them is stored before this, so none is told before.
            let flushed = guarded(|| db.flush().map(drop));
            for (written, done) in written {
                done(written.and_then(|()| flushed.clone()));
            }
        }
    }
}

/// Writes a partition's changes; they are stored with the next flush.
fn write(db: &sled::Db, tree: &str, changes: &Changes) -> Result<(), ViewError> {
    let tree = guarded(|| db.open_tree(tree))?;
    match changes.base {
        None => replace(&tree, changes),
        Some(base) => follow(&tree, base, changes),
    }
}

/// The same in memory.
fn save_in(tree: &mut Tree, changes: &Changes) -> Result<(), ViewError> {
    match changes.base {
        None => tree.clear(),
        Some(base) => {
            let stored = tree.get(&HEAD_KEY[..]).and_then(|head| position_in_head(head));
            if stored != Some(base) {
                return Err(ViewError::Gap { stored, base });
            }
        }
    }
    let row = |key, value| {
        match value {
            Some(value) => tree.insert(key, value),
            None => tree.remove(&key),
        };
    };
    match changes.base {
        None => changes.for_each_in_pages(row),
        Some(_) => changes.for_each(row),
    }
    Ok(())
}

fn locked<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    // Rows are bytes; whoever panicked left them whole.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes everything. The head goes first and comes last: until then there is no checkpoint.
fn replace(tree: &sled::Tree, changes: &Changes) -> Result<(), ViewError> {
    guarded(|| {
        tree.remove(HEAD_KEY)?;
        tree.clear()?;
        let (mut batch, mut bytes, mut result) = (sled::Batch::default(), 0, Ok(()));
        changes.for_each_in_pages(|key, value| {
            let Some(value) = value else { return };
            bytes += key.len() + value.len() + ROW_BYTES;
            batch.insert(key, value);
            if BATCH_BYTES <= bytes && result.is_ok() {
                bytes = 0;
                result = tree.apply_batch(std::mem::take(&mut batch));
            }
        });
        result?;
        tree.apply_batch(batch)
    })
}

/// Writes what changed since `base`, if that is what is stored.
fn follow(tree: &sled::Tree, base: Position, changes: &Changes) -> Result<(), ViewError> {
    let head = guarded(|| tree.get(HEAD_KEY))?;
    let stored = head.and_then(|head| position_in_head(&head));
    if stored != Some(base) {
        return Err(ViewError::Gap { stored, base });
    }
    guarded(|| {
        let mut batch = sled::Batch::default();
        changes.for_each(|key, value| match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        });
        tree.apply_batch(batch)
    })
}

fn tree_prefix(topic: TopicId) -> String {
    format!("partition/{:08x}/", topic.0)
}

fn open(dir: &Path) -> sled::Result<sled::Db> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    calm(|| config.open())
}

/// sled 0.34 panics on some damage: here that is damage like any other.
fn calm<T>(work: impl FnOnce() -> sled::Result<T>) -> sled::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(sled::Error::ReportableBug("sled panicked".to_owned())))
}

fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, ViewError> {
    calm(work).map_err(broken)
}

fn broken(error: sled::Error) -> ViewError {
    ViewError::Broken(error.to_string())
}

/// sled says "in use" with nothing but a sentence.
fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Whether it is what was read that is wrong, and not the reading.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
    )
}

fn move_aside(dir: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let mut aside = dir.as_os_str().to_owned();
        aside.push(format!(".broken-{number}"));
        let aside = PathBuf::from(aside);
        if !aside.try_exists()? {
            std::fs::rename(dir, &aside)?;
            return Ok(aside);
        }
        number += 1;
    }
}

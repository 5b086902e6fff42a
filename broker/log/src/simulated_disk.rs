//! A disk in memory that forgets what real ones forget, for tests of everything that stands on one.
//!
//! What was written and not synced is in the *cache*: it is read back, and survives the process. A
//! [power cut](SimulatedDisk::power_cut) leaves what was synced, and of the rest whichever sectors
//! and names it likes: writes come out torn and in another order. After a failed sync the cache
//! counts as clean and is not on the platter, as on Linux.
//!
//! Promises: nothing here is random by itself; whoever cuts the power says what survives. Not here:
//! time, which the caller's [`Blocking`](crate::blocking::Blocking) has.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Access, Disk, DiskFile, Entry, Space};

/// A disk writes a sector whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What is asked of the disk, for a test's hook.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// Which call.
    pub call: Call,
    /// On which file or folder.
    pub path: &'a Path,
    /// Where in the file; 0 if that has no meaning.
    pub place: u64,
    /// The bytes to be written, if any.
    pub bytes: &'a [u8],
}

/// The calls that change something, and reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the methods of `Disk` and `DiskFile`")]
pub enum Call {
    Read,
    Create,
    WriteAt,
    Sync,
    Truncate,
    Write,
    Rename,
    Unlink,
    RemoveFolder,
    SyncFolder,
}

/// What a test's hook makes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done.
    Done,
    /// It fails; a write leaves so many of its bytes, a sync leaves the cache clean and unwritten.
    Fails(io::ErrorKind, usize),
    /// It is not done, and says it was: for planting bugs.
    Skipped,
}

type Hook = Arc<dyn Fn(&Operation<'_>) -> Fate + Send + Sync>;

/// See the module's text. Cheap to clone: all clones are one disk.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Inner>);

struct Inner {
    platter: Mutex<Platter>,
    /// Asked while nothing is locked, so it may wait.
    hook: Mutex<Hook>,
}

struct Platter {
    files: BTreeMap<u64, Content>,
    /// By full path: what is found now, and after a power cut.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Not yet durable, in order.
    name_changes: Vec<NameChange>,
    folders: BTreeMap<PathBuf, u64>,
    next_number: u64,
    capacity: u64,
    /// Raised by a power cut and a kill: files opened before do nothing any more.
    boot: u64,
}

#[derive(Default)]
struct Content {
    cache: Vec<u8>,
    platter: Vec<u8>,
    /// Sectors of the cache that are not on the platter, by number.
    dirty: BTreeMap<usize, ()>,
    /// The cached length is not on the platter.
    length_is_dirty: bool,
}

/// `name` means the file `now`, or none any more.
struct NameChange {
    name: PathBuf,
    now: Option<u64>,
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedDisk")
    }
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl SimulatedDisk {
    /// An empty disk with room for `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let platter = Platter {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            folders: BTreeMap::from([(PathBuf::from("/"), 0)]),
            next_number: 0,
            capacity,
            boot: 0,
        };
        let hook: Hook = Arc::new(|_| Fate::Done);
        Self(Arc::new(Inner { platter: Mutex::new(platter), hook: Mutex::new(hook) }))
    }

    /// Asks `hook` before every operation from now on.
    pub fn set_hook(&self, hook: impl Fn(&Operation<'_>) -> Fate + Send + Sync + 'static) {
        *self.0.hook.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(hook);
    }

    /// The room in all.
    pub fn set_capacity(&self, capacity: u64) {
        self.platter().capacity = capacity;
    }

    /// The process died: nothing is lost, but files that were open are closed.
    pub fn kill(&self) {
        self.platter().boot += 1;
    }

    /// The power went and came back. `survives` is asked for every sector, length and name that was
    /// not synced; name changes of a folder survive in order.
    pub fn power_cut(&self, mut survives: impl FnMut() -> bool) {
        let mut platter = self.platter();
        platter.boot += 1;
        for content in platter.files.values_mut() {
            content.power_cut(&mut survives);
        }
        let mut broken_off: Vec<PathBuf> = Vec::new();
        for NameChange { name, now } in std::mem::take(&mut platter.name_changes) {
            let folder = name.parent().unwrap_or(Path::new("/")).to_owned();
            if broken_off.contains(&folder) {
                continue;
            }
            if survives() {
                set_name(&mut platter.durable_names, name, now);
            } else {
                broken_off.push(folder);
            }
        }
        platter.names = platter.durable_names.clone();
        platter.forget_nameless();
    }

    /// The bytes of a file as they would be read now.
    pub fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        let platter = self.platter();
        platter.names.get(path).map(|number| platter.files[number].cache.clone())
    }

    /// Replaces a file's bytes behind everybody's back: damage, or what was there all along.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) {
        let mut platter = self.platter();
        let number = platter.number_or_new(path);
        platter.durable_names.insert(path.to_owned(), number);
        let content = platter.files.get_mut(&number).expect("every name has a file");
        *content = Content { cache: bytes.to_vec(), platter: bytes.to_vec(), ..Content::default() };
    }

    /// All files, by path.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.platter().names.keys().cloned().collect()
    }

    fn fate(&self, call: Call, path: &Path, place: u64, bytes: &[u8]) -> Fate {
        let hook = Arc::clone(&self.0.hook.lock().unwrap_or_else(PoisonError::into_inner));
        hook(&Operation { call, path, place, bytes })
    }

    /// For calls that are done whole or not at all: whether it is done.
    fn ask(&self, call: Call, path: &Path) -> io::Result<bool> {
        match self.fate(call, path, 0, &[]) {
            Fate::Done => Ok(true),
            Fate::Skipped => Ok(false),
            Fate::Fails(kind, _) => Err(kind.into()),
        }
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        // Nothing between two changes of the disk panics, so a poisoned one is whole.
        self.0.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn touch(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            self.dirty.insert(sector, ());
        }
    }

    fn set_length(&mut self, length: usize) {
        self.length_is_dirty |= self.cache.len() != length;
        self.cache.resize(length, 0);
    }

    fn write(&mut self, bytes: &[u8], place: usize) {
        let end = place + bytes.len();
        if self.cache.len() < end {
            self.set_length(end);
        }
        self.cache[place..end].copy_from_slice(bytes);
        self.touch(place, end);
    }

    fn sync(&mut self) {
        self.platter.resize(self.cache.len(), 0);
        for sector in self.dirty.keys() {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(self.cache.len());
            if from < to {
                self.platter[from..to].copy_from_slice(&self.cache[from..to]);
            }
        }
        self.clean();
    }

    /// The cache counts as written, whether it was or not.
    fn clean(&mut self) {
        self.dirty.clear();
        self.length_is_dirty = false;
    }

    fn power_cut(&mut self, survives: &mut impl FnMut() -> bool) {
        if self.length_is_dirty && survives() {
            self.platter.resize(self.cache.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(self.cache.len()).min(self.platter.len());
            if survives() && from < to {
                self.platter[from..to].copy_from_slice(&self.cache[from..to]);
            }
        }
        self.cache.clone_from(&self.platter);
        self.length_is_dirty = false;
    }
}

impl Platter {
    fn change_name(&mut self, name: &Path, now: Option<u64>) {
        set_name(&mut self.names, name.to_owned(), now);
        self.name_changes.push(NameChange { name: name.to_owned(), now });
    }

    fn number_or_new(&mut self, path: &Path) -> u64 {
        if let Some(number) = self.names.get(path) {
            return *number;
        }
        let number = self.new_number();
        self.files.insert(number, Content::default());
        self.change_name(path, Some(number));
        number
    }

    fn new_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn forget_nameless(&mut self) {
        let (names, durable) = (&self.names, &self.durable_names);
        let named: Vec<u64> = names.values().chain(durable.values()).copied().collect();
        self.files.retain(|number, _| named.contains(number));
    }

    fn used(&self) -> u64 {
        self.files.values().map(|content| content.cache.len() as u64).sum()
    }

    fn write(&mut self, number: u64, fate: Fate, bytes: &[u8], place: u64) -> io::Result<()> {
        let (written, failure) = match fate {
            Fate::Done => (bytes.len(), None),
            Fate::Skipped => (0, None),
            Fate::Fails(kind, written) => (written.min(bytes.len()), Some(kind)),
        };
        let end = place as usize + written;
        let length = self.content(number)?.cache.len();
        let room = self.capacity.saturating_sub(self.used()) as usize;
        if end.saturating_sub(length) > room {
            let fits = (length + room).saturating_sub(place as usize).min(written);
            self.content(number)?.write(&bytes[..fits], place as usize);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.content(number)?.write(&bytes[..written], place as usize);
        failure.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn content(&mut self, number: u64) -> io::Result<&mut Content> {
        self.files.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn set_name(names: &mut BTreeMap<PathBuf, u64>, name: PathBuf, now: Option<u64>) {
    match now {
        Some(number) => names.insert(name, number),
        None => names.remove(&name),
    };
}

impl Disk for SimulatedDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let mut platter = self.platter();
        for path in folder.ancestors() {
            if !platter.folders.contains_key(path) {
                let number = platter.new_number();
                platter.folders.insert(path.to_owned(), number);
            }
        }
        Ok(())
    }

    fn has_folder(&self, folder: &Path) -> bool {
        self.platter().folders.contains_key(folder)
    }

    fn folder_number(&self, folder: &Path) -> io::Result<u64> {
        self.platter().folders.get(folder).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let platter = self.platter();
        if !platter.folders.contains_key(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let within = |path: &Path| {
            (path.parent() == Some(folder)).then(|| path.file_name().unwrap_or_default().to_owned())
        };
        let files = platter.names.keys().filter_map(|path| within(path)).map(|name| (name, true));
        let folders =
            platter.folders.keys().filter_map(|path| within(path)).map(|name| (name, false));
        Ok(files.chain(folders).map(|(name, is_file)| Entry { name, is_file }).collect())
    }

    fn open(&self, path: &Path, _: Access) -> io::Result<Arc<dyn DiskFile>> {
        let platter = self.platter();
        let number = *platter.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let (disk, path, boot) = (self.clone(), path.to_owned(), platter.boot);
        Ok(Arc::new(OpenFile { disk, number, path, boot }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.ask(Call::Create, path)?;
        let mut platter = self.platter();
        if platter.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = platter.number_or_new(path);
        let (disk, path, boot) = (self.clone(), path.to_owned(), platter.boot);
        Ok(Arc::new(OpenFile { disk, number, path, boot }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.bytes_of(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if !self.ask(Call::Write, path)? {
            return Ok(());
        }
        let mut platter = self.platter();
        let number = platter.number_or_new(path);
        let content = platter.content(number)?;
        content.set_length(0);
        content.write(bytes, 0);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.ask(Call::Rename, from)? {
            return Ok(());
        }
        let mut platter = self.platter();
        if let Some(&number) = platter.names.get(from) {
            platter.change_name(to, Some(number));
            platter.change_name(from, None);
            platter.forget_nameless();
            return Ok(());
        }
        // A folder's, durable at once: what a half-made rename leaves is the same as one that was not begun.
        let moved = |path: &Path| path.strip_prefix(from).map(|rest| to.join(rest)).ok();
        let renamed = |names: &BTreeMap<PathBuf, u64>| -> BTreeMap<PathBuf, u64> {
            names
                .iter()
                .map(|(path, n)| (moved(path).unwrap_or_else(|| path.clone()), *n))
                .collect()
        };
        platter.names = renamed(&platter.names);
        platter.durable_names = renamed(&platter.durable_names);
        platter.name_changes.retain(|change| !change.name.starts_with(from));
        let folders = std::mem::take(&mut platter.folders);
        platter.folders =
            folders.into_iter().map(|(path, n)| (moved(&path).unwrap_or(path), n)).collect();
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let done = self.ask(Call::Unlink, path)?;
        let mut platter = self.platter();
        if !platter.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if done {
            platter.change_name(path, None);
            platter.forget_nameless();
        }
        Ok(())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        if !self.ask(Call::RemoveFolder, folder)? {
            return Ok(());
        }
        let mut platter = self.platter();
        platter.names.retain(|path, _| !path.starts_with(folder));
        platter.durable_names.retain(|path, _| !path.starts_with(folder));
        platter.name_changes.retain(|change| !change.name.starts_with(folder));
        platter.folders.retain(|path, _| !path.starts_with(folder));
        platter.forget_nameless();
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if !self.ask(Call::SyncFolder, folder)? {
            return Ok(());
        }
        let mut platter = self.platter();
        let changes = std::mem::take(&mut platter.name_changes);
        for change in changes {
            if change.name.parent() == Some(folder) {
                set_name(&mut platter.durable_names, change.name, change.now);
            } else {
                platter.name_changes.push(change);
            }
        }
        platter.forget_nameless();
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let platter = self.platter();
        Ok(Space { free: platter.capacity.saturating_sub(platter.used()), total: platter.capacity })
    }
}

/// A file that somebody has open.
#[derive(Debug)]
struct OpenFile {
    disk: SimulatedDisk,
    number: u64,
    path: PathBuf,
    boot: u64,
}

impl OpenFile {
    /// The disk, unless it was restarted since the file was opened.
    fn platter(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.disk.platter();
        if platter.boot == self.boot { Ok(platter) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

impl DiskFile for OpenFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.platter()?.content(self.number)?.cache.len() as u64)
    }

    fn read_exact_at(&self, bytes: &mut [u8], place: u64) -> io::Result<()> {
        self.disk.ask(Call::Read, &self.path)?;
        let mut platter = self.platter()?;
        let content = platter.content(self.number)?;
        let from = place as usize;
        let stored = content.cache.get(from..from + bytes.len());
        bytes.copy_from_slice(stored.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], place: u64) -> io::Result<()> {
        let fate = self.disk.fate(Call::WriteAt, &self.path, place, bytes);
        self.platter()?.write(self.number, fate, bytes, place)
    }

    fn sync(&self) -> io::Result<()> {
        let fate = self.disk.fate(Call::Sync, &self.path, 0, &[]);
        let mut platter = self.platter()?;
        match fate {
            Fate::Done => platter.content(self.number)?.sync(),
            Fate::Skipped => {}
            Fate::Fails(kind, _) => {
                platter.content(self.number)?.clean();
                return Err(kind.into());
            }
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let done = self.disk.ask(Call::Truncate, &self.path)?;
        let mut platter = self.platter()?;
        if done {
            let content = platter.content(self.number)?;
            content.set_length(length as usize);
            content.sync();
        }
        Ok(())
    }
}

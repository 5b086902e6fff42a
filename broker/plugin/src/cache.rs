//! Compiled plugins on disk, and the compiling child process that fills it.
//!
//! ```text
//! DIR (0700)/DIGEST-ENGINE.artefact        one per component and engine, see `artefact`
//! ```
//! Promises: a file is there whole or not at all; only this user could have written it; a damaged
//! one counts as missing. All of it may be deleted at any time: it is made again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, geteuid, nice, setrlimit};
use weir_wire::ids::Digest;

use crate::artefact::Artefact;
use crate::check::CompileError;
use crate::host::{Host, HostError, HostOptions};

/// Only the owner: see the proof in `artefact`.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// Why there is no artefact.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The bytes are no plugin: fix the upload.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// No engine in the compiling process.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The folder could be written by someone else; nothing from it is trusted.
    #[error("{path} must belong to the broker's user and be closed to others (chmod 700)")]
    Open {
        /// The folder.
        path: PathBuf,
    },
    /// The disk.
    #[error("{path}: {error}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
}

/// The folder of artefacts.
#[derive(Debug, Clone)]
pub struct ArtefactCache {
    folder: PathBuf,
}

impl ArtefactCache {
    /// Opens or makes the folder, closed to all other users.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let folder = folder.into();
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder).map_err(at(&folder))?;
        check_owned(&folder)?;
        Ok(Self { folder })
    }

    /// Where the artefact of a component is, or would be.
    pub fn path(&self, host: &Host, digest: &Digest) -> PathBuf {
        self.folder.join(host.artefact_key(digest)).with_extension("artefact")
    }

    /// The artefact of a component, if it is there whole.
    pub fn read(&self, host: &Host, digest: &Digest) -> Result<Option<Artefact>, CacheError> {
        // Again, and not only at the start: the proof in `artefact` stands on it.
        check_owned(&self.folder)?;
        let path = self.path(host, digest);
        let sealed = match fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let artefact = Artefact::unseal(sealed);
        if artefact.is_none() {
            tracing::warn!(path = %path.display(), "compiled plugin is damaged; it is made again");
        }
        Ok(artefact)
    }

    /// The artefact of a component, compiled in this process if it is missing.
    pub fn get_or_compile(
        &self,
        host: &Host,
        digest: &Digest,
        wasm: &[u8],
    ) -> Result<Artefact, CacheError> {
        if let Some(artefact) = self.read(host, digest)? {
            return Ok(artefact);
        }
        let artefact = host.compile(wasm)?;
        write_atomically(&self.path(host, digest), &artefact.seal())?;
        Ok(artefact)
    }
}

/// Compiles the component in `input` into an artefact file: the work of the child process.
/// `output` is what [`ArtefactCache::path`] says, so the parent then finds it with `read`.
pub fn compile_file(input: &Path, output: &Path, options: HostOptions) -> Result<(), CacheError> {
    // One more than the limit is read, so that the check sees it is over.
    let mut wasm = Vec::new();
    let file = File::open(input).map_err(at(input))?;
    file.take(options.component_bytes_max + 1).read_to_end(&mut wasm).map_err(at(input))?;
    let artefact = Host::new(options)?.compile(&wasm)?;
    write_atomically(output, &artefact.seal())
}

/// Below everyone who serves: a compilation is never what a publisher waits for.
const COMPILING_NICENESS: i32 = 19;

/// Limits the calling process for good: address space in bytes, CPU time in seconds (a SIGKILL
/// ends it), no core dump, and the last place in the queue for a processor. For the compiling
/// child, before it has threads.
pub fn limit_this_process(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    nice(COMPILING_NICENESS)?;
    for (resource, limit) in
        [(Resource::As, memory_bytes), (Resource::Cpu, cpu_seconds), (Resource::Core, 0)]
    {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

fn check_owned(folder: &Path) -> Result<(), CacheError> {
    let metadata = fs::symlink_metadata(folder).map_err(at(folder))?;
    let is_ours = metadata.is_dir() && metadata.uid() == geteuid().as_raw();
    if is_ours && metadata.mode() & OTHERS == 0 {
        return Ok(());
    }
    Err(CacheError::Open { path: folder.to_owned() })
}

/// New file, fsync, rename, fsync of the folder: whole or not there, also after a power cut.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // The process id, so that two compilations of one component do not share a file.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        // Best effort: what is left of a failed write is no artefact and never read as one.
        let _ = fs::remove_file(&new);
        at(path)(error)
    })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |error| CacheError::Io { path, error }
}

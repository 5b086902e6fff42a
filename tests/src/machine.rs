//! What a test needs of the machine: programs, and file systems of its own.
//!
//! Promises: a missing program is installed if that is possible at all (root on Debian), a file
//! system is gone when it is dropped; what is not to be had is one sentence.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

/// Makes sure of a program; `package` is what Debian calls its package.
pub fn program(name: &str, package: &str) -> Result<(), String> {
    // apt takes one at a time, and so do we.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if is_there(name) {
        return Ok(());
    }
    if !is_root() {
        return Err(format!("{name} is missing: on Debian, `sudo apt-get install {package}`"));
    }
    // The lists may be old or missing, so they come first; other processes may hold the lock.
    let apt = |words: &[&str]| {
        let lock = ["-q", "-o", "DPkg::Lock::Timeout=120"];
        run(Command::new("apt-get").args(lock).args(words).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let install = ["install", "-y", "--no-install-recommends", package];
    let installed = apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)));
    match installed {
        Ok(()) if is_there(name) => Ok(()),
        Ok(()) => Err(format!("{name} is missing, and package {package} did not bring it")),
        Err(why) => Err(format!("{name} is missing and cannot be installed: {why}")),
    }
}

/// Whether this process may mount.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // apt puts some into places that are not in every root's path.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.into_iter().any(|place| place.join(program).exists())
}

/// A file system of the test's own, mounted until it is dropped.
pub struct Mount {
    folder: TempDir,
    /// The file that holds it, if it is not in memory.
    image: Option<PathBuf>,
}

impl Mount {
    /// ext4 in a file, behind a loop device.
    pub fn ext4(bytes: u64) -> Result<Self, String> {
        needs_root()?;
        program("mkfs.ext4", "e2fsprogs")?;
        let folder = TempDir::new().unwrap();
        let image = folder.path().join("disk");
        File::create(&image).and_then(|file| file.set_len(bytes)).map_err(|e| e.to_string())?;
        fs::create_dir(folder.path().join("mount")).unwrap();
        // No lazy initialisation: nothing but the broker shall write.
        let lazy = "lazy_itable_init=0,lazy_journal_init=0";
        run(system("mkfs.ext4").args(["-q", "-F", "-E", lazy]).arg(&image))?;
        let mount = Self { folder, image: Some(image) };
        mount.mount()?;
        Ok(mount)
    }

    /// In memory.
    pub fn tmpfs(bytes: u64) -> Result<Self, String> {
        needs_root()?;
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("mount")).unwrap();
        let mount = Self { folder, image: None };
        let size = format!("size={bytes}");
        run(system("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(mount.path()))?;
        Ok(mount)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// What cuts its power. Made some time before it is needed, it is ready to cut at once.
    pub fn knife(&self) -> Result<Knife, String> {
        program("xfs_io", "xfsprogs")?;
        let mut command = system("xfs_io");
        command.arg("-x").arg(self.path()).stdin(Stdio::piped()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).spawn().map(Knife).map_err(|error| error.to_string())
    }

    /// Unmounts it and mounts it again, as after a power cut. Nobody may have a file of it open.
    pub fn repair(&self) -> Result<(), String> {
        run(system("umount").arg(self.path()))?;
        self.mount()
    }

    fn mount(&self) -> Result<(), String> {
        let image = self.image.as_ref().expect("one in memory is never mounted again");
        run(system("mount").args(["-o", "loop"]).arg(image).arg(self.path()))
    }
}

/// See [`Mount::knife`].
pub struct Knife(Child);

impl Knife {
    /// What was not synced by now is gone. Nobody can use the file system until
    /// [`Mount::repair`].
    ///
    /// `shutdown` without `-f` is EXT4_GOING_FLAGS_NOLOGFLUSH: even what the journal has finished
    /// and not written stays unwritten.
    pub fn cut(mut self) -> Result<(), String> {
        let mut stdin = self.0.stdin.take().expect("it is piped");
        stdin.write_all(b"shutdown\n").map_err(|error| error.to_string())?;
        drop(stdin);
        let output = self.0.wait_with_output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(format!("xfs_io: {output:?}")) }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a broker that is just being killed may hold on to it.
        if let Err(why) = run(system("umount").arg("-l").arg(self.path())) {
            eprintln!("{} stays mounted: {why}", self.path().display());
        }
    }
}

fn needs_root() -> Result<(), String> {
    if is_root() { Ok(()) } else { Err("it mounts a file system, which takes root".to_owned()) }
}

/// A program of the system, also for a root whose path is short.
fn system(name: &str) -> Command {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let found = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
    Command::new(found.as_deref().map_or(OsStr::new(name), Path::as_os_str))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            Err(format!("{command:?}: {}: {}", output.status, told.trim()))
        }
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

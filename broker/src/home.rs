//! The data directory: what a broker owns on this machine, and that it alone owns it.
//!
//! ```text
//! DIR/                 0700
//!   weir.lock          held as long as the broker lives; the process id for people
//!   client.toml  0600  how clients find and trust this broker
//!   admin.token  0600  who has it may do everything
//!   tls/cert.pem, tls/key.pem
//!   log/  components/  the truth
//!   views/  cache/     may be deleted while no broker runs
//! ```
//! Promises: two brokers never share a directory; a file is there whole or not at all; a secret
//! stands in its file and nowhere else. Not here: what is inside log, views, components and cache.

mod certificate;
mod token;
pub mod private_file;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use weir_wire::ids::Digest;

use certificate::Certificate;
pub use token::Token;

/// A directory everyone may write to, at that: anyone could swap the keys.
const WRITABLE_BY_ALL: u32 = 0o002;
const PERMISSIONS: u32 = 0o7777;

/// Why a data directory cannot be used. The operator acts; each text says how.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another process holds the lock.
    #[error("data directory {} is in use by another broker (pid {pid}); stop it or choose another --data-dir", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Whose it is, as the lock file tells.
        pid: String,
    },
    /// A broker serves it.
    #[error("a broker is at work in {} (pid {pid}); stop it, or look at a copy", dir.display())]
    AtWork {
        /// The directory.
        dir: PathBuf,
        /// Whose it is, as the lock file tells.
        pid: String,
    },
    /// No broker ever was here.
    #[error("{} is no data directory of a broker: it has no folder `log`", .0.display())]
    NoHome(PathBuf),
    /// The directory exists and everyone may write to it.
    #[error("data directory {} can be written by every user of this machine; `chmod o-w` it or choose another --data-dir", .0.display())]
    OpenToAll(PathBuf),
    /// A secret that other users can read.
    #[error("{} can be read by other users (mode {mode:o}); `chmod 600` it, or delete it for a new one if someone may have seen it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file that is not what it should be.
    #[error("{} {why}; restore it, or delete it for a new one", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A certificate and a key that do not make a pair.
    #[error("{} {why}; restore it, or give another certificate (the broker makes its own anew when DIR/tls is deleted)", path.display())]
    NoPair {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file system says no.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No key could be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
}

impl HomeError {
    fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { verb, path, source }
    }
}

/// A data directory, locked.
pub struct Home {
    dir: PathBuf,
    token: Token,
    certificate: Certificate,
    /// The kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

impl Home {
    /// Takes a data directory, and makes what a first start needs: the folders, a certificate, a
    /// token.
    pub fn open(data_dir: &Path) -> Result<Self, HomeError> {
        let dir = make_private(data_dir)?;
        let lock = lock(&dir)?;
        let certificate = Certificate::read_or_make(&dir.join("tls"))?;
        let token = Token::read_or_make(&dir.join("admin.token"))?;
        let home = Self { dir, token, certificate, _lock: lock };
        for folder in [home.log_dir(), home.views_dir(), home.components_dir(), home.cache_dir()] {
            make_folder(&folder)?;
        }
        private_file::sync_folder_of(&home.log_dir()).map_err(HomeError::io("sync", &home.dir))?;
        Ok(home)
    }

    /// Where the partitions' segment files are.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }
    /// Where the folds of the log are kept; may be deleted while no broker runs.
    pub fn views_dir(&self) -> PathBuf {
        self.dir.join("views")
    }
    /// Where the plugins' components are, by digest.
    pub fn components_dir(&self) -> PathBuf {
        self.dir.join("components")
    }
    /// Where compiled components are kept; may be deleted while no broker runs.
    pub fn cache_dir(&self) -> PathBuf {
        self.dir.join("cache")
    }
    /// Where the admin token stands: this may be printed, the token may not.
    pub fn token_file(&self) -> PathBuf {
        self.dir.join("admin.token")
    }
    /// The admin token, to be compared with.
    pub fn token(&self) -> Token {
        self.token.clone()
    }
    /// The sha256 of the broker's own certificate: what people compare.
    pub fn fingerprint(&self) -> Digest {
        self.certificate.fingerprint()
    }
    /// The chain to show to clients, its own certificate first, and its key: those in the `given`
    /// PEM files (chain, key), else the broker's own.
    pub fn certificate(
        &self,
        given: Option<&(PathBuf, PathBuf)>,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), HomeError> {
        match given {
            Some((chain, key)) => Certificate::read(chain, key).map(Certificate::into_parts),
            None => Ok(self.certificate.clone().into_parts()),
        }
    }

    /// Writes how clients find and trust this broker, and says where. They trust the `given`
    /// certificate chain, else the broker's own.
    pub fn write_client_toml(
        &self,
        data: SocketAddr,
        admin: SocketAddr,
        given: Option<&Path>,
        server_name: Option<&str>,
    ) -> Result<PathBuf, HomeError> {
        let path = self.dir.join("client.toml");
        // The broker's own paths are relative, so that the directory can be moved and mounted.
        let trusted = match given {
            Some(chain) => fs::canonicalize(chain).map_err(HomeError::io("find", chain))?,
            None => PathBuf::from("tls/cert.pem"),
        };
        // A door that is open everywhere is reached from here by loopback.
        let data = match data.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, data.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, data.port()).into(),
            _ => data,
        };
        let server_name =
            server_name.map_or_else(String::new, |name| format!("server_name = {name:?}\n"));
        let text = format!(
            "# Written by `weir serve` at each start.\n\
             broker = \"{data}\"\n\
             admin = \"http://{admin}\"\n\
             ca_certificate = {trusted:?}\n\
             token_file = \"admin.token\"\n\
             {server_name}"
        );
        private_file::write(&path, text.as_bytes()).map_err(HomeError::io("write", &path))?;
        Ok(path)
    }
}

/// Makes the directory, or closes one that exists to other users.
fn make_private(data_dir: &Path) -> Result<PathBuf, HomeError> {
    make_folder(data_dir)?;
    let dir = fs::canonicalize(data_dir).map_err(HomeError::io("find data directory", data_dir))?;
    let mode =
        fs::metadata(&dir).map_err(HomeError::io("read", &dir))?.permissions().mode() & PERMISSIONS;
    if mode & WRITABLE_BY_ALL != 0 {
        return Err(HomeError::OpenToAll(dir));
    }
    if mode != 0o700 {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))
            .map_err(HomeError::io("close to other users", &dir))?;
    }
    Ok(dir)
}

/// A folder for the broker's user alone, and those above it where they are missing.
fn make_folder(folder: &Path) -> Result<(), HomeError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(HomeError::io("create folder", folder))
}

/// Why a start would not take the token, or the broker's own certificate and key. Nothing is made
/// and nothing is changed; what is missing is made by the next start.
pub fn faults_of_doors(dir: &Path) -> Vec<HomeError> {
    let (token, tls) = (dir.join("admin.token"), dir.join("tls"));
    let token = token.exists().then(|| Token::read_or_make(&token).err());
    let tls = tls.join("cert.pem").exists().then(|| Certificate::read_or_make(&tls).err());
    token.into_iter().chain(tls).flatten().collect()
}

/// Sees to it that no broker begins to work in a data directory, and changes nothing there. One
/// that was never served, such as a copy without its lock, is still anyway.
pub fn hold_still(dir: &Path) -> Result<Option<File>, HomeError> {
    if !dir.join("log").is_dir() {
        return Err(HomeError::NoHome(dir.to_owned()));
    }
    let path = dir.join("weir.lock");
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HomeError::io("open", &path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            Err(HomeError::AtWork { dir: dir.to_owned(), pid: pid.trim().to_owned() })
        }
        Err(errno) => Err(HomeError::io("lock", &path)(errno.into())),
    }
}

fn lock(dir: &Path) -> Result<File, HomeError> {
    let path = dir.join("weir.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(HomeError::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // The pid is a courtesy: without it the sentence is still true.
            let _ = file.read_to_string(&mut pid);
            let pid =
                if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
            return Err(HomeError::InUse { dir: dir.to_owned(), pid });
        }
        Err(errno) => return Err(HomeError::io("lock", &path)(errno.into())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(HomeError::io("write", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & PERMISSIONS
    }

    fn refusal(dir: &Path) -> String {
        Home::open(dir).err().expect("refused").to_string()
    }

    #[test]
    fn a_first_start_makes_a_closed_house() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new/weir-data");
        let home = Home::open(&dir).unwrap();
        let client = home
            .write_client_toml(
                "127.0.0.1:1".parse().unwrap(),
                "[::1]:2".parse().unwrap(),
                None,
                None,
            )
            .unwrap();
        assert_eq!(mode(&dir), 0o700);
        for secret in ["admin.token", "tls/key.pem", "client.toml"] {
            assert_eq!(mode(&dir.join(secret)), 0o600, "{secret}");
        }
        for folder in [home.log_dir(), home.views_dir(), home.components_dir(), home.cache_dir()] {
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        }
        let text = fs::read_to_string(client).unwrap();
        assert!(text.contains("broker = \"127.0.0.1:1\"\nadmin = \"http://[::1]:2\"\n"), "{text}");
        assert_eq!(
            text.parse::<toml::Table>().unwrap()["token_file"].as_str(),
            Some("admin.token")
        );
    }

    #[test]
    fn a_second_start_finds_what_the_first_made() {
        let folder = tempfile::tempdir().unwrap();
        let first = Home::open(folder.path()).unwrap();
        let (fingerprint, token) =
            (first.fingerprint(), fs::read_to_string(first.token_file()).unwrap());
        drop(first);
        let second = Home::open(folder.path()).unwrap();
        assert_eq!(second.fingerprint(), fingerprint);
        assert!(second.token().matches(token.trim()));
    }

    #[test]
    fn two_brokers_never_share_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let told = refusal(folder.path());
        let pid = std::process::id();
        assert!(
            told.contains(&format!(
                "is in use by another broker (pid {pid}); stop it or choose another --data-dir"
            )),
            "{told}"
        );
        drop(home);
        Home::open(folder.path()).expect("the lock went with its owner");
    }

    #[test]
    fn an_existing_directory_is_closed_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        drop(Home::open(folder.path()).unwrap());
        assert_eq!(mode(folder.path()), 0o700);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(folder.path()).contains("can be written by every user"));
    }

    #[test]
    fn damage_is_told_in_one_sentence() {
        type Damage = fn(&Path);
        let cases: &[(&str, Damage, &str)] = &[
            (
                "token read by all",
                |dir| chmod(&dir.join("admin.token"), 0o644),
                "can be read by other users (mode 644)",
            ),
            (
                "key read by the group",
                |dir| chmod(&dir.join("tls/key.pem"), 0o640),
                "can be read by other users (mode 640)",
            ),
            ("token empty", |dir| fs::write(dir.join("admin.token"), "\n").unwrap(), "is no token"),
            (
                "certificate torn",
                |dir| fs::write(dir.join("tls/cert.pem"), "-----BEGIN").unwrap(),
                "holds no certificate",
            ),
            (
                "key gone",
                |dir| fs::remove_file(dir.join("tls/key.pem")).unwrap(),
                "is missing beside its certificate",
            ),
            (
                "key torn",
                |dir| fs::write(dir.join("tls/key.pem"), "x").unwrap(),
                "holds no private key",
            ),
            (
                "key of another",
                |dir| fs::write(dir.join("tls/key.pem"), another_key()).unwrap(),
                "does not belong to its certificate",
            ),
        ];
        for (name, damage, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            drop(Home::open(folder.path()).unwrap());
            damage(folder.path());
            let told = refusal(folder.path());
            assert!(told.contains(expected) && !told.contains('\n'), "{name}: {told}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(refusal(file.path()).contains("cannot create folder"));
    }

    #[test]
    fn a_given_certificate_is_shown_in_place_of_the_own() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [home, other] = folders.each_ref().map(|folder| Home::open(folder.path()).unwrap());
        let tls = |home: &Home, name: &str| home.dir.join("tls").join(name);
        let given = (tls(&other, "cert.pem"), tls(&other, "key.pem"));
        let shown = |given| home.certificate(given).unwrap().0;
        assert_eq!(shown(Some(&given)), other.certificate(None).unwrap().0);
        assert_ne!(shown(None), shown(Some(&given)));
        let mixed = (tls(&other, "cert.pem"), tls(&home, "key.pem"));
        assert!(
            home.certificate(Some(&mixed))
                .is_err_and(|e| e.to_string().contains("does not belong"))
        );
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn another_key() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        drop(Home::open(folder.path()).unwrap());
        fs::read(folder.path().join("tls/key.pem")).unwrap()
    }
}

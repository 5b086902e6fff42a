//! One `nats-server` as a child process: its own directory, a free port of loopback, JetStream on
//! files, no TLS.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::protocol::ATOMIC_BATCH_MAX;
use crate::load::{Fsync, Setting};

/// Until a server with an empty directory listens; it takes a tenth of a second.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// Where it is installed, from the repository's root.
const PLACE: &str = "target/bench-tools/bin/nats-server";
/// Lines of its log that are kept, to say why it did not start.
const LOG_LINES_MAX: usize = 50;

/// The configuration. `-1` is a free port; a server that is told nothing of syncs makes one every two
/// minutes.
fn config(store: &Path, fsync: Fsync) -> String {
    let sync = match fsync {
        Fsync::EachAnswer => "  sync_interval: always\n",
        Fsync::Interval120s | Fsync::None => "",
    };
    format!(
        "listen: \"127.0.0.1:-1\"\n\
         max_pending: 256MB\n\
         jetstream {{\n  store_dir: {store:?}\n{sync}  \
         limits {{ batch {{ max_msgs: {ATOMIC_BATCH_MAX} }} }}\n}}\n"
    )
}

/// A server that runs, until this is dropped.
pub struct Server {
    child: Child,
    url: String,
    // Read until its end, so that the server never waits for somebody to read its log.
    _log: tokio::task::JoinHandle<()>,
    _home: tempfile::TempDir,
}

impl Server {
    /// Starts one with an empty directory.
    pub async fn start(setting: &Setting, fsync: Fsync) -> Result<Server, String> {
        let program = &find(&setting.root).ok_or("nats-server is not here")?;
        let cannot = |error: std::io::Error| format!("cannot start {}: {error}", program.display());
        let home = setting.folder()?;
        let file = home.path().join("nats.conf");
        std::fs::write(&file, config(&home.path().join("store"), fsync)).map_err(cannot)?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let Some(stderr) = child.stderr.take() else {
            return Err(format!("{} has no log to read", program.display()));
        };
        let mut lines = BufReader::new(stderr).lines();
        let mut seen = Vec::new();
        let ready = tokio::time::timeout(READY_TIMEOUT, async {
            let mut url = None;
            while let Ok(Some(line)) = lines.next_line().await {
                url = url.or_else(|| listening(&line));
                let ready = line.contains("Server is ready");
                if seen.len() < LOG_LINES_MAX {
                    seen.push(line);
                }
                if ready {
                    return url;
                }
            }
            None
        })
        .await;
        let Ok(Some(url)) = ready else {
            return Err(format!("{} did not get ready:\n{}", program.display(), seen.join("\n")));
        };
        let log = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Server { child, url, _log: log, _home: home })
    }

    /// Where clients find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    pub fn pid(&self) -> Result<u32, String> {
        self.child.id().ok_or_else(|| "nats-server ended".to_owned())
    }
}

fn listening(line: &str) -> Option<String> {
    let (_, address) = line.split_once("Listening for client connections on ")?;
    Some(format!("nats://{}", address.trim()))
}

/// What the program says of its version.
pub fn version(program: &Path) -> Option<String> {
    let said = std::process::Command::new(program).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// The program, if it is there: where `WEIR_BENCH_NATS_SERVER` says, or where `cargo xtask bench` puts
/// it.
pub fn find(root: &Path) -> Option<PathBuf> {
    let told = std::env::var_os("WEIR_BENCH_NATS_SERVER").map(PathBuf::from);
    told.into_iter().chain([root.join(PLACE)]).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_to_sync_and_how_large_a_batch_may_be() {
        let store = Path::new("/tmp/a \"b\"");
        assert!(config(store, Fsync::EachAnswer).contains("sync_interval: always"));
        assert!(!config(store, Fsync::Interval120s).contains("sync"));
        assert!(config(store, Fsync::Interval120s).contains("max_msgs: 5000"));
        assert!(config(store, Fsync::Interval120s).contains(r#"store_dir: "/tmp/a \"b\"""#));
    }

    #[test]
    fn the_port_is_read_from_the_log() {
        let line =
            "[7] 2026/11/24 20:00:00.1 [INF] Listening for client connections on 127.0.0.1:4999";
        assert_eq!(listening(line).as_deref(), Some("nats://127.0.0.1:4999"));
        assert_eq!(listening("[INF] Server is ready"), None);
    }
}

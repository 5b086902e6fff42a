//! A broker as a process of its own, on a folder and ports of its own. Killed when it is dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_client::{Admin, Client, ClientConfig};

use crate::load::Setting;

/// How long a start may take: that of a long log on a slow disk.
const READY_WAIT_MAX: Duration = Duration::from_secs(300);

/// A broker that runs.
pub struct Broker {
    program: PathBuf,
    folder: TempDir,
    child: Child,
    started: Instant,
    /// From its start to its ready line.
    ready_after: Duration,
}

impl Broker {
    /// Starts one on an empty folder.
    pub fn start(setting: &Setting) -> Result<Self, String> {
        let folder = setting.folder()?;
        let (child, started, ready_after) = serve(&setting.weir, folder.path())?;
        Ok(Self { program: setting.weir.clone(), folder, child, started, ready_after })
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When its process was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// From its start to its ready line.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Ends it without a goodbye.
    pub fn kill(&mut self) -> Result<(), String> {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        ended.map(drop).map_err(|error| format!("the broker cannot be killed: {error}"))
    }

    /// Starts it again on what it left.
    pub fn start_again(&mut self) -> Result<(), String> {
        (self.child, self.started, self.ready_after) = serve(&self.program, self.folder.path())?;
        Ok(())
    }

    /// Deletes the checkpoints of its views; only while it does not run.
    pub fn delete_views(&self) -> Result<(), String> {
        fs::remove_dir_all(data_dir(self.folder.path()).join("views"))
            .map_err(|error| format!("the views cannot be deleted: {error}"))
    }

    /// A new connection.
    pub async fn client(&self) -> Result<Client, String> {
        Client::connect(self.context()?).await.map_err(|error| self.blame(&error))
    }

    /// Its admin API.
    pub fn admin(&self) -> Result<Admin, String> {
        Admin::new(&self.context()?).map_err(|error| error.to_string())
    }

    /// What went wrong, with what the broker has to say to it.
    pub fn blame(&self, why: &dyn std::fmt::Display) -> String {
        format!("{why}{}", last_lines(self.folder.path()))
    }

    fn context(&self) -> Result<ClientConfig, String> {
        ClientConfig::from_context(data_dir(self.folder.path()).join("client.toml"))
            .map_err(|error| error.to_string())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn data_dir(folder: &Path) -> PathBuf {
    folder.join("weir-data")
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("serve.log")
}

/// Starts it, and waits until it says that it is ready.
fn serve(program: &Path, folder: &Path) -> Result<(Child, Instant, Duration), String> {
    let cannot =
        |error: std::io::Error| format!("{} cannot be started: {error}", program.display());
    let log =
        fs::File::options().create(true).append(true).open(log_file(folder)).map_err(cannot)?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .arg("serve")
        .arg("--data-dir")
        .arg(data_dir(folder))
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(cannot)?;
    let stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
    let (tell, told) = sync_channel(1);
    std::thread::spawn(move || {
        // Reads on to the end, so that the broker never waits for a reader.
        for line in stdout.lines().map_while(Result::ok) {
            let _ = tell.try_send((line, Instant::now()));
        }
    });
    let why = match told.recv_timeout(READY_WAIT_MAX) {
        Ok((line, at)) if line.starts_with("weir ready: ") => {
            return Ok((child, started, at - started));
        }
        Ok((line, _)) => format!("the broker began with {line:?}"),
        Err(RecvTimeoutError::Disconnected) => "the broker ended instead of serving".to_owned(),
        Err(RecvTimeoutError::Timeout) => "the broker did not become ready".to_owned(),
    };
    let _ = child.kill();
    let _ = child.wait();
    Err(why + &last_lines(folder))
}

fn last_lines(folder: &Path) -> String {
    let log = fs::read_to_string(log_file(folder)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    if last.is_empty() { String::new() } else { format!("; its last words:\n{}", last.join("\n")) }
}

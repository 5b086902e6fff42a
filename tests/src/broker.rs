//! A broker as users have it: the program `weir serve` in a process of its own, on free ports, in
//! a folder that goes with it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long a start may take on a machine that is busy with other tests.
const READY_WAIT_MAX: Duration = Duration::from_secs(120);
/// How long the broker may take to come to a state that it promised.
const STATE_WAIT_MAX: Duration = Duration::from_secs(60);

/// A running broker. Killed when dropped.
pub struct Broker {
    folder: TempDir,
    child: Child,
    data: String,
    admin: String,
}

impl Broker {
    /// Starts one in a new folder.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (child, data, admin) = serve(folder.path(), "127.0.0.1:0", "127.0.0.1:0");
        Self { folder, child, data, admin }
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("weir-data")
    }
    /// The file that tells clients how to reach it.
    pub fn context(&self) -> PathBuf {
        self.data_dir().join("client.toml")
    }
    /// The address of the data protocol, `ip:port`.
    pub fn data_address(&self) -> &str {
        &self.data
    }
    /// The address of the admin API, `ip:port`.
    pub fn admin_address(&self) -> &str {
        &self.admin
    }

    /// A `weir` command that finds this broker, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).env("WEIR_CONTEXT", self.context()).current_dir(self.folder());
        command
    }

    /// Runs a `weir` command to its end.
    pub fn weir<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        Output::of(&mut self.command(arguments))
    }

    /// Runs a `weir` command that must succeed.
    pub fn done<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        let mut command = self.command(arguments);
        let output = Output::of(&mut command);
        assert!(output.status.success(), "{command:?}: {output:?}\nbroker: {}", self.log());
        output
    }

    /// Waits for a state that the broker promised to come to.
    pub fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < STATE_WAIT_MAX, "never came: {what}\nbroker: {}", self.log());
        }
    }

    /// Stops it as an operator does (SIGTERM) and waits for an orderly end.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the broker ended with {status}: {}", self.log());
    }

    /// Ends it as a power cut of the process would (SIGKILL).
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Starts it again, on the same folder and the same ports.
    pub fn start_again(&mut self) {
        let (child, ..) = serve(self.folder.path(), &self.data, &self.admin);
        self.child = child;
    }

    /// Deletes the views; only while it does not run.
    pub fn delete_views(&self) {
        fs::remove_dir_all(self.data_dir().join("views")).unwrap();
    }

    /// What it told its operator so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("serve.log")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap();
        output.into()
    }

    /// The one JSON value that was printed.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The JSON values that were printed, one a line.
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The program `weir`: `$WEIR_BIN`, else the one that was built with the tests.
pub fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("WEIR_BIN") {
        return program.into();
    }
    // target/debug/deps/stories-0123 -> target/debug/weir
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("weir");
    assert!(program.exists(), "{} is missing: run `cargo build -p weir` first", program.display());
    program
}

/// Starts a broker and waits until it is ready; gives its addresses.
fn serve(folder: &Path, data: &str, admin: &str) -> (Child, String, String) {
    let log = File::options().create(true).append(true).open(folder.join("serve.log")).unwrap();
    let mut child = Command::new(program())
        .args(["serve", "--data-dir", "weir-data", "--listen", data, "--admin", admin])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let first_line = first_line(&mut child);
    let Ok(line) = first_line.recv_timeout(READY_WAIT_MAX) else {
        let _ = child.kill();
        let told = fs::read_to_string(folder.join("serve.log")).unwrap();
        panic!("the broker did not become ready: {told}");
    };
    let (data, admin) = addresses(&line).unwrap_or_else(|| panic!("not the ready line: {line:?}"));
    (child, data.to_owned(), admin.to_owned())
}

fn first_line(child: &mut Child) -> Receiver<String> {
    let (tell, told) = sync_channel(1);
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        // Reads on to the end, so that the broker never waits for a reader.
        for line in stdout.lines().map_while(Result::ok) {
            let _ = tell.try_send(line);
        }
    });
    told
}

fn addresses(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("weir ready: data quic://")?.split_once(" admin http://")
}

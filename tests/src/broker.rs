//! A broker as users have it: the program `weir serve` in a process of its own, on free ports, in
//! a folder that goes with it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

/// How long a start may take on a machine that is busy with other tests.
const READY_WAIT_MAX: Duration = Duration::from_secs(120);
/// How long the broker may take to come to a state that it promised.
const STATE_WAIT_MAX: Duration = Duration::from_secs(60);

/// A broker that runs, or that can be started. Killed when dropped.
pub struct Broker {
    folder: TempDir,
    data_dir: PathBuf,
    child: Option<Child>,
    data: String,
    admin: String,
    /// Turns true when its output ends, which is when it does.
    ended: watch::Receiver<bool>,
}

impl Broker {
    /// Starts one in a new folder.
    pub fn start() -> Self {
        let mut broker = Self::prepare("127.0.0.1:0", "127.0.0.1:0");
        broker.start_again();
        broker
    }

    /// One that does not run yet, with a loopback address of its own: it may be down for a while,
    /// and nobody else takes its ports meanwhile.
    pub fn for_crashes() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // 127.64.0.0/10, by process and broker; clients' own sockets are on 127.0.0.1.
        let low = (process << 8 | number & 0xff) & 0x3f_ffff;
        let address = Ipv4Addr::from_bits(0x7f40_0000 | low);
        Self::prepare(&format!("{address}:4433"), &format!("{address}:4480"))
    }

    fn prepare(data: &str, admin: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let data_dir = folder.path().join("weir-data");
        let (data, admin) = (data.to_owned(), admin.to_owned());
        let ended = watch::channel(true).1;
        Self { folder, data_dir, child: None, data, admin, ended }
    }

    /// Keeps its data there.
    pub fn set_data_dir(&mut self, data_dir: PathBuf) {
        self.data_dir = data_dir;
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }
    /// The file that tells clients how to reach it.
    pub fn context(&self) -> PathBuf {
        self.data_dir.join("client.toml")
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
        let status = self.end(Signal::TERM);
        assert!(status.success(), "the broker ended with {status}: {}", self.log());
    }

    /// Ends it as a power cut of the process would (SIGKILL).
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Tells it to end, and waits until it has. It may have ended before.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// Sends a signal; it may have ended before.
    pub fn signal(&self, signal: Signal) {
        // Not waited for yet, so the number is still its own.
        let _ = kill_process(self.pid(), signal);
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it was started");
        child.wait().unwrap()
    }

    /// Returns once it has ended, by whatever. May be dropped.
    pub async fn ended(&self) {
        // An error is the end of the thread that tells of it, which is the same.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Starts it again, on the same folder and the same ports.
    pub fn start_again(&mut self) {
        if let Err(status) = self.start_under(&[]) {
            panic!("the broker ended with {status} instead of becoming ready: {}", self.log());
        }
    }

    /// Starts it with these words in front of its command line; `Err` if it ended before it was
    /// ready.
    pub fn start_under(&mut self, wrapper: &[OsString]) -> Result<(), ExitStatus> {
        let (folder, data_dir) = (self.folder.path(), self.data_dir.as_os_str());
        let mut words: Vec<&OsStr> = wrapper.iter().map(OsString::as_os_str).collect();
        let program = program();
        words.extend([
            program.as_os_str(),
            OsStr::new("serve"),
            OsStr::new("--data-dir"),
            data_dir,
        ]);
        words.extend(["--listen", &self.data, "--admin", &self.admin].map(OsStr::new));
        let (child, ended, ready) = serve(folder, &words);
        (self.child, self.ended) = (Some(child), ended);
        let Some(line) = ready else { return Err(self.wait()) };
        let (data, admin) =
            addresses(&line).unwrap_or_else(|| panic!("not the ready line: {line:?}"));
        (self.data, self.admin) = (data.to_owned(), admin.to_owned());
        Ok(())
    }

    /// Deletes the views; only while it does not run.
    pub fn delete_views(&self) {
        match fs::remove_dir_all(self.data_dir.join("views")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            deleted => deleted.unwrap(),
        }
    }

    /// What it told its operator so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("serve.log")).unwrap()
    }

    /// The most memory that it had so far, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.memory_of("VmHWM:")
    }

    /// The memory that it has now, in bytes.
    pub fn memory(&self) -> u64 {
        self.memory_of("VmRSS:")
    }

    fn memory_of(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process())).unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        kilobytes.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The processor time that it took so far, in the system's ticks of 10 ms.
    pub fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process())).unwrap();
        // Behind the name, which may hold anything, in parentheses: state is the first field.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        [11, 12].map(|field: usize| fields[field].parse::<u64>().unwrap()).iter().sum()
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it was started"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
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

/// Starts a broker and waits for its ready line; `None` if it ended without.
fn serve(folder: &Path, words: &[&OsStr]) -> (Child, watch::Receiver<bool>, Option<String>) {
    let log = File::options().create(true).append(true).open(folder.join("serve.log")).unwrap();
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let (first_line, ended) = follow(&mut child);
    match first_line.recv_timeout(READY_WAIT_MAX) {
        Ok(line) => (child, ended, Some(line)),
        Err(RecvTimeoutError::Disconnected) => (child, ended, None),
        Err(RecvTimeoutError::Timeout) => {
            let _ = child.kill();
            let told = fs::read_to_string(folder.join("serve.log")).unwrap();
            panic!("the broker did not become ready: {told}");
        }
    }
}

/// Its first line, and the end of its output.
fn follow(child: &mut Child) -> (Receiver<String>, watch::Receiver<bool>) {
    let (tell, told) = sync_channel(1);
    let (end, ended) = watch::channel(false);
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        // Reads on to the end, so that the broker never waits for a reader.
        for line in stdout.lines().map_while(Result::ok) {
            let _ = tell.try_send(line);
        }
        end.send_replace(true);
    });
    (told, ended)
}

fn addresses(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("weir ready: data quic://")?.split_once(" admin http://")
}

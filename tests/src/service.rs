//! A service beside the broker, in a process of its own: it is started, told to end, killed, and what
//! it says is kept in a file of the broker's folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::broker::{Broker, program};

/// A process with its logs. Killed when dropped.
pub struct Service {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Service {
    /// Starts a program that was built beside `weir`, with the broker's context and these variables.
    pub fn start<A: AsRef<OsStr>>(
        broker: &Broker,
        name: &str,
        words: impl IntoIterator<Item = A>,
        variables: &[(&str, &str)],
    ) -> Self {
        let path = program().with_file_name(name);
        assert!(path.exists(), "{} is missing: build the workspace first", path.display());
        let [stdout, stderr] =
            ["out", "log"].map(|end| broker.folder().join(format!("{name}.{end}")));
        let append = |path: &Path| File::options().create(true).append(true).open(path).unwrap();
        let child = Command::new(path)
            .args(words)
            .env("WEIR_CONTEXT", broker.context())
            .envs(variables.iter().copied())
            .current_dir(broker.folder())
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(append(&stderr))
            .spawn()
            .unwrap();
        Self { child, stdout, stderr }
    }

    /// What it printed.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// What it and those before it of the same name complained about.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends it with a signal, and gives how it ended and what it printed.
    pub fn end(mut self, signal: Signal) -> (ExitStatus, String) {
        // It may have ended already; not waited for yet, so the number is still its own.
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let status = self.child.wait().unwrap();
        (status, self.stdout())
    }

    /// SIGKILL.
    pub fn kill(self) {
        self.end(Signal::KILL);
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.stdout())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

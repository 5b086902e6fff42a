//! strace as the hand that breaks things: words to put in front of a command.
//!
//! Worth knowing: `when=N` counts for each thread and each syscall by itself, so N means "the first
//! thread that gets so far". A signal takes effect before the syscall. Signals are lost with
//! `--seccomp-bpf` (strace 6.1), so it is used for errors only. With `-D` the command stays our
//! own child: its end and its signals are those of the broker.

use std::ffi::OsString;
use std::path::Path;

/// What happens to a syscall.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which syscalls, as strace names them, with commas.
    pub syscalls: String,
    /// From which call of a thread on: `N` or `N+`.
    pub when: String,
    /// `signal=SIGKILL`, `error=EIO`, `delay_enter=MICROSECONDS`.
    pub effect: String,
    /// Only on these files; none: on all.
    pub paths: Vec<OsString>,
}

/// The words that make a command suffer `fault`; the calls that it names are written to `trace`.
pub fn inject(fault: &Fault, trace: &Path) -> Vec<OsString> {
    inject_one(fault, &fault.syscalls, trace)
}

/// The same, but only `syscall` suffers; the others that the fault names are only watched.
pub fn inject_one(fault: &Fault, syscall: &str, trace: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> =
        ["strace", "-D", "-f", "-qq", "-y", "-s0"].map(Into::into).into();
    if !fault.effect.starts_with("signal") {
        words.push("--seccomp-bpf".into());
    }
    words.extend(["-e".into(), format!("trace={}", fault.syscalls).into()]);
    let Fault { when, effect, .. } = fault;
    words.extend(["-e".into(), format!("inject={syscall}:{effect}:when={when}").into()]);
    words.extend(["-e", "signal=none"].map(Into::into));
    for path in &fault.paths {
        words.extend(["-P".into(), path.clone()]);
    }
    words.extend(["-o".into(), trace.as_os_str().to_owned()]);
    words
}

/// The words that watch these syscalls of a command and change nothing.
pub fn watch(syscalls: &str, trace: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> =
        ["strace", "-D", "-f", "-qq", "-y", "-s0", "--seccomp-bpf"].map(Into::into).into();
    words.extend(["-e".into(), format!("trace={syscalls}").into()]);
    words.extend(["-e", "signal=none"].map(Into::into));
    words.extend(["-o".into(), trace.as_os_str().to_owned()]);
    words
}

/// A line of a trace: thread, syscall, the rest.
pub fn calls(trace: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    trace.lines().filter_map(|line| {
        let (thread, rest) = line.split_once(' ')?;
        // "<... pwrite64 resumed>" is the end of a call that was told of before.
        let (syscall, rest) = rest.trim_start().split_once('(')?;
        let is_name = syscall.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        is_name.then_some((thread, syscall, rest))
    })
}

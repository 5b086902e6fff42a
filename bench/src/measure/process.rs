//! What processes use up, by the kernel's books.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep_until;

use super::window::Window;

/// Used up while a window was open.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time of the servers.
    pub servers_cpu: Duration,
    /// Processor time of this process, which makes the load.
    pub load_cpu: Duration,
    /// The most memory that the servers had at once; each for itself, added up.
    pub servers_memory_peak: u64,
}

/// Looks at the servers, and at this process, when the window opens and when it closes.
pub async fn watch(window: Window, servers: Vec<u32>) -> Result<Usage, String> {
    let look = || -> Result<(Duration, Duration), String> {
        let servers: Result<Vec<_>, _> = servers.iter().map(|pid| cpu_of(*pid)).collect();
        Ok((servers?.iter().sum(), own_cpu()))
    };
    sleep_until(window.opens().into()).await;
    let (servers_before, load_before) = look()?;
    sleep_until(window.closes().into()).await;
    let (servers_after, load_after) = look()?;
    let peaks: Result<Vec<u64>, _> = servers.iter().map(|pid| memory_peak(*pid)).collect();
    Ok(Usage {
        servers_cpu: servers_after.saturating_sub(servers_before),
        load_cpu: load_after.saturating_sub(load_before),
        servers_memory_peak: peaks?.iter().sum(),
    })
}

/// Processor time of a process so far, in the kernel and out of it, all of its threads.
pub fn cpu_of(pid: u32) -> Result<Duration, String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| gone(&path, &error))?;
    let ticks = cpu_ticks(&stat).ok_or_else(|| format!("{path} is not as Linux writes it"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

/// Processor time of this process so far.
pub fn own_cpu() -> Duration {
    cpu_by(ClockId::ProcessCPUTime)
}

/// Processor time of the calling thread so far.
pub(super) fn thread_cpu() -> Duration {
    cpu_by(ClockId::ThreadCPUTime)
}

fn cpu_by(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Neither is negative: it is a time since the process or the thread began.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The most memory that a process had resident so far, in bytes.
pub fn memory_peak(pid: u32) -> Result<u64, String> {
    memory(pid, "VmHWM:")
}

/// The memory that a process has resident now, in bytes.
pub fn memory_now(pid: u32) -> Result<u64, String> {
    memory(pid, "VmRSS:")
}

/// Lets the peak begin anew, at what the process has now. Where that may not be done the peak is the
/// process's whole life's.
pub fn reset_memory_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn memory(pid: u32, field: &str) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(|error| gone(&path, &error))?;
    memory_field(&status, field).ok_or_else(|| format!("{path} has no {field}"))
}

fn gone(path: &str, error: &std::io::Error) -> String {
    format!("cannot read {path}: {error}; did the process end?")
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // Behind the name, which may hold anything, in parentheses: state is the first field.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let [user, system] = [fields.get(11)?, fields.get(12)?].map(|field| field.parse::<u64>());
    Some(user.ok()? + system.ok()?)
}

fn memory_field(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 120 30 5 6 20 0 8 0 99";
        assert_eq!(cpu_ticks(stat), Some(150));
        assert_eq!(cpu_ticks("42 (x) S"), None);
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     1024 kB\n";
        assert_eq!(memory_field(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(memory_field(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(memory_field(status, "VmSwap:"), None);
    }
}

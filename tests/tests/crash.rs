//! The real program, killed, cut off from its power, on disks that fail and disks that are full;
//! one module per kind of misfortune. What each promises is in ARCHITECTURE.md's table of rows.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod crash {
    mod every_syscall;
    mod kill_loop;
    mod swaps;
    mod cleaning;
    mod power_cut;
    mod disk_errors;
    mod full_disk;
    mod slow_disk;
}

//! Plugins that fail and plugins that attack, in the real program; one module per kind. What each
//! promises is in ARCHITECTURE.md's table of rows.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod plugins {
    mod failure_matrix;
    mod bombs;
    mod uploads;
    mod mutants;
    mod fake_host;
    mod neighbour;
}

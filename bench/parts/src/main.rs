//! The pure parts of the road, one at a time, under valgrind's eye: what each costs in instructions,
//! which does not depend on who else is at work on the machine.
//!
//! `weir-parts` lists the parts, `weir-parts NAME` does one of them: sets it up, does it once to warm
//! up, and then once more in [`counted_part`](count::counted_part), the only function whose
//! instructions `cargo xtask instructions` has collected.
//!
//! Promises: no clock and no chance in what a part is given; what it makes is let go inside the count,
//! since freeing is a cost too. Not here: threads, syncs and the network (`weir-bench` measures those),
//! and what the counts are compared with.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to a program is what it does"
)]

mod parts;
mod judged;
mod native_rule;
mod events;
mod count;

use std::process::ExitCode;

fn main() -> ExitCode {
    let parts = parts::ALL;
    match &std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => {
            for part in parts {
                println!("{}\t{}", part.name, part.about);
            }
            ExitCode::SUCCESS
        }
        [name] if let Some(part) = parts.iter().find(|part| part.name == name) => {
            (part.run)();
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("give the name of one part; without a name, weir-parts lists them");
            ExitCode::FAILURE
        }
    }
}

//! The look at an upload before anything is compiled.
#![no_main]

/// The broker's own file: its crate would bring wasmtime along.
#[allow(dead_code, reason = "the compiler's answers are made elsewhere")]
#[path = "../../../broker/plugin/src/check.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use weir_fuzz::bounded;

/// Characters of an answer at most: it goes into one HTTP response.
const ANSWER_CHARS_MAX: usize = 1_000;

fuzz_target!(|input: &[u8]| {
    bounded(|| {
        if let Err(refusal) = check::check(input, 1 << 20) {
            let answer = refusal.to_string();
            assert!(answer.chars().count() <= ANSWER_CHARS_MAX, "a long answer: {answer}");
        }
    });
});

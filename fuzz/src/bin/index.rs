//! The copy of an index beside a sealed segment: what is read is written as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{bounded, seal};
use weir_log::segment::fuzzing;

fuzz_target!(|input: &[u8]| {
    let mut sealed = input.to_vec();
    seal::index(&mut sealed);
    bounded(|| fuzzing::read_index(input));
    bounded(|| fuzzing::read_index(&sealed));
});

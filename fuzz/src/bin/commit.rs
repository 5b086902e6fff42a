//! Commits, as they come and with right checksums: what is read can be written and is read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir_fuzz::{bounded, seal};
use weir_log::commit::fuzzing;

fuzz_target!(|input: &[u8]| {
    let mut sealed = input.to_vec();
    seal::commits(&mut sealed);
    for bytes in [Bytes::copy_from_slice(input), sealed.into()] {
        bounded(|| fuzzing::read(&bytes));
    }
});

//! The snapshot of a log that was cleaned: its head is written as the same bytes, and its view is none, or
//! one that is packed as the same bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir_fuzz::{bounded, seal};
use weir_log::segment::fuzzing;
use weir_views::partition::PartitionView;

fuzz_target!(|input: &[u8]| {
    let mut sealed = input.to_vec();
    seal::index(&mut sealed);
    bounded(|| fuzzing::read_snapshot(input));
    bounded(|| fuzzing::read_snapshot(&sealed));
    bounded(|| {
        let Ok(view) = PartitionView::unpack(&[Bytes::copy_from_slice(input)]) else { return };
        let again = PartitionView::unpack(&view.pack());
        assert_eq!(again.expect("what was packed is unpacked").digest(), view.digest());
    });
});

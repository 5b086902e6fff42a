//! A few hundred bytes that say they are 64 MiB: refused at the cap, having allocated little more.
//! A file of its own, since it counts what the whole process allocates; zstd's own window, which
//! C allocates, is not counted here and is limited to 8 MiB.

#![expect(unsafe_code, reason = "the standard library's trait for allocators is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use weir_wire::record_batch::{
    BatchBuilder, BatchError, BatchLimits, Compression, Event, RecordBatch,
};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BOMB_BYTES: usize = 64 << 20;
const CAP_BYTES: usize = 1 << 20;
/// The buffer at its cap, the smaller one it grows from, and the decompressor's own.
const ALLOWED_BYTES: usize = 2 * CAP_BYTES + (256 << 10);

#[test]
fn bombs_stay_under_the_cap() {
    let event = Event { value: Some(vec![0; BOMB_BYTES].into()), ..Event::default() };
    let limits = BatchLimits {
        decompressed_bytes_max: CAP_BYTES,
        event_bytes_max: usize::MAX,
        ..BatchLimits::default()
    };
    let mut builder = BatchBuilder::default();
    for compression in &Compression::ALL[1..] {
        builder.push(&event.as_record());
        let batch = RecordBatch::parse(builder.finish(*compression)).expect("a batch");
        assert!(batch.bytes().len() < limits.batch_bytes_max, "{compression:?}");
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        let refused = batch.open(&limits).expect_err("64 MiB");
        let peak = PEAK.load(Relaxed) - before;
        assert_eq!(refused, BatchError::DecompressedTooLarge { bytes_max: CAP_BYTES });
        assert!(peak <= ALLOWED_BYTES, "{compression:?} allocated {peak} bytes");
    }
}

//! What the fuzz targets share: the bounds of row R17, and checksums that are right.
//!
//! Promises: an input that panics, holds more than [`BYTES_MAX`] at any moment or works for longer
//! than [`WORK_MAX`] ends the process, which is how libFuzzer learns of it.

pub mod seal;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What one input may hold at once, in bytes allocated by Rust. libFuzzer's own limit is looked at
/// once a second and misses a peak; it stands behind this one for what C allocates.
pub const BYTES_MAX: usize = 512 << 20;
/// What one input may work. Of the processor's time: a busy machine makes no input slow.
pub const WORK_MAX: Duration = Duration::from_secs(1);

/// Does `work` within the bounds.
///
/// # Panics
/// If it does not keep them.
pub fn bounded<T>(work: impl FnOnce() -> T) -> T {
    let (bytes_before, work_before) = (LIVE.load(Relaxed), processor_time());
    PEAK.store(bytes_before, Relaxed);
    let result = work();
    let peak = PEAK.load(Relaxed).saturating_sub(bytes_before);
    let worked = processor_time().saturating_sub(work_before);
    assert!(peak <= BYTES_MAX, "one input held {peak} bytes, over the {BYTES_MAX} it may");
    assert!(worked <= WORK_MAX, "one input worked {worked:?}, over the {WORK_MAX:?} it may");
    result
}

/// Of the whole process: the log does some of its work on threads of its own.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on unchanged to the system's allocator.
#[expect(unsafe_code, reason = "the standard library's trait for allocators is unsafe")]
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

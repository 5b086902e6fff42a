//! Memory for frames and for pieces of files, used again.
//!
//! An allocator gives blocks of some hundred KiB back to the kernel and gets others from it, page by page
//! and each page cleared: for a frame of 256 KiB that takes longer than to read it. So a large buffer is
//! kept when the last slice of it is gone, and the next of about its size is this one.
//!
//! Promises: a buffer has the bytes that were asked for and a quarter more at most; no more than
//! `KEPT_BYTES_MAX` are kept in a process. What stood in a buffer before stands in it still: whoever
//! takes one writes all of it before it is shown to anybody. Small ones come from the allocator.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Below, an allocator is as quick.
const LARGE_BYTES_MIN: usize = 64 << 10;
/// Large buffers are whole multiples of this, so that frames of nearly one size share them.
const LARGE_BYTES_STEP: usize = 16 << 10;
/// Bytes kept for the next: the frames and reads that are under way in a busy process.
const KEPT_BYTES_MAX: usize = 16 << 20;

static KEPT: Mutex<Kept> = Mutex::new(Kept { buffers: VecDeque::new(), bytes: 0 });

/// What nobody uses, the longest unused in front.
struct Kept {
    buffers: VecDeque<Vec<u8>>,
    /// Of all of them.
    bytes: usize,
}

/// So many bytes, to be written by their owner.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    bytes: usize,
}

/// The whole of a buffer, `Vec::len` bytes; kept when it is dropped.
#[derive(Debug)]
struct Memory(Vec<u8>);

/// A buffer that is shared.
struct Shared(Buffer);

impl Buffer {
    /// One of `bytes`, with anything in it.
    pub fn of(bytes: usize) -> Self {
        let memory = match bytes {
            ..LARGE_BYTES_MIN => vec![0; bytes],
            _ => kept().take(bytes).unwrap_or_else(|| vec![0; whole(bytes)]),
        };
        Self { memory: Memory(memory), bytes }
    }

    /// The same bytes, to be shared. They are kept for another when the last slice of them is gone.
    pub fn freeze(mut self) -> Bytes {
        match self.bytes {
            ..LARGE_BYTES_MIN => std::mem::take(&mut self.memory.0).into(),
            _ => Bytes::from_owner(Shared(self)),
        }
    }
}

fn whole(bytes: usize) -> usize {
    bytes.next_multiple_of(LARGE_BYTES_STEP)
}

fn kept() -> MutexGuard<'static, Kept> {
    // Whoever panicked with it left a list of buffers, and at worst a wrong sum.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    /// One for `bytes`: that which was used last, since its memory may still be in the processor's cache.
    fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let fits =
            |kept: &Vec<u8>| (bytes..=whole(bytes).max(bytes + bytes / 4)).contains(&kept.len());
        let at = self.buffers.iter().rposition(fits)?;
        let buffer = self.buffers.remove(at)?;
        self.bytes = self.bytes.saturating_sub(buffer.len());
        Some(buffer)
    }

    /// Keeps `buffer`, and gives what there is no room for any more.
    fn put(&mut self, buffer: Vec<u8>) -> Vec<Vec<u8>> {
        self.bytes += buffer.len();
        self.buffers.push_back(buffer);
        let mut too_many = Vec::new();
        while KEPT_BYTES_MAX < self.bytes
            && let Some(oldest) = self.buffers.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(oldest.len());
            too_many.push(oldest);
        }
        too_many
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if LARGE_BYTES_MIN <= self.0.len() {
            let buffer = std::mem::take(&mut self.0);
            // Given back to the allocator without the lock.
            drop(kept().put(buffer));
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.0[..self.bytes]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory.0[..self.bytes]
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_what_was_asked_for_and_a_quarter_more_at_most() {
        for bytes in [0, 1, LARGE_BYTES_MIN - 1, LARGE_BYTES_MIN, LARGE_BYTES_MIN + 1, 300_000] {
            let buffer = Buffer::of(bytes);
            assert_eq!(buffer.len(), bytes);
            assert!(buffer.memory.0.len() <= bytes + bytes / 4, "{bytes}");
            assert_eq!(buffer.freeze().len(), bytes);
        }
    }

    #[test]
    fn what_is_written_is_what_is_shared_for_as_long_as_a_slice_of_it_lives() {
        let mut buffer = Buffer::of(LARGE_BYTES_MIN + 3);
        buffer.fill(7);
        let bytes = buffer.freeze();
        let slice = bytes.slice(LARGE_BYTES_MIN..);
        drop(bytes);
        Buffer::of(LARGE_BYTES_MIN + 3).fill(8);
        assert_eq!(slice[..], [7; 3]);
    }

    #[test]
    fn the_last_used_of_its_size_is_used_again_and_the_oldest_goes_where_there_are_too_many() {
        let mut kept = Kept { buffers: VecDeque::new(), bytes: 0 };
        let of = |bytes: usize, mark: u8| vec![mark; bytes];
        assert!(kept.put(of(1 << 20, 1)).is_empty());
        assert!(kept.put(of(1 << 20, 2)).is_empty());
        assert!(kept.take(2 << 20).is_none(), "too small");
        assert!(kept.take(100_000).is_none(), "too large");
        assert_eq!(kept.take(1_000_000).map(|buffer| buffer[0]), Some(2));
        let gone: Vec<_> = (0..17).flat_map(|_| kept.put(of(1 << 20, 3))).collect();
        assert_eq!(gone.iter().map(|buffer| buffer[0]).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(kept.bytes, KEPT_BYTES_MAX);
    }
}

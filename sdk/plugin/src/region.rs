//! The allocator of a component: a region for what comes and goes with an event, in front of the
//! general one.
//!
//! ```text
//! | key | value | text |            |
//!                      ^ mark             live: 3
//! ```
//! An allocation moves the mark, a release counts one less, and with the last one the mark is back at
//! the beginning: a few instructions where the general allocator takes some hundred and twenty for each. A
//! small rule spends half of its fuel there.
//!
//! What finds no room goes to the general allocator, and so does all that is there before the rule is
//! configured, because it lasts. A rule that keeps what it made for an event keeps the mark from going
//! back: what comes later has less room, and in the end is the general allocator's, which is slower and
//! not wrong.
//!
//! Invariant: what is live lies in front of the mark, no two pieces in one place, and `live` counts them.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ptr;

/// Bytes of the region: events of some KiB and what a rule makes of them; a page of a component's memory.
const BYTES: usize = 64 << 10;
/// How the region is aligned, and so the most that a piece of it can ask for.
const ALIGN: usize = 16;

#[repr(align(16))]
struct Memory(UnsafeCell<MaybeUninit<[u8; BYTES]>>);

/// A region in front of `General`.
pub(crate) struct Region<General> {
    memory: Memory,
    /// 0 until it is opened, then [`BYTES`].
    bytes: Cell<usize>,
    mark: Cell<usize>,
    live: Cell<usize>,
    general: General,
}

// SAFETY: a component has one thread; one with more would be of another target, which is refused below.
#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "an allocator is a static")]
unsafe impl<General> Sync for Region<General> {}

#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
compile_error!(
    "the allocator is for components, which have one thread: do without the feature `allocator`"
);

impl<General> Region<General> {
    /// One that takes nothing until it is opened.
    pub(crate) const fn closed(general: General) -> Self {
        let memory = Memory(UnsafeCell::new(MaybeUninit::uninit()));
        // All zeros, which take no bytes of a component.
        Self { memory, bytes: Cell::new(0), mark: Cell::new(0), live: Cell::new(0), general }
    }

    /// From here on what is allocated is for an event.
    pub(crate) fn open(&self) {
        self.bytes.set(BYTES);
    }

    fn base(&self) -> *mut u8 {
        self.memory.0.get().cast()
    }

    /// Where in the region a piece lies; `None` if it is the general allocator's.
    fn place(&self, piece: *mut u8) -> Option<usize> {
        let place = piece.addr().wrapping_sub(self.base().addr());
        (place < BYTES).then_some(place)
    }
}

// SAFETY: by the invariant of this file a piece of the region is nobody else's while it is live: it is
// cut behind the mark, where nothing live lies, and the mark goes back only over what is not live. It
// has the size that was asked for, since its end is checked against the region's, and the alignment,
// since the region has the largest that is taken. Everything else is the general allocator's, which
// is given what came from it and nothing else: `place` tells by the address.
#[expect(unsafe_code, reason = "an allocator hands out memory")]
unsafe impl<General: GlobalAlloc> GlobalAlloc for Region<General> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = self.mark.get().next_multiple_of(layout.align());
        if ALIGN < layout.align() || self.bytes.get().saturating_sub(place) < layout.size() {
            // SAFETY: the caller's promises are the same.
            return unsafe { self.general.alloc(layout) };
        }
        self.mark.set(place + layout.size());
        self.live.set(self.live.get() + 1);
        // SAFETY: `place` is at most the region's end.
        unsafe { self.base().add(place) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some(place) = self.place(piece) else {
            // SAFETY: it is not of the region, and so came from there.
            return unsafe { self.general.dealloc(piece, layout) };
        };
        let live = self.live.get() - 1;
        self.live.set(live);
        if live == 0 {
            self.mark.set(0);
        } else if place + layout.size() == self.mark.get() {
            self.mark.set(place);
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        let Some(place) = self.place(piece) else {
            // SAFETY: it is not of the region, and so came from there.
            return unsafe { self.general.realloc(piece, layout, new_bytes) };
        };
        let is_last = place + layout.size() == self.mark.get();
        if is_last && new_bytes <= BYTES - place {
            self.mark.set(place + new_bytes);
            return piece;
        }
        if new_bytes <= layout.size() {
            return piece;
        }
        // SAFETY: the caller promises that the new size with this alignment is a layout.
        let larger = unsafe { Layout::from_size_align_unchecked(new_bytes, layout.align()) };
        // SAFETY: neither size is zero; what is copied is as long as the old piece, and the new one, which
        // is longer, lies elsewhere.
        unsafe {
            let to = self.alloc(larger);
            if !to.is_null() {
                ptr::copy_nonoverlapping(piece, to, layout.size());
                self.dealloc(piece, layout);
            }
            to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    /// A piece that is live, and the byte that it is full of.
    struct Piece {
        at: *mut u8,
        layout: Layout,
        byte: u8,
    }

    impl Piece {
        #[expect(unsafe_code, reason = "looks at what an allocator gave")]
        fn check(&self) {
            assert!(self.at.addr().is_multiple_of(self.layout.align()));
            // SAFETY: it is live, so long, and was filled.
            let bytes = unsafe { core::slice::from_raw_parts(self.at, self.layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == self.byte), "a piece was written over");
        }

        #[expect(unsafe_code, reason = "fills what an allocator gave")]
        fn fill(&self) {
            // SAFETY: it is live and so long.
            unsafe { self.at.write_bytes(self.byte, self.layout.size()) };
        }
    }

    /// Numbers by Marsaglia's xorshift: the same in every run.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % end as u64) as usize
        }
    }

    /// Whatever is allocated, grown, shrunk and released in whatever order: no piece is ever another's.
    #[test]
    #[expect(unsafe_code, reason = "calls an allocator")]
    fn every_piece_is_its_own_and_aligned_and_keeps_its_bytes() {
        let mut inside = 0;
        for seed in 1..50 {
            let region = Region::closed(System);
            region.open();
            let mut chance = Chance(seed * 0x9E37_79B9);
            let mut pieces: Vec<Piece> = Vec::new();
            for step in 0..400_u32 {
                let most = [16, 16, 16, 300, 300, 300, 5_000, 2 * BYTES][chance.below(8)];
                let bytes = 1 + chance.below(most);
                match chance.below(5) {
                    0 | 1 => {
                        let layout = Layout::from_size_align(bytes, 1 << chance.below(6)).unwrap();
                        // SAFETY: the size is not zero.
                        let at = unsafe { region.alloc(layout) };
                        inside += u32::from(region.place(at).is_some());
                        pieces.push(Piece { at, layout, byte: step as u8 });
                        pieces.last().unwrap().fill();
                    }
                    2 if !pieces.is_empty() => {
                        let which = chance.below(pieces.len());
                        let piece = &mut pieces[which];
                        let common = bytes.min(piece.layout.size());
                        // SAFETY: it is live, and the new size is not zero.
                        piece.at = unsafe { region.realloc(piece.at, piece.layout, bytes) };
                        piece.layout =
                            Layout::from_size_align(common, piece.layout.align()).unwrap();
                        piece.check();
                        piece.layout =
                            Layout::from_size_align(bytes, piece.layout.align()).unwrap();
                        piece.fill();
                    }
                    _ if !pieces.is_empty() => {
                        let piece = pieces.swap_remove(chance.below(pieces.len()));
                        piece.check();
                        // SAFETY: it is live, and not any more.
                        unsafe { region.dealloc(piece.at, piece.layout) };
                    }
                    _ => {}
                }
                assert_eq!(
                    region.live.get(),
                    pieces.iter().filter(|it| region.place(it.at).is_some()).count()
                );
            }
            pieces.iter().for_each(Piece::check);
            for piece in pieces.drain(..) {
                // SAFETY: it is live, and not any more.
                unsafe { region.dealloc(piece.at, piece.layout) };
            }
            assert_eq!(region.mark.get(), 0, "nothing is left, so all of it is free");
        }
        assert!(5_000 < inside, "only {inside} pieces were the region's");
    }

    #[test]
    #[expect(unsafe_code, reason = "calls an allocator")]
    fn before_it_is_opened_everything_is_the_general_allocators() {
        let region = Region::closed(System);
        let layout = Layout::from_size_align(8, 8).unwrap();
        // SAFETY: the size is not zero; what is allocated is released, once.
        unsafe {
            let before = region.alloc(layout);
            assert!(region.place(before).is_none());
            region.open();
            let behind = region.alloc(layout);
            assert_eq!(region.place(behind), Some(0));
            region.dealloc(before, layout);
            region.dealloc(behind, layout);
        }
        assert_eq!((region.mark.get(), region.live.get()), (0, 0));
    }
}

//! Where the entries of a plugin's state lie.
//!
//! ```text
//! index: | half a hash, number of a slot | ...     a seeded hash table of eight bytes each
//! slots: | key and value, up to 36 bytes together; expiry; marks |   one cache line each, in chunks
//! ```
//! Promises: a slot stays where it is as long as its entry is held, so its number can be kept; growing
//! copies no entry but those of a first chunk. Each key and value has bytes of its own and pins no
//! batch's buffer.
//!
//! Not here: when an entry goes, and what a mark means.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use smallvec::SmallVec;
use weir_wire::ids::Timestamp;

/// Slots of a chunk: 256 KiB. What grows chunk by chunk never holds twice what it needs.
const CHUNK_SLOTS: usize = 1 << 12;
/// Bytes of key and value together that lie within their slot: an id of a user with a day behind it,
/// and two counters; what fills a cache line.
const INLINE_BYTES: usize = 36;

/// The number of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At(u32);

/// Half of a key's hash: enough to tell keys apart and to grow the index without a look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(u32);

impl KeyHash {
    /// As a table wants it, whose tags are the upper bits and whose places are the lower ones.
    pub fn wide(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }

    /// The hash that was made so wide.
    pub fn of_wide(wide: u64) -> Self {
        Self(wide as u32)
    }
}

/// All entries of one state.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    index: HashTable<(KeyHash, At)>,
    /// All but the last are full.
    chunks: Vec<Vec<Slot>>,
    /// Slots that hold nothing.
    free: Vec<At>,
    // Seeded: keys are chosen by hostile clients.
    hasher: RandomState,
}

/// One entry, or room for one.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Slot {
    /// The key, and behind it the value.
    bytes: SmallVec<[u8; INLINE_BYTES]>,
    /// 0 if nothing expires.
    expires_at: Timestamp,
    key_bytes: u32,
    expires: bool,
    is_held: bool,
    /// Whether it changed since somebody asked; a slot that is given up forgets it.
    pub(crate) is_changed: bool,
}

const _: () = assert!(size_of::<Slot>() == 64, "an entry is one cache line");

impl Slot {
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_bytes as usize]
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.bytes[self.key_bytes as usize..]
    }

    /// Bytes of both.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.expires.then_some(self.expires_at)
    }

    pub(crate) fn set(&mut self, value: &[u8], expires_at: Option<Timestamp>) {
        match value.len() == self.value().len() {
            true => self.bytes[self.key_bytes as usize..].copy_from_slice(value),
            false => {
                self.bytes.truncate(self.key_bytes as usize);
                self.bytes.extend_from_slice(value);
                // What was large and is small again takes no more than it needs.
                self.bytes.shrink_to_fit();
            }
        }
        (self.expires, self.expires_at) = (expires_at.is_some(), expires_at.unwrap_or_default());
    }
}

impl Slots {
    /// Entries held.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash((self.hasher.hash_one(key) >> 32) as u32)
    }

    /// Where the entry of `key` is, whose hash that is.
    pub(crate) fn find(&self, hash: KeyHash, key: &[u8]) -> Option<At> {
        let is_it = |(of, at): &(KeyHash, At)| *of == hash && self.slot(*at).key() == key;
        self.index.find(hash.wide(), is_it).map(|(_, at)| *at)
    }

    /// Holds an entry under `key`, which has none.
    pub(crate) fn insert(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        expires_at: Option<Timestamp>,
    ) -> At {
        let at = self.free.pop().unwrap_or_else(|| self.new_slot());
        let slot = self.slot_mut(at);
        slot.bytes.reserve_exact(key.len() + value.len());
        slot.bytes.extend_from_slice(key);
        slot.key_bytes = u32::try_from(key.len()).expect("a commit is smaller");
        slot.set(value, expires_at);
        slot.is_held = true;
        self.index.insert_unique(hash.wide(), (hash, at), |(of, _)| of.wide());
        at
    }

    fn new_slot(&mut self) -> At {
        match self.chunks.last() {
            None => self.chunks.push(Vec::new()),
            Some(last) if last.len() == CHUNK_SLOTS => {
                self.chunks.push(Vec::with_capacity(CHUNK_SLOTS));
            }
            Some(_) => {}
        }
        let before = self.chunks.len() - 1;
        let last = &mut self.chunks[before];
        let at = before * CHUNK_SLOTS + last.len();
        last.push(Slot::default());
        At(u32::try_from(at).expect("four billion entries are 256 GiB"))
    }

    /// Gives up an entry. With the last one all memory is given back.
    pub(crate) fn remove(&mut self, at: At) {
        let hash = self.hash(self.slot(at).key());
        let entry = self.index.find_entry(hash.wide(), |(_, of)| *of == at);
        let _ = entry.expect("every entry held is in the index").remove();
        if self.index.is_empty() {
            (self.index, self.chunks, self.free) = Default::default();
            return;
        }
        *self.slot_mut(at) = Slot::default();
        self.free.push(at);
    }

    /// What is held there; of a number that was kept since, another entry or none.
    pub(crate) fn held(&self, at: At) -> Option<&Slot> {
        let slot = self.chunks.get(at.0 as usize / CHUNK_SLOTS)?.get(at.0 as usize % CHUNK_SLOTS);
        slot.filter(|slot| slot.is_held)
    }

    /// The same, to be marked.
    pub(crate) fn held_mut(&mut self, at: At) -> Option<&mut Slot> {
        let chunk = self.chunks.get_mut(at.0 as usize / CHUNK_SLOTS)?;
        chunk.get_mut(at.0 as usize % CHUNK_SLOTS).filter(|slot| slot.is_held)
    }

    /// The slot of a number that is known to be one.
    pub(crate) fn slot(&self, At(at): At) -> &Slot {
        &self.chunks[at as usize / CHUNK_SLOTS][at as usize % CHUNK_SLOTS]
    }

    pub(crate) fn slot_mut(&mut self, At(at): At) -> &mut Slot {
        &mut self.chunks[at as usize / CHUNK_SLOTS][at as usize % CHUNK_SLOTS]
    }

    /// Everything held, in the order of slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (At, &Slot)> {
        (0..).map(At).zip(self.chunks.iter().flatten()).filter(|(_, slot)| slot.is_held)
    }
}

//! How a guest's memory is reached, where its core module is called directly.

use std::sync::Arc;

use wasmtime::{Memory, TypedFunc};

/// A guest's memory, and its function that gives out pieces of it.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) memory: Memory,
    /// (old place, its bytes, alignment, bytes) to the new place.
    pub(crate) realloc: Arc<TypedFunc<(u32, u32, u32, u32), u32>>,
}

//! How much memory a guest may have.
//!
//! Promises: the sum of a guest's linear memories stays under its limit, whatever it declares or
//! grows. A refused growth is an answer to the guest (-1); what it makes of it is its own affair.

use wasmtime::ResourceLimiter;

/// Elements of one table at most: function pointers. The largest guest seen has 7,689.
const TABLE_ELEMENTS_MAX: usize = 20_000;
/// Core instances inside one component at most: language runtimes come with adapters and shims.
const CORE_INSTANCES_MAX: usize = 64;
/// Linear memories of one component at most: QuickJS has 3.
const MEMORIES_MAX: usize = 8;
/// Tables of one component at most: QuickJS has 3.
const TABLES_MAX: usize = 8;

/// The memory of one instance.
#[derive(Debug)]
pub(crate) struct Memory {
    limit_bytes: usize,
    /// Invariant: `bytes <= limit_bytes`.
    bytes: usize,
    refused_bytes: Option<usize>,
}

impl Memory {
    /// For a fresh instance.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes: usize::try_from(limit_bytes).unwrap_or(usize::MAX),
            bytes: 0,
            refused_bytes: None,
        }
    }

    /// Bytes of linear memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A new call begins: an old refusal is no excuse for a new trap.
    pub(crate) fn begin_call(&mut self) {
        self.refused_bytes = None;
    }

    /// What the guest asked for in this call and did not get.
    pub(crate) fn refused_bytes(&self) -> Option<usize> {
        self.refused_bytes
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| maximum < desired) {
            return Ok(false);
        }
        let bytes = self.bytes.saturating_sub(current).saturating_add(desired);
        if self.limit_bytes < bytes {
            self.refused_bytes = Some(bytes);
            return Ok(false);
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}

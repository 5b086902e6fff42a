//! Gives a consumer what is in a partition, from an offset on, as it is stored, and then what comes.
//!
//! Promises: only what is durable; whole record batches without a copy; a consumer that does not
//! read costs one chunk of memory, since its stream's flow control stops the loop. With a filter the
//! events that it leaves out are not sent, and all others keep their offsets; where nothing of a chunk
//! is left its end is said all the same, so that the consumer's position moves on. Not here: which
//! offset to begin at, and groups.

use bytes::Bytes;
use weir_log::planted::{Bug, is_planted};
use weir_log::{Fetched, GROUP_BYTES_MAX, ReadError};
use weir_partition::Partition;
use weir_wire::fault::{Code, Fault};
use weir_wire::filter::Filter;
use weir_wire::ids::Offset;
use weir_wire::record_batch::{BatchError, BatchLimits, RecordBatch, sieve};

/// Bytes read and sent at once if the consumer does not say: large enough for disk speed, small
/// enough for thousands of consumers.
pub const CHUNK_BYTES: usize = 512 << 10;
/// What a consumer may ask for at most.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;

/// What was stored was judged when it came; a plugin may have made it larger than it was.
const STORED: BatchLimits = BatchLimits {
    batch_bytes_max: GROUP_BYTES_MAX as usize,
    decompressed_bytes_max: GROUP_BYTES_MAX as usize,
    events_max: u32::MAX,
    event_bytes_max: GROUP_BYTES_MAX as usize,
};

/// One consumer's way through a partition.
pub struct Subscription {
    partition: Partition,
    next: Offset,
    until: Option<Offset>,
    chunk_bytes: usize,
    filter: Option<Filter>,
}

impl Subscription {
    /// From `next` on; up to and without `until` if that is given. `chunk_bytes` 0 is the default.
    pub fn new(
        partition: Partition,
        next: Offset,
        until: Option<Offset>,
        chunk_bytes: u32,
        filter: Option<Filter>,
    ) -> Self {
        let chunk_bytes = match chunk_bytes as usize {
            0 => CHUNK_BYTES,
            bytes => bytes.min(CHUNK_BYTES_MAX),
        };
        Self { partition, next, until, chunk_bytes, filter }
    }

    /// The next batches, as soon as there are any, or where reading goes on if the filter leaves nothing
    /// of them; `None` when everything below `until` was given.
    pub async fn next(&mut self) -> Result<Option<(Vec<Bytes>, Offset, Offset)>, Fault> {
        let mut tail = self.partition.log().tail();
        loop {
            if self.until.is_some_and(|until| self.next >= until) {
                return Ok(None);
            }
            // Looked at before the fetch, so that no growth between the two is slept through.
            let end = tail.borrow_and_update().clone();
            let fetched = self.partition.log().fetch(self.next, self.chunk_bytes).await;
            let Fetched { batches, next, high_watermark } = fetched.map_err(unreadable)?;
            // Without batches where everything up to there was cleaned away: the consumer goes on behind.
            if self.next < next {
                self.next = next;
                let batches = match &self.filter {
                    None => batches,
                    Some(filter) => sieved(batches, filter)?,
                };
                return Ok(Some((batches, next, high_watermark)));
            }
            if is_planted(Bug::LookAfterFetch) {
                tail.mark_unchanged();
            }
            if let Some(stop) = end.stopped {
                return Err(Fault::new(
                    Code::ShuttingDown,
                    format!("the partition is read to its end and takes no more ({stop:?}); subscribe again later"),
                )
                .after_ms(1_000));
            }
            if tail.changed().await.is_err() {
                return Err(Fault::new(
                    Code::ShuttingDown,
                    "the partition is closing; subscribe again later",
                ));
            }
        }
    }
}

/// What the filter leaves of the batches.
fn sieved(batches: Vec<Bytes>, filter: &Filter) -> Result<Vec<Bytes>, Fault> {
    let unreadable = |error: BatchError| {
        Fault::new(Code::Corrupt, format!("a stored batch cannot be filtered: {error}"))
    };
    let sieved = batches.into_iter().filter_map(|batch| {
        let batch = RecordBatch::parse(batch).map_err(unreadable);
        let kept = batch.and_then(|batch| {
            sieve(&batch, &STORED, |record| filter.matches(record)).map_err(unreadable)
        });
        kept.transpose()
    });
    sieved.collect()
}

/// What a consumer hears of a failed read.
pub fn unreadable(error: ReadError) -> Fault {
    match error {
        ReadError::OutOfRange { asked, earliest, tail } => Fault::new(
            Code::OffsetOutOfRange,
            format!(
                "offset {asked} is not there: the partition has {earliest} to {tail}; begin at one of these"
            ),
        ),
        ReadError::Corrupt { .. } => Fault::new(Code::Corrupt, error.to_string()),
        ReadError::Io(_) => Fault::new(Code::StorageBroken, error.to_string()).after_ms(1_000),
        ReadError::Closed => {
            Fault::new(Code::ShuttingDown, "the partition is closed; subscribe again later")
                .after_ms(1_000)
        }
    }
}

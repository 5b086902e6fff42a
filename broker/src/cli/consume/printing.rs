//! Events become lines; what is written out is done.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::fd::AsFd;
use std::pin::pin;

use futures::FutureExt;
use indicatif::ProgressBar;
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use weir_client::{ConsumedEvent, Receipt};

use super::super::Failure;
use super::super::event_json;
use super::super::output::unwritable;
use super::reading::Reading;

/// Events printed between two looks at signals and two writes, while more are ready.
const EVENTS_PER_WRITE: u64 = 1_000;
/// Bytes of lines that wait to be written at most.
const OUT_BYTES: usize = 256 << 10;

/// A reading and the lines that were made of its events.
pub struct Printing {
    reading: Reading,
    out: BufWriter<StdoutLock<'static>>,
    bar: ProgressBar,
    /// Events given by the reading that may not have been written out yet.
    unsettled: u64,
    /// Theirs.
    receipts: Vec<Receipt>,
}

impl Printing {
    /// Begins with nothing printed.
    pub fn new(reading: Reading, bar: ProgressBar) -> Self {
        let out = BufWriter::with_capacity(OUT_BYTES, io::stdout().lock());
        Self { reading, out, bar, unsettled: 0, receipts: Vec::new() }
    }

    /// Prints so many events; fewer at the end, or when somebody wants it to stop.
    pub async fn run(&mut self, count: u64) -> Result<(), Failure> {
        let mut stop = pin!(told_to_stop());
        let reader = watch_reader();
        for _ in 0..count {
            if self.unsettled == EVENTS_PER_WRITE {
                self.settle()?;
                if stop.as_mut().now_or_never().is_some() {
                    break;
                }
            }
            let next = match self.reading.next().now_or_never() {
                Some(next) => next,
                None => {
                    // Nothing is ready: who reads us should have what there is.
                    self.settle()?;
                    tokio::select! {
                        next = self.reading.next() => next,
                        () = stop.as_mut() => break,
                        () = gone(&reader) => return Err(Failure::ReaderGone),
                    }
                }
            };
            let Some(next) = next else { break };
            let (event, receipt) = next?;
            self.print(&event)?;
            self.receipts.extend(receipt);
        }
        Ok(())
    }

    fn print(&mut self, consumed: &ConsumedEvent) -> Result<(), Failure> {
        self.unsettled += 1;
        let ConsumedEvent { topic, partition, offset, event } = consumed;
        event_json::write(&mut self.out, topic, *partition, *offset, event).map_err(unwritable)
    }

    /// Writes out what was printed, and then it is done: never the other way round.
    pub fn settle(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(unwritable)?;
        self.receipts.drain(..).for_each(Receipt::done);
        self.bar.inc(self.unsettled);
        self.unsettled = 0;
        Ok(())
    }

    /// The reading, of which no more is printed.
    pub fn end(self) -> Reading {
        self.bar.finish_and_clear();
        self.reading
    }
}

/// Resolves at Ctrl-C and at SIGTERM.
async fn told_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Where stdout is a pipe, a way to learn that nobody reads it any more without writing to it.
fn watch_reader() -> Option<pipe::Sender> {
    // A descriptor of our own, which is watched and never written to: so it may block.
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok()?;
    pipe::Sender::from_owned_fd_unchecked(stdout).ok()
}

async fn gone(reader: &Option<pipe::Sender>) {
    match reader {
        Some(reader) if reader.ready(Interest::ERROR).await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

//! Where work goes that may wait for a disk: threads of their own, so that no packet waits with it.
//! A simulation has no threads and does the work itself, when its clock says so.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

/// One piece of work.
pub type Work = Box<dyn FnOnce() + Send + 'static>;

/// Whoever does blocking work. Cheap to clone.
#[derive(Clone)]
pub struct Blocking(Arc<dyn Fn(Work) + Send + Sync>);

/// The work was not done, or not to its end: the runtime went away, or a defect panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("blocking work was interrupted; the broker's log tells whether by a defect")]
pub struct Interrupted;

impl Blocking {
    /// The threads that tokio keeps for this. They are the current runtime's, so call methods only
    /// inside of one.
    pub fn threads() -> Self {
        Self::by(|work| drop(tokio::task::spawn_blocking(work)))
    }

    /// Work is handed to `by`, which must not do it before it returns.
    pub fn by(by: impl Fn(Work) + Send + Sync + 'static) -> Self {
        Self(Arc::new(by))
    }

    /// Begins the work; nobody hears of its end.
    pub fn begin(&self, work: impl FnOnce() + Send + 'static) {
        (self.0)(Box::new(work));
    }

    /// Begins the work, which ends even if nobody waits for what comes out of it.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (done, result) = oneshot::channel();
        self.begin(move || drop(done.send(work())));
        result
    }

    /// What comes out of the work.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        self.start(work).await.map_err(|_| Interrupted)
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

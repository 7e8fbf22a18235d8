//! Requests that were read and are not answered yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Counter of requests in flight.
#[derive(Debug, Default)]
pub struct Traffic {
    count: AtomicUsize,
    none: Notify,
}

/// A request in flight, until this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Traffic>);

impl Traffic {
    /// Counts one more request.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.count.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }

    /// Number of requests in flight.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until no request is in flight, at most for `patience`.
    pub async fn pause(&self, patience: Duration) {
        let paused = async {
            loop {
                let none = self.none.notified();
                if self.count() == 0 {
                    return;
                }
                none.await;
            }
        };
        // If requests never pause, the caller goes on beside them.
        let _ = tokio::time::timeout(patience, paused).await;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

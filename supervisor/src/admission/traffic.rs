//! Requests that have been read and not been answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts them.
#[derive(Debug, Default)]
pub struct Traffic {
    count: AtomicUsize,
    none: Notify,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Traffic>);

impl Traffic {
    /// Counts one more.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.count.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until there are none, for so long at most.
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
        // Where they never pause, what waits here goes on beside them.
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

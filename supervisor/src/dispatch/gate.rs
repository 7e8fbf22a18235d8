//! How many invocations of a function run at once, and how many may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most invocations of one function that wait at once.
pub const MAX_WAITING: u32 = 1000;

/// Lets a bounded number in and makes a bounded number wait, first come, first served.
#[derive(Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    waiting: AtomicU32,
}

/// The right to run; given back when dropped.
#[derive(Debug)]
pub struct Pass(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Gate {
    /// A gate that lets `concurrency` in.
    pub fn new(concurrency: u32) -> Self {
        let permits = Arc::new(Semaphore::new(concurrency as usize));
        Self { permits, waiting: AtomicU32::new(0) }
    }

    /// Waits to be let in; `None` where too many wait already.
    pub async fn enter(&self) -> Option<Pass> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Some(Pass(permit));
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let waiting = Waiting(&self.waiting);
        let permit = self.permits.clone().acquire_owned().await.ok();
        drop(waiting);
        permit.map(Pass)
    }
}

/// Counts itself out also where whoever waits gives up.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_in_a_thousand_wait_the_next_is_refused() {
        let gate = Arc::new(Gate::new(1));
        let inside = gate.enter().await.unwrap();
        let waiters: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move { gate.enter().await.is_some() })
            })
            .collect();
        while gate.waiting.load(Ordering::Relaxed) < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        assert!(gate.enter().await.is_none());
        drop(inside);
        for waiter in waiters {
            assert!(waiter.await.unwrap());
        }
    }
}

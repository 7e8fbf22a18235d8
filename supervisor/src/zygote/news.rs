//! Progress of the tree of zygotes behind the starts.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts of starts that the tree of zygotes is to follow.
#[derive(Debug, Default)]
pub struct News {
    /// Starts that were made.
    announced: AtomicU64,
    /// Starts that were learned from.
    learned: AtomicU64,
    /// Starts that the last carried-out plan knew of.
    followed: AtomicU64,
    fresh: Notify,
}

impl News {
    /// Notes that a start was made and will be learned from.
    pub fn announce(&self) {
        self.announced.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that a start was learned from.
    pub fn learn(&self) {
        self.learned.fetch_add(1, Ordering::SeqCst);
        self.fresh.notify_one();
    }

    /// Notes another change that may lead to another plan.
    pub fn wake(&self) {
        self.fresh.notify_one();
    }

    /// Waits for news.
    pub async fn wait(&self) {
        self.fresh.notified().await;
    }

    /// Number of starts that a plan made now knows of, for [`Self::follow`].
    pub fn known(&self) -> u64 {
        self.learned.load(Ordering::SeqCst)
    }

    /// Notes that a plan was carried out that knew of that many starts.
    pub fn follow(&self, known: u64) {
        self.followed.store(known, Ordering::SeqCst);
    }

    /// True if there are starts that no plan has followed yet.
    pub fn is_pending(&self) -> bool {
        self.followed.load(Ordering::SeqCst) < self.announced.load(Ordering::SeqCst)
    }
}

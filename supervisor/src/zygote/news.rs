//! How far the tree has followed what was asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Starts that the tree of zygotes is to follow.
#[derive(Debug, Default)]
pub struct News {
    /// Starts that have been made.
    announced: AtomicU64,
    /// Those from which was learned.
    learned: AtomicU64,
    /// Those that zygotes were planned by, and the plan carried out.
    followed: AtomicU64,
    fresh: Notify,
}

impl News {
    /// A start was made, and will be learned from.
    pub fn announce(&self) {
        self.announced.fetch_add(1, Ordering::SeqCst);
    }

    /// It was learned from.
    pub fn learn(&self) {
        self.learned.fetch_add(1, Ordering::SeqCst);
        self.fresh.notify_one();
    }

    /// Something else has changed from which another plan may follow.
    pub fn wake(&self) {
        self.fresh.notify_one();
    }

    /// Waits for news.
    pub async fn wait(&self) {
        self.fresh.notified().await;
    }

    /// How much a plan that is made now knows of, to be given to [`Self::follow`].
    pub fn known(&self) -> u64 {
        self.learned.load(Ordering::SeqCst)
    }

    /// A plan that knew of so much was carried out.
    pub fn follow(&self, known: u64) {
        self.followed.store(known, Ordering::SeqCst);
    }

    /// Whether there are starts that no plan has followed yet.
    pub fn is_pending(&self) -> bool {
        self.followed.load(Ordering::SeqCst) < self.announced.load(Ordering::SeqCst)
    }
}

//! Children of zygotes that wait for functions: claimed by requests, made between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::node::Zygote;
use super::pool::Pool;
use super::spare::{Spare, SpareError};
use super::spares::Claim;

/// How long making a spare waits for requests to be answered. Where they never pause it is made beside
/// them.
const REFILL_PATIENCE: Duration = Duration::from_millis(20);
/// The part of the memory budget that all spares together may take: one of so many.
const SPARES_SHARE: u64 = 8;

impl Pool {
    /// A child of a zygote that waits for its function: one that is there, one that is being made,
    /// or a new one.
    pub async fn spare(&self, zygote: &Zygote) -> Result<Spare, SpareError> {
        match zygote.spares().claim(Instant::now()) {
            Claim::Ready(spare) => return Ok(*spare),
            Claim::Coming(spare) => {
                if let Ok(spare) = spare.await {
                    return Ok(spare);
                }
            }
            Claim::Nothing => {}
        }
        Spare::fork(&self.sandboxes, zygote, &self.runtime).await
    }

    /// Makes the spares that a zygote should have, in the background, one after the other.
    pub fn refill(self: &Arc<Self>, zygote: &Arc<Zygote>) {
        if !self.has_room() || !zygote.spares().begin_refill(Instant::now()) {
            return;
        }
        // Not kept for its spares: one that is evicted meanwhile ends.
        let (pool, zygote) = (self.clone(), Arc::downgrade(zygote));
        tokio::spawn(async move {
            loop {
                pool.traffic.pause(REFILL_PATIENCE).await;
                let Some(zygote) = zygote.upgrade() else { return };
                let began = Instant::now();
                if !zygote.spares().wants(began) {
                    return;
                }
                zygote.spares().making();
                let made = Spare::fork(&pool.sandboxes, &zygote, &pool.runtime).await;
                let made = made.inspect_err(|error| {
                    tracing::warn!(%error, zygote = zygote.pid(), "making a spare");
                    pool.discard(&zygote);
                });
                let ended = made.is_err() || !pool.has_room();
                zygote.spares().made(made.ok().map(|spare| (spare, began.elapsed())));
                if ended {
                    zygote.spares().end_refill();
                    return;
                }
            }
        });
    }

    /// Drops the spares that are more than demand asks for.
    pub fn trim(&self) {
        let now = Instant::now();
        self.each_ready(|zygote| zygote.spares().trim(now));
    }

    /// Drops all spares.
    pub fn evict_spares(&self) {
        self.each_ready(|zygote| zygote.spares().clear());
    }

    fn has_room(&self) -> bool {
        let mut bytes = 0;
        self.each_ready(|zygote| bytes += zygote.spares().bytes());
        bytes < self.budget.memory.now() / SPARES_SHARE
    }
}

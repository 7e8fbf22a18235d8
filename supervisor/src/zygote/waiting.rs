//! Children of zygotes that wait for functions: claimed by requests, made between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::node::Zygote;
use super::pool::Pool;
use super::spare::{self, Spare, SpareError};
use super::spares::{Claim, Lack};

/// How long making a spare waits for requests to be answered. Where they never pause it is made beside
/// them.
const REFILL_PATIENCE: Duration = Duration::from_millis(20);
/// The part of the memory budget that all spares together may take: one of so many.
const SPARES_SHARE: u64 = 8;

impl Pool {
    /// A child of a zygote that waits for its function: one that is there, one that is being made,
    /// or a new one.
    pub async fn spare(&self, zygote: &Zygote) -> Result<Spare, SpareError> {
        let mut empty = None;
        match zygote.spares().claim(Instant::now()) {
            Claim::Ready(spare) => return Ok(*spare),
            Claim::Coming(spare) => {
                if let Ok(spare) = spare.await {
                    return Ok(spare);
                }
            }
            Claim::Nothing(sandbox) => empty = sandbox.map(|sandbox| *sandbox),
        }
        Spare::fork(&self.sandboxes, zygote, &self.runtime, empty).await
    }

    /// Makes the spares and empty sandboxes that a zygote should have, in the background, one after the
    /// other.
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
                let Some(lack) = zygote.spares().lack(Instant::now()) else { return };
                let made = pool.make(&zygote, lack).await;
                let made = made.inspect_err(|error| {
                    tracing::warn!(%error, zygote = zygote.pid(), "making a spare");
                    pool.discard(&zygote);
                });
                let ended = made.is_err() || !pool.has_room();
                if ended {
                    zygote.spares().end_refill();
                    return;
                }
            }
        });
    }

    async fn make(&self, zygote: &Zygote, lack: Lack) -> Result<(), SpareError> {
        let began = Instant::now();
        match lack {
            Lack::Spare => {
                let empty = zygote.spares().making();
                let made = Spare::fork(&self.sandboxes, zygote, &self.runtime, empty).await;
                let (made, outcome) = match made {
                    Ok(spare) => (Some((spare, began.elapsed())), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                zygote.spares().made(made);
                outcome
            }
            Lack::Sandbox => {
                let empty = spare::sandbox(&self.sandboxes, zygote, &self.runtime).await?;
                zygote.spares().keep_empty(empty);
                Ok(())
            }
        }
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
        bytes < self.budget.memory / SPARES_SHARE
    }
}

//! Children of zygotes that wait for functions: claimed by requests, and made between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fork::{ForkError, fork, sandbox_for_child};
use super::node::Zygote;
use super::pool::Pool;
use super::spares::{Claim, Lack};
use crate::sandbox::Sandbox;
use crate::worker::Worker;

/// Longest time for which making a spare waits for a pause in requests. Without a pause the spare is made
/// beside them.
const REFILL_PATIENCE: Duration = Duration::from_millis(20);
/// Divisor of the memory budget that gives the part for all spares together.
const SPARES_SHARE: u64 = 8;

/// The begin of a start from a zygote.
#[derive(Debug)]
pub enum Claimed {
    /// A waiting child.
    Spare(Box<Worker>),
    /// A sandbox to fork a child into.
    Sandbox(Box<Sandbox>),
}

impl Pool {
    /// Claims a spare that waits or is being made, or else a sandbox to fork into.
    pub async fn claim(&self, zygote: &Zygote) -> Result<Claimed, ForkError> {
        let empty = match zygote.spares().claim(Instant::now()) {
            Claim::Ready(spare) => return Ok(Claimed::Spare(spare)),
            // Do not retry: the failure that stopped this spare would stop another.
            Claim::Coming(spare) => {
                return match spare.await {
                    Ok(spare) => Ok(Claimed::Spare(Box::new(spare))),
                    Err(_) => Err(ForkError::Unmade),
                };
            }
            Claim::Nothing(empty) => empty,
        };
        let empty = match empty {
            Some(empty) => empty,
            None => Box::new(sandbox_for_child(&self.sandboxes, zygote, &self.runtime).await?),
        };
        Ok(Claimed::Sandbox(empty))
    }

    /// Makes the missing spares and empty sandboxes of a zygote in the background, one after the other.
    pub fn refill(self: &Arc<Self>, zygote: &Arc<Zygote>) {
        if !self.has_room() || !zygote.spares().begin_refill(Instant::now()) {
            return;
        }
        // Hold the zygote weakly: if it is evicted meanwhile, it ends.
        let (pool, zygote) = (self.clone(), Arc::downgrade(zygote));
        tokio::spawn(async move {
            loop {
                pool.traffic.pause(REFILL_PATIENCE).await;
                let Some(zygote) = zygote.upgrade() else { return };
                let Some(lack) = zygote.spares().lack(Instant::now()) else { return };
                let made = pool.make(&zygote, lack).await;
                let made = made.inspect_err(|error| {
                    tracing::warn!(%error, zygote = zygote.pid(), "making a spare");
                    pool.discard(&zygote, error);
                });
                let ended = made.is_err() || !pool.has_room();
                if ended {
                    zygote.spares().end_refill();
                    return;
                }
            }
        });
    }

    async fn make(self: &Arc<Self>, zygote: &Arc<Zygote>, lack: Lack) -> Result<(), ForkError> {
        let began = Instant::now();
        match lack {
            Lack::Spare => {
                let made = self.fork(zygote, zygote.spares().making()).await;
                let (made, outcome) = match made {
                    Ok(spare) => {
                        self.prove(zygote);
                        (Some((spare, began.elapsed())), Ok(()))
                    }
                    Err(error) => {
                        // Discard before the waiting request hears of it: the request does not know why it
                        // failed.
                        self.discard(zygote, &error);
                        (None, Err(error))
                    }
                };
                zygote.spares().made(made);
                outcome
            }
            Lack::Sandbox => {
                let empty = sandbox_for_child(&self.sandboxes, zygote, &self.runtime).await?;
                zygote.spares().keep_empty(empty);
                Ok(())
            }
        }
    }

    async fn fork(&self, zygote: &Zygote, empty: Option<Sandbox>) -> Result<Worker, ForkError> {
        let sandbox = match empty {
            Some(empty) => empty,
            None => sandbox_for_child(&self.sandboxes, zygote, &self.runtime).await?,
        };
        fork(zygote, sandbox, true).await
    }

    /// Drops spares beyond the current demand.
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

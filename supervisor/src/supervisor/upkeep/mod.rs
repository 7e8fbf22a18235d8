//! Upkeep: of the store, of memory, and of spares that no function asks for any more.

mod memory;
mod store;

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::invocations::Invocations;
use super::resources::Resources;

/// Time between two looks at the demand for spares.
const TRIM_PACE: Duration = Duration::from_secs(30);

/// Care of the store and of memory.
#[derive(Debug)]
pub struct Upkeep {
    resources: Resources,
    invocations: Arc<Invocations>,
}

impl Upkeep {
    /// Upkeep of `resources` and `invocations`.
    pub fn new(resources: &Resources, invocations: &Arc<Invocations>) -> Self {
        Self { resources: resources.clone(), invocations: invocations.clone() }
    }

    /// Drops spares that no function asks for any more, until the supervisor is gone.
    pub fn follow_demand(self: &Arc<Self>) {
        let upkeep: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut times = tokio::time::interval(TRIM_PACE);
            loop {
                times.tick().await;
                let Some(upkeep) = upkeep.upgrade() else { return };
                upkeep.invocations.zygotes.trim();
            }
        });
    }
}

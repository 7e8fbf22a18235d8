//! Upkeep: what is stored, what is kept in memory, and what nobody asks for any more.

mod memory;
mod store;

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::invocations::Invocations;
use super::resources::Resources;

/// How often it is looked whether spares are asked for as much as before.
const TRIM_PACE: Duration = Duration::from_secs(30);

/// Care of the store and of memory.
#[derive(Debug)]
pub struct Upkeep {
    resources: Resources,
    invocations: Arc<Invocations>,
}

impl Upkeep {
    /// Cares for what `resources` and `invocations` have.
    pub fn new(resources: &Resources, invocations: &Arc<Invocations>) -> Self {
        Self { resources: resources.clone(), invocations: invocations.clone() }
    }

    /// Lets spares go that nobody asks for any more, until the supervisor is gone.
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

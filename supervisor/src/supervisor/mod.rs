//! The supervisor itself, in four parts: [`Invocations`] run functions, [`Later`] runs them for events
//! and schedules, [`Administration`] changes and tells what there is, and [`Upkeep`] cares for the store
//! and the memory.

mod administration;
mod invocations;
mod later;
mod resources;
mod upkeep;

use std::sync::Arc;

use tokio::sync::watch;

use crate::admission::{InFlight, Traffic};
use crate::ending::{Ender, Ending};
use crate::request_id::RequestIds;
pub use administration::Administration;
pub use invocations::{Asked, Invocations, Kept};
pub use later::Later;
pub use resources::Resources;
pub use upkeep::Upkeep;

/// A running supervisor.
#[derive(Debug)]
pub struct Supervisor {
    /// The resources that all parts share.
    pub resources: Resources,
    /// Invocations, and what is kept for the next ones.
    pub invocations: Arc<Invocations>,
    /// Events and schedules.
    pub later: Arc<Later>,
    /// Deployments, and the supervisor's status.
    pub administration: Administration,
    /// Care of the store and of memory.
    pub upkeep: Arc<Upkeep>,
    /// The numbers of requests.
    pub request_ids: Arc<RequestIds>,
    traffic: Arc<Traffic>,
    ender: Ender,
}

impl Supervisor {
    /// Puts a supervisor together; `ender` is told when a client asks for the end.
    pub fn new(resources: Resources, ender: Ender) -> Self {
        let traffic = Arc::<Traffic>::default();
        let request_ids = Arc::new(RequestIds::new());
        let invocations = Arc::new(Invocations::new(&resources, &traffic));
        let later = Later::new(&resources, &invocations, &request_ids, &traffic, ender.heard());
        Self {
            administration: Administration::new(&resources, &invocations),
            upkeep: Arc::new(Upkeep::new(&resources, &invocations)),
            later: Arc::new(later),
            invocations,
            request_ids,
            traffic,
            ender,
            resources,
        }
    }

    /// Counts a request until the returned value is dropped.
    pub fn begin_request(&self) -> InFlight {
        self.traffic.begin()
    }

    /// Requests that were read and are not answered yet.
    pub fn in_flight(&self) -> usize {
        self.traffic.count()
    }

    /// Ends the supervisor.
    pub fn end(&self, ending: Ending) {
        self.ender.end(ending);
    }

    /// A receiver that is told when the supervisor must stop.
    pub fn ending(&self) -> watch::Receiver<Option<Ending>> {
        self.ender.heard()
    }
}

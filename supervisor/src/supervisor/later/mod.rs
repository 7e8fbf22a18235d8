//! Later runs of functions: asynchronous events as clients ask for them, `carry_out`, which runs
//! functions for events, and `clock`, which makes events of schedules.

mod carry_out;
mod clock;

use std::sync::Arc;

use pipsqueak::wire::{EventOrigin, EventsRequest, Fault, FaultKind, MAX_EVENT_BYTES, Reply};
use tokio::sync::watch;

use super::invocations::Invocations;
use super::resources::Resources;
use crate::admission::Traffic;
use crate::deployment::Functions;
use crate::ending::Ending;
use crate::environment::Environments;
use crate::events::Events;
use crate::request_id::RequestIds;

/// Events and schedules of functions.
#[derive(Debug)]
pub struct Later {
    events: Arc<Events>,
    functions: Arc<Functions>,
    environments: Arc<Environments>,
    invocations: Arc<Invocations>,
    request_ids: Arc<RequestIds>,
    traffic: Arc<Traffic>,
    ending: watch::Receiver<Option<Ending>>,
}

impl Later {
    /// Events and schedules of a supervisor. `traffic` counts events like other requests, and none
    /// begins after an `ending`.
    pub fn new(
        resources: &Resources,
        invocations: &Arc<Invocations>,
        request_ids: &Arc<RequestIds>,
        traffic: &Arc<Traffic>,
        ending: watch::Receiver<Option<Ending>>,
    ) -> Self {
        Self {
            events: resources.events.clone(),
            functions: resources.functions.clone(),
            environments: resources.environments.clone(),
            invocations: invocations.clone(),
            request_ids: request_ids.clone(),
            traffic: traffic.clone(),
            ending,
        }
    }

    /// Accepts an event for a function. Returns the event's number.
    pub async fn enqueue(&self, function: &str, payload: String) -> Result<String, Fault> {
        if payload.len() > MAX_EVENT_BYTES {
            let message = format!(
                "the payload of an asynchronous event may have {MAX_EVENT_BYTES} bytes, this one has \
                 {}; write it somewhere and send where",
                payload.len()
            );
            return Err(Fault { kind: FaultKind::Refused, message });
        }
        self.functions.get(function)?;
        let id = self.request_ids.draw();
        let origin = EventOrigin::Invoke;
        self.events.accept(id.clone(), function.to_owned(), origin, payload).await?;
        Ok(id)
    }

    /// Carries out a request of `pipsqueak events`.
    pub async fn manage_events(&self, request: EventsRequest) -> Result<Reply, Fault> {
        Ok(match request {
            EventsRequest::Ls { function, dead } => {
                if let Some(name) = &function {
                    self.functions.get(name)?;
                }
                let (events, total) = self.events.list(function, dead).await?;
                Reply::Events { events, total }
            }
            EventsRequest::Show { id } => Reply::Event(self.events.show(id).await?),
            EventsRequest::Retry { id } => {
                self.events.retry(id.clone()).await?;
                Reply::Done { message: format!("event {id} is tried again") }
            }
            EventsRequest::Rm { id } => {
                self.events.remove(id.clone()).await?;
                Reply::Done { message: format!("removed event {id}") }
            }
        })
    }
}

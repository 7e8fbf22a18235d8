//! What functions do later: asynchronous events as clients ask for them, `carry_out`, which has
//! functions run for them, and `clock`, which makes them of schedules.

mod carry_out;
mod clock;

use pipsqueak::wire::{EventOrigin, EventsRequest, Fault, FaultKind, MAX_EVENT_BYTES, Reply};

use super::Supervisor;

pub use carry_out::carry_out;
pub use clock::follow_schedules;

impl Supervisor {
    /// Accepts an event for a function; its number.
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

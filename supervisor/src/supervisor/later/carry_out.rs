//! Carries pending events out, a bounded number at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak::wire::{AsyncPolicy, EventCondition, Fault, FaultKind, FunctionError, Outcome};
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc};

use super::super::invocations::Asked;
use super::Later;
use crate::events::{Ended, EventsError, Running, Verdict, is_too_old, judge};
use crate::sync::{Mutex, lock};
use crate::wall_clock::now_ms;

/// Most events of one function at once. A function that may run few invocations at once gets half as
/// many, so that clients find the others free.
const MAX_OF_FUNCTION: u32 = 4;
/// Most events at once for each processor.
const MAX_OF_PROCESSOR: usize = 4;
/// Most further events at once, of functions whose environments are not there yet.
const MAX_UNREADY: usize = 32;
/// Longest time between two looks at the time of day, which may be set meanwhile.
const MAX_SLEEP: Duration = Duration::from_secs(30);
/// Most characters of each text of an error that is kept.
const MAX_ERROR_TEXT: usize = 1000;
/// Most frames of an error's stack that are kept.
const MAX_FRAMES: usize = 50;
/// Time until the database is tried again after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Numbers of events that run.
type Counts = Arc<Mutex<Count>>;

#[derive(Debug, Default)]
struct Count {
    of: BTreeMap<String, u32>,
    /// Events of functions whose environments were there. The others most likely wait for an index, so
    /// they are counted apart.
    ready: usize,
    unready: usize,
}

impl Later {
    /// Carries events out until the supervisor stops. Events that still run then are treated like other
    /// requests.
    pub async fn carry_out(self: Arc<Self>) {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let most = processors * MAX_OF_PROCESSOR;
        let running = Counts::default();
        let mut ending = self.ending.clone();
        while ending.borrow().is_none() {
            let sleep = match fill(&self, &running, most).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!(%error, "looking for events to carry out");
                    PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.events.news() => {}
                _ = ending.wait_for(Option::is_some) => {}
            }
        }
    }
}

/// Begins events that are due, while there is room. Returns the time until the next look, unless news
/// come before.
async fn fill(later: &Arc<Later>, running: &Counts, most: usize) -> Result<Duration, EventsError> {
    loop {
        let (mut busy, are_many_unready) = {
            let running = lock(running);
            if running.ready >= most {
                return Ok(MAX_SLEEP);
            }
            let full = running.of.iter().filter(|(name, count)| **count >= limit(later, name));
            let busy: Vec<_> = full.map(|(name, _)| name.clone()).collect();
            (busy, running.unready >= MAX_UNREADY)
        };
        if are_many_unready {
            let functions = later.functions.list().into_iter();
            let unready = functions.filter(|one| !later.environments.is_at_hand(one));
            busy.extend(unready.map(|function| function.info.name.clone()));
        }
        let Some(event) = later.events.claim(busy.clone()).await? else {
            let due = later.events.next_due(busy).await?;
            let left = due.map(|due| u64::try_from(due - now_ms()).unwrap_or_default());
            return Ok(left.map_or(MAX_SLEEP, |left| Duration::from_millis(left).min(MAX_SLEEP)));
        };
        let place = Place::new(running, event.function.clone(), is_ready(later, &event.function));
        let later = later.clone();
        tokio::spawn(async move {
            let in_flight = later.traffic.begin();
            attempt(&later, event).await;
            drop((place, in_flight));
            later.events.tell();
        });
    }
}

fn is_ready(later: &Later, function: &str) -> bool {
    let known = later.functions.get(function);
    known.is_ok_and(|function| later.environments.is_at_hand(&function))
}

/// Most events of a function that may run at once.
fn limit(later: &Later, function: &str) -> u32 {
    if !is_ready(later, function) {
        // One event is enough to have the environment made.
        return 1;
    }
    let known = later.functions.get(function);
    known.map_or(1, |function| {
        let info = &function.info;
        (info.sandboxes.saturating_mul(info.concurrency) / 2).clamp(1, MAX_OF_FUNCTION)
    })
}

/// An event's place among those that run. Dropping it gives the place back.
struct Place {
    running: Counts,
    function: String,
    is_ready: bool,
}

impl Place {
    fn new(running: &Counts, function: String, is_ready: bool) -> Self {
        let mut count = lock(running);
        *count.of.entry(function.clone()).or_default() += 1;
        *count.part(is_ready) += 1;
        drop(count);
        Self { running: running.clone(), function, is_ready }
    }
}

impl Count {
    fn part(&mut self, is_ready: bool) -> &mut usize {
        if is_ready { &mut self.ready } else { &mut self.unready }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        let part = running.part(self.is_ready);
        *part = part.saturating_sub(1);
        let left = running.of.get(&self.function).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            running.of.remove(&self.function);
        } else {
            running.of.insert(self.function.clone(), left);
        }
    }
}

async fn attempt(later: &Arc<Later>, event: Running) {
    let policy = match later.functions.get(&event.function) {
        Ok(function) => function.info.asynchronous.clone(),
        Err(_) => AsyncPolicy::default(),
    };
    let verdict = if is_too_old(event.past, &policy, now_ms()) {
        let (condition, attempts) = (EventCondition::EventAgeExceeded, event.past.attempts);
        Verdict::Dead { condition, attempts, error: None }
    } else {
        let ended = run(later, &event).await;
        if later.ending.clone().borrow().is_some() && ended != Ended::Done {
            // The end of the supervisor may be the cause. The event is pending again at the next start.
            return;
        }
        judge(event.past, ended, &policy, now_ms())
    };
    if let Verdict::Dead { condition, .. } = &verdict {
        let (id, function) = (&event.id, &event.function);
        tracing::warn!(id, function, ?condition, "an event is a dead letter now");
    }
    settle(later, event, verdict).await;
}

/// Writes the verdict down, and tries until it succeeds: an event that is not settled is not tried
/// again before the next start.
async fn settle(later: &Later, event: Running, verdict: Verdict) {
    let settled = Arc::new((event, verdict));
    let mut ending = later.ending.clone();
    loop {
        match later.events.settle(settled.clone()).await {
            Ok(()) => return,
            Err(error) => tracing::error!(%error, "noting how an event went"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = ending.wait_for(Option::is_some) => return,
        }
    }
}

async fn run(later: &Arc<Later>, event: &Running) -> Ended {
    let payload = match RawValue::from_string(event.payload.clone()) {
        Ok(payload) => payload,
        Err(error) => return Ended::Failed(told("Pipsqueak.BadEvent", error.to_string())),
    };
    // No client hears the progress.
    let (progress, _) = mpsc::unbounded_channel();
    let gone = Notify::new();
    let (request_id, arrived) = (event.id.clone(), Instant::now());
    let asked = Asked { request_id, arrived, deadline: None, gone: &gone, streams: None };
    let ran = later.invocations.invoke(&event.function, &payload, asked, &progress).await;
    match ran {
        Ok((invocation, kept)) => {
            later.invocations.settle(kept);
            match (invocation.outcome, invocation.error) {
                (Outcome::Done, _) => Ended::Done,
                (_, Some(error)) => Ended::Failed(shortened(&error)),
                (_, None) => Ended::Failed(told("Pipsqueak.Failed", String::new())),
            }
        }
        Err(fault) => of_fault(fault),
    }
}

/// Meaning, for its event, of a request that did not reach its function.
fn of_fault(fault: Fault) -> Ended {
    match fault.kind {
        // The function was removed while its event was on its way.
        FaultKind::NotFound => Ended::Done,
        FaultKind::BadInput => Ended::Failed(told("Pipsqueak.BadInput", fault.message)),
        FaultKind::Refused => Ended::Deferred(told("Pipsqueak.Refused", fault.message)),
        FaultKind::Internal => Ended::Deferred(told("Pipsqueak.Internal", fault.message)),
    }
}

/// Part of an error that is kept with an event. The function tells its error, so the text may be anything.
fn shortened(error: &FunctionError) -> FunctionError {
    let short = |text: &str| text.chars().take(MAX_ERROR_TEXT).collect();
    FunctionError {
        error_type: short(&error.error_type),
        error_message: short(&error.error_message),
        stack_trace: error.stack_trace.iter().take(MAX_FRAMES).map(|frame| short(frame)).collect(),
    }
}

fn told(kind: &str, message: String) -> FunctionError {
    FunctionError { error_type: kind.to_owned(), error_message: message, stack_trace: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_any_size_is_kept_in_part() {
        let long = "ä".repeat(1 << 20);
        let (error_type, error_message) = (long.clone(), "no".to_owned());
        let stack_trace = vec![long; 99];
        let short = shortened(&FunctionError { error_type, error_message, stack_trace });
        assert_eq!(short.error_type.chars().count(), MAX_ERROR_TEXT);
        assert_eq!((short.error_message.as_str(), short.stack_trace.len()), ("no", MAX_FRAMES));
    }
}

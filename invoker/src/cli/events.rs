//! `pipsqueak events`: asynchronous events.

use std::fmt::Write;

use pipsqueak::wire::{EventCondition, EventInfo, EventState, EventsRequest, Reply, Request};

use super::args::{EventsVerb, Places};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::{ask, output};

/// Carries the verb out.
pub fn run(places: &Places, verb: EventsVerb) -> Result<Exit, Failure> {
    let ask = |request| ask(places, &Request::Events(request), Meter::still());
    match verb {
        EventsVerb::Ls { name, dead, format } => {
            let Reply::Events { events, total } = ask(EventsRequest::Ls { function: name, dead })?
            else {
                return Err(Failure::WrongReply);
            };
            if format.json { output::json(&events) } else { output::print(&list(&events, total)) }
        }
        EventsVerb::Show { id, format } => {
            let Reply::Event(event) = ask(EventsRequest::Show { id })? else {
                return Err(Failure::WrongReply);
            };
            if format.json { output::json(&event) } else { output::print(&describe(&event)) }
        }
        EventsVerb::Retry { id } => done(ask(EventsRequest::Retry { id })?),
        EventsVerb::Rm { id } => done(ask(EventsRequest::Rm { id })?),
    }
}

fn done(reply: Reply) -> Result<Exit, Failure> {
    match reply {
        Reply::Done { message } => output::line(message),
        _ => Err(Failure::WrongReply),
    }
}

fn list(events: &[EventInfo], total: u64) -> String {
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            [
                event.id.clone(),
                event.function.clone(),
                state(event.state).to_owned(),
                event.accepted.clone(),
                event.attempts.to_string(),
                event.next.clone().unwrap_or_default(),
                event.error.as_ref().map(|error| error.error_type.clone()).unwrap_or_default(),
            ]
        })
        .collect();
    let header = ["EVENT", "FUNCTION", "STATE", "ACCEPTED", "FAILURES", "NEXT", "ERROR"];
    let mut text = output::table(header, &rows);
    let more = total.saturating_sub(events.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    text
}

fn describe(event: &EventInfo) -> String {
    let mut text = format!(
        "{}\nfunction   {}\nstate      {}\naccepted   {}\nfailures   {}\n",
        event.id,
        event.function,
        state(event.state),
        event.accepted,
        event.attempts
    );
    if let Some(next) = &event.next {
        let _ = writeln!(text, "next       {next}");
    }
    if let Some(condition) = event.condition {
        let _ = writeln!(text, "condition  {}", reason(condition));
    }
    if let Some(payload) = &event.payload {
        let _ = writeln!(text, "payload    {payload}");
    }
    if let Some(error) = &event.error {
        let _ = writeln!(text, "error      {}: {}", error.error_type, error.error_message);
        for line in &error.stack_trace {
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

fn state(state: EventState) -> &'static str {
    match state {
        EventState::Pending => "pending",
        EventState::Running => "running",
        EventState::Dead => "dead",
    }
}

fn reason(condition: EventCondition) -> &'static str {
    match condition {
        EventCondition::RetriesExhausted => "its function has failed it as often as it may",
        EventCondition::EventAgeExceeded => "it is too old, or would be at the next attempt",
    }
}

#[cfg(test)]
mod tests {
    use pipsqueak::wire::{EventOrigin, FunctionError};

    use super::*;

    #[test]
    fn a_dead_letter_is_shown_with_all_that_is_known() {
        let event = EventInfo {
            id: "1-2".to_owned(),
            function: "f".to_owned(),
            origin: EventOrigin::Invoke,
            state: EventState::Dead,
            accepted: "2026-01-01T00:00:00Z".to_owned(),
            attempts: 3,
            next: None,
            error: Some(FunctionError {
                error_type: "ValueError".to_owned(),
                error_message: "no".to_owned(),
                stack_trace: vec!["  File \"f.py\", line 1\n".to_owned()],
            }),
            condition: Some(EventCondition::RetriesExhausted),
            payload: serde_json::value::RawValue::from_string("{\"a\": 1}".to_owned()).ok(),
        };
        let text = describe(&event);
        for part in ["state      dead\n", "failures   3\n", "{\"a\": 1}\n", "ValueError: no\n"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let text = list(&[event], 3);
        assert!(text.contains("dead") && text.ends_with("and 2 more\n"), "{text}");
    }
}

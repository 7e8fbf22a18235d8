//! `pipsqueak invoke`: run a function once. No runtime.

mod outcome;
mod payload;
mod streamed;

use pipsqueak::wire::{DEFAULT_PAYLOAD, Reply, Request};
use serde_json::value::RawValue;

use super::args::{Invoke, Places};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::{ask, output};

/// Carries the verb out.
pub fn run(places: &Places, invoke: Invoke) -> Result<Exit, Failure> {
    if invoke.body.as_ref().is_some_and(|body| body == "-" && invoke.data == *body) {
        return Err(Failure::Input("stdin is either the event or the body".to_owned()));
    }
    let payload = payload::check(payload::read(&invoke.data)?)?;
    if invoke.is_async {
        return enqueue(places, invoke, payload);
    }
    refuse_too_long(places, &invoke.name, &payload)?;
    if invoke.stream || invoke.body.is_some() {
        return streamed::run(places, invoke, payload);
    }
    let deadline_ms = invoke.deadline_ms();
    let request = Request::Invoke { function: invoke.name, payload, deadline_ms };
    let Reply::Invocation(invocation) = ask(places, &request, Meter::still())? else {
        return Err(Failure::WrongReply);
    };
    if invoke.json {
        let json = serde_json::to_string(&invocation).map_err(Failure::system("writing JSON"))?;
        output::json_line(json)?;
    } else {
        outcome::show(&invocation)?;
    }
    Ok(outcome::exit(&invocation))
}

fn enqueue(places: &Places, invoke: Invoke, payload: Box<RawValue>) -> Result<Exit, Failure> {
    let request = Request::InvokeAsync { function: invoke.name, payload };
    let Reply::Accepted(accepted) = ask(places, &request, Meter::still())? else {
        return Err(Failure::WrongReply);
    };
    if invoke.json { output::json(&accepted) } else { output::line(accepted.id) }
}

/// Refuses a payload that is over the function's limit. A payload up to the default limit is left to
/// the supervisor, so that most calls ask only once.
fn refuse_too_long(places: &Places, name: &str, payload: &RawValue) -> Result<(), Failure> {
    let length = payload.get().len() as u64;
    if length <= DEFAULT_PAYLOAD {
        return Ok(());
    }
    let request = Request::FunctionsShow { name: name.to_owned() };
    let Reply::Function(function) = ask(places, &request, Meter::still())? else {
        return Err(Failure::WrongReply);
    };
    let most = function.payload_in.unwrap_or(DEFAULT_PAYLOAD);
    if length > most { Err(Failure::PayloadTooLong(most)) } else { Ok(()) }
}

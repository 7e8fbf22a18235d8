//! `pipsqueak invoke --stream` and `--body`: the result as it comes, to stdout and to the byte.

use std::ffi::OsStr;
use std::io::{self, Read};

use pipsqueak::client::{Client, ClientError, Given};
use pipsqueak::settings;
use pipsqueak::wire::{Reply, Request};
use serde_json::value::RawValue;

use super::outcome::{exit, show_aside};
use super::payload::open;
use crate::cli::args::{Invoke, Places};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output;
use crate::cli::progress::Meter;
use crate::cli::terminal::Parts;

/// Carries the verb out.
pub fn run(places: &Places, invoke: Invoke, payload: Box<RawValue>) -> Result<Exit, Failure> {
    let body = invoke.body.as_deref().map(open_body).transpose()?;
    let deadline_ms = invoke.deadline_ms();
    let has_body = body.is_some();
    let request = Request::InvokeStreamed { function: invoke.name, payload, deadline_ms, has_body };
    let mut client = Client::connect(&settings::run_folder(&places.0)?)?;
    let (mut meter, mut head, mut parts) = (Meter::still(), None, Parts::new());
    let given = &mut |given| match given {
        Given::Head(json) => {
            head = Some(json);
            Ok(())
        }
        Given::Part(bytes) => parts.write(&bytes),
    };
    let reply = match client.stream(&request, body, &mut |progress| meter.show(progress), given) {
        // A reader that has gone away has read enough.
        Err(ClientError::Result(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(Exit::Done);
        }
        reply => reply?,
    };
    let Reply::Invocation(invocation) = reply else { return Err(Failure::WrongReply) };
    if invoke.json {
        let writing = Failure::system("writing JSON");
        let mut json = serde_json::to_value(&invocation).map_err(writing)?;
        json["head"] = serde_json::to_value(head).map_err(Failure::system("writing JSON"))?;
        output::json_aside(&json.to_string());
    } else {
        show_aside(&invocation);
    }
    Ok(exit(&invocation))
}

fn open_body(body: &OsStr) -> Result<Box<dyn Read + Send>, Failure> {
    let opened = open(body)?.map(|(from, _)| from);
    opened.ok_or_else(|| {
        let found = body.display();
        Failure::Input(format!("the body is to be @ and the path of a file, or -, not {found}"))
    })
}

//! The command line: a file per verb.

pub mod args;
pub mod config;
pub mod deploy;
pub mod doctor;
pub mod down;
pub mod env;
pub mod events;
pub mod evict;
pub mod explain;
pub mod failure;
pub mod functions;
pub mod help;
pub mod invoke;
pub mod logs;
pub mod output;
pub mod progress;
pub mod requirements;
pub mod source;
pub mod status;
pub mod store;
mod supervisor;
mod terminal;
mod text;
pub mod up;
pub mod upgrade;
mod variables;
pub mod zygotes;

use args::Places;
use failure::Failure;
use pipsqueak::client::Client;
use pipsqueak::settings;
use pipsqueak::wire::{Reply, Request, Status};
use progress::Meter;

/// Sends one request, shows its progress, and waits for the reply.
fn ask(places: &Places, request: &Request, mut meter: Meter) -> Result<Reply, Failure> {
    let run = settings::run_folder(&places.0)?;
    let mut client = Client::connect(&run)?;
    Ok(client.call(request, &mut |progress| meter.show(progress))?)
}

/// Asks the supervisor for its status.
fn ask_status(places: &Places) -> Result<Status, Failure> {
    match ask(places, &Request::Status, Meter::still())? {
        Reply::Status(status) => Ok(status),
        _ => Err(Failure::WrongReply),
    }
}

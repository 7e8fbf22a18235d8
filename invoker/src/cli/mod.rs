//! The command line: a file per verb.

pub mod args;
pub mod deploy;
pub mod doctor;
pub mod down;
pub mod env;
pub mod evict;
pub mod failure;
pub mod functions;
pub mod invoke;
pub mod output;
pub mod progress;
pub mod status;
pub mod store;
pub mod up;
pub mod zygotes;

use std::io::Read;
use std::path::Path;

use args::Places;
use failure::Failure;
use pipsqueak::client::Client;
use pipsqueak::settings;
use pipsqueak::wire::{Reply, Request};
use progress::Meter;

/// Sends one request, shows its progress, and waits for the reply.
fn ask(places: &Places, request: &Request, mut meter: Meter) -> Result<Reply, Failure> {
    let run = settings::run_folder(places.run.as_deref())?;
    let mut client = Client::connect(&run)?;
    Ok(client.call(request, &mut |progress| meter.show(progress))?)
}

/// The text of a requirements file; `-` is stdin.
fn read_requirements(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| Failure::Input(format!("requirements {}: {error}", path.display())))
}

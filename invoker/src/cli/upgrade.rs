//! `pipsqueak upgrade`: the supervisor becomes the program that is installed now.

use pipsqueak::client::{Client, ClientError};
use pipsqueak::settings;
use pipsqueak::wire::{Reply, Request};

use super::args::Places;
use super::failure::{Exit, Failure};
use super::{output, supervisor};

/// Carries the verb out.
pub fn run(places: &Places) -> Result<Exit, Failure> {
    let run = settings::run_folder(&places.0)?;
    let mut client = Client::connect(&run)?;
    let Reply::Done { .. } = client.call(&Request::Upgrade, &mut |_| {})? else {
        return Err(Failure::WrongReply);
    };
    client.await_end();
    // A client that connects meanwhile waits.
    let answered =
        Client::connect(&run).and_then(|mut client| client.call(&Request::Status, &mut |_| {}));
    match answered {
        Ok(Reply::Status(status)) => {
            output::line(format!("version {} serves (process {})", status.version, status.pid))
        }
        Ok(_) => Err(Failure::WrongReply),
        Err(ClientError::NoSupervisor { .. } | ClientError::Ended | ClientError::Broken(_)) => {
            let log = run.join(supervisor::LOG);
            Err(Failure::Start {
                exit: Exit::Internal,
                message: format!("the new program did not start: {} tells why", log.display()),
            })
        }
        Err(error) => Err(error.into()),
    }
}

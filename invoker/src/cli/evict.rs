//! `pipsqueak evict`: drop what tiers keep.

use pipsqueak::wire::{self, Reply, Request};

use super::args::{Evict, Places};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::{ask, output};

/// Carries the verb out.
pub fn run(places: &Places, evict: Evict) -> Result<Exit, Failure> {
    let Evict { name, paused, zygotes } = evict;
    let request = Request::Evict(wire::Evict { function: name, paused, zygotes });
    match ask(places, &request, Meter::still())? {
        Reply::Done { message } => output::line(message),
        _ => Err(Failure::WrongReply),
    }
}

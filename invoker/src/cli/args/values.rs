//! Values of what can be typed, as clap has them checked.

use std::time::Duration;

use pipsqueak::wire::Network;
use pipsqueak::{name, size};

/// A name of an environment or a function.
pub fn named(text: &str) -> Result<String, name::NameError> {
    name::check(text).map(|()| text.to_owned())
}

/// A size, in bytes, of memory that something can run in.
pub fn some_memory(text: &str) -> Result<u64, String> {
    match size::parse(text) {
        Ok(0) => Err("no function runs in no memory".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// Bytes per second, at which something is done.
pub fn some_rate(text: &str) -> Result<u64, String> {
    match size::parse(text) {
        Ok(0) => Err("nothing is read at that rate".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// A time that something may take.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = pipsqueak::seconds::parse(text).ok();
    seconds
        .filter(|duration| duration.as_millis() > 0)
        .ok_or_else(|| "a timeout is a number of seconds, such as 30 or 0.5".to_owned())
}

/// A network that there is.
pub fn network(text: &str) -> Result<Network, String> {
    match text {
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        "nat" => Err("this version has no NAT yet; use none or host".to_owned()),
        _ => Err("a network is none or host".to_owned()),
    }
}

/// A variable and its value.
pub fn variable(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    let begins_well = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins_well || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!("`{key}` cannot name a variable; use letters, digits and _"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

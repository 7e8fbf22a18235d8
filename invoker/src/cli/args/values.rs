//! Values on the command line, as clap has them checked.

use std::path::PathBuf;
use std::time::Duration;

use pipsqueak::wire::{MOST_CONCURRENCY, MOST_PAYLOAD, Network};
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

/// The least is one page: tmpfs takes a size of 0 for no limit.
pub fn some_tmp(text: &str) -> Result<u64, String> {
    match size::parse(text) {
        Ok(..4096) => Err("a /tmp has at least 4096 bytes".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// The length of an event or a result, in bytes.
pub fn some_payload(text: &str) -> Result<u64, String> {
    match size::parse(text) {
        Ok(bytes @ 1..=MOST_PAYLOAD) => Ok(bytes),
        Ok(_) => Err(format!("a payload may have from 1 byte to {} MiB", MOST_PAYLOAD >> 20)),
        Err(error) => Err(error.to_string()),
    }
}

/// A number of invocations that a sandbox serves at once.
pub fn concurrency(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST_CONCURRENCY).contains(number));
    number.ok_or_else(|| format!("`{text}` is no number from 1 to {MOST_CONCURRENCY}"))
}

/// A number of processors, in thousandths of one. The kernel takes no quota below a hundredth.
pub fn cpus(text: &str) -> Result<u32, String> {
    let number: Option<f64> = text.trim().parse().ok();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    let millis =
        number.filter(|n| (0.01..=8192.0).contains(n)).map(|n| (n * 1000.0).round() as u32);
    millis.ok_or_else(|| {
        format!("`{text}` is no number of processors; write one from 0.01 on, such as 0.5 or 2")
    })
}

/// A rate, in bytes per second.
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

/// An age: a number of seconds, minutes, hours or days.
pub fn age(text: &str) -> Result<Duration, String> {
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86400.0)];
    let unit = units.iter().find_map(|(letter, s)| Some((text.strip_suffix(*letter)?, *s)));
    let (number, seconds) = unit.unwrap_or((text, 1.0));
    let read = pipsqueak::seconds::parse(number).ok();
    read.and_then(|read| Duration::try_from_secs_f64(read.as_secs_f64() * seconds).ok())
        .ok_or_else(|| format!("`{text}` is no time; write such as 30s, 10m, 2h or 1d"))
}

/// A kind of network.
pub fn network(text: &str) -> Result<Network, String> {
    match text {
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        "nat" => Ok(Network::Nat),
        _ => Err("a network is none, host or nat".to_owned()),
    }
}

/// A variable, and the file that has its value; `-` is stdin.
pub fn secret(text: &str) -> Result<(String, PathBuf), String> {
    // The text may be the secret value itself, so no message repeats it.
    let wrong = || "write NAME=@FILE, or NAME=- for stdin".to_owned();
    let (key, place) = text.split_once('=').ok_or_else(wrong)?;
    let (key, _) = variable(&format!("{key}="))?;
    match place.strip_prefix('@') {
        Some("") => Err(wrong()),
        Some(file) => Ok((key, file.into())),
        None if place == "-" => Ok((key, place.into())),
        None => Err(wrong()),
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

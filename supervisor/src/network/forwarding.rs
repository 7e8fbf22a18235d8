//! Forwarding: the machine passes on what is not for itself.
//!
//! Linux decides it by the link that a packet came in by: a function's by the bridge, and the
//! answers to it by the links that lead outside. A machine that forwards everywhere
//! (`net.ipv4.ip_forward`) is left as it is. Elsewhere only those links are changed, and noted with
//! the rules, which is what keeps the machine from forwarding between them (`filter::share`) and
//! tells the last instance what to turn off again, killed ones included.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{filter, link};

/// Why the machine could not be told what it passes on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// read(2) of a setting.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The setting.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// write(2) of a setting.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// The setting.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// `RTM_GETLINK`.
    #[error("listing links: {0}")]
    Links(#[source] io::Error),
    /// `NFT_MSG_GETTABLE`.
    #[error("listing tables of nftables: {0}")]
    Tables(#[source] io::Error),
    /// A batch of nftables.
    #[error("noting the links that are changed: {0}")]
    Share(#[source] io::Error),
    /// `NFT_MSG_GETSETELEM`.
    #[error("listing the links that were changed: {0}")]
    Shared(#[source] io::Error),
    /// `NFT_MSG_DELTABLE`.
    #[error("forgetting the links that were changed: {0}")]
    Unshare(#[source] io::Error),
}

/// Lets what is from `bridge`, and the answers to it, be passed on.
pub fn begin(bridge: &str) -> Result<(), ForwardingError> {
    if !is_on("all")? {
        let ways = link::ways_out()
            .map_err(ForwardingError::Links)?
            .into_iter()
            .filter(|name| !link::is_ours(name));
        let mut changed = Vec::new();
        for name in ways {
            if !is_on(&name)? {
                changed.push(name);
            }
        }
        if !changed.is_empty() {
            // First, so that nothing is passed on meanwhile and all of it is known.
            filter::share(&changed).map_err(ForwardingError::Share)?;
            changed.iter().try_for_each(|name| turn(name, true))?;
        }
    }
    turn(bridge, true)?;
    // A sandbox cannot be answered at an address that is not its own, nor send from one.
    set(bridge, "rp_filter", "1")?;
    let ipv6 = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6"));
    if ipv6.exists() { write(ipv6, "1") } else { Ok(()) }
}

/// Makes the machine as it was, unless other instances need it as it is.
pub fn end() -> Result<(), ForwardingError> {
    let tables = filter::tables().map_err(ForwardingError::Tables)?;
    if tables.iter().any(|name| name.starts_with(filter::TABLE_PREFIX)) {
        return Ok(());
    }
    // Where it forwards everywhere by now, somebody else wants it to.
    if !is_on("all")? {
        for name in filter::shared().map_err(ForwardingError::Shared)? {
            match turn(&name, false) {
                // The link is gone.
                Err(ForwardingError::Write { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                turned => turned?,
            }
        }
    }
    filter::unshare().map(drop).map_err(ForwardingError::Unshare)
}

fn is_on(link: &str) -> Result<bool, ForwardingError> {
    let path = path(link, "forwarding");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim() == "1"),
        Err(source) => Err(ForwardingError::Read { path, source }),
    }
}

fn turn(link: &str, on: bool) -> Result<(), ForwardingError> {
    set(link, "forwarding", if on { "1" } else { "0" })
}

fn set(link: &str, name: &str, value: &str) -> Result<(), ForwardingError> {
    write(path(link, name), value)
}

fn write(path: PathBuf, value: &str) -> Result<(), ForwardingError> {
    fs::write(&path, value).map_err(|source| ForwardingError::Write { path, source })
}

fn path(link: &str, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{link}/{name}"))
}

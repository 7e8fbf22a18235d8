//! Whether the machine passes on what is not for itself.
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

/// Lets what is from `bridge`, and the answers to it, be passed on.
pub fn begin(bridge: &str) -> io::Result<()> {
    if !is_on("all")? {
        let ways = link::ways_out()?.into_iter().filter(|name| !link::is_ours(name));
        let mut changed = Vec::new();
        for name in ways {
            if !is_on(&name)? {
                changed.push(name);
            }
        }
        if !changed.is_empty() {
            // First, so that nothing is passed on meanwhile and all of it is known.
            filter::share(&changed)?;
            changed.iter().try_for_each(|name| turn(name, true))?;
        }
    }
    turn(bridge, true)?;
    // A sandbox cannot be answered at an address that is not its own, nor send from one.
    set(bridge, "rp_filter", "1")?;
    let ipv6 = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6"));
    if ipv6.exists() { fs::write(ipv6, "1") } else { Ok(()) }
}

/// Makes the machine as it was, unless other instances need it as it is.
pub fn end() -> io::Result<()> {
    let tables = filter::tables()?;
    if tables.iter().any(|name| name.starts_with(filter::TABLE_PREFIX)) {
        return Ok(());
    }
    // Where it forwards everywhere by now, somebody else wants it to.
    if !is_on("all")? {
        for name in filter::shared()? {
            match turn(&name, false) {
                // The link is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                turned => turned?,
            }
        }
    }
    filter::unshare().map(drop)
}

fn is_on(link: &str) -> io::Result<bool> {
    Ok(fs::read_to_string(path(link, "forwarding"))?.trim() == "1")
}

fn turn(link: &str, on: bool) -> io::Result<()> {
    set(link, "forwarding", if on { "1" } else { "0" })
}

fn set(link: &str, name: &str, value: &str) -> io::Result<()> {
    let path = path(link, name);
    fs::write(&path, value)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn path(link: &str, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{link}/{name}"))
}

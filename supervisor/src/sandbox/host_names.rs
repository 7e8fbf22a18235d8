//! The host's own files for names of hosts, for sandboxes that are in the host's network.

use std::fs;
use std::io;
use std::path::PathBuf;

use pipsqueak_kernel::mount::{self, Access};

use super::places::Mounted;

/// Mounts of the resolver's configuration and of the names of hosts, as far as the host has them.
pub fn mounts() -> io::Result<Vec<Mounted>> {
    ["/etc/resolv.conf", "/etc/hosts"]
        .into_iter()
        .map(|path| fs::canonicalize(path).map(|real| (path, real)))
        .filter_map(Result::ok)
        .map(|(path, real)| Ok((PathBuf::from(path), mount::take(&real, Access::ReadOnly)?)))
        .collect()
}

//! How names of hosts are resolved in a sandbox.

use std::io;
use std::path::PathBuf;

use pipsqueak_kernel::mount::{self, Access};

use super::Mounted;

/// The host's resolver configuration and host names, for sandboxes in its network.
pub fn of_host() -> io::Result<Vec<Mounted>> {
    ["/etc/resolv.conf", "/etc/hosts"]
        .into_iter()
        .map(|path| std::fs::canonicalize(path).map(|real| (path, real)))
        .filter_map(Result::ok)
        .map(|(path, real)| Ok((PathBuf::from(path), mount::take(&real, Access::ReadOnly)?)))
        .collect()
}

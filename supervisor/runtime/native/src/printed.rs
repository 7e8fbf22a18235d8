//! Amount of output that this process has printed.

use nix::sys::stat::fstat;
use pipsqueak_kernel::descriptor;

/// Bytes printed so far, if output goes to a file.
pub fn printed_bytes() -> u64 {
    let file = descriptor::borrowed(1).ok().and_then(|output| fstat(output).ok());
    file.map_or(0, |file| u64::try_from(file.st_size).unwrap_or(0))
}

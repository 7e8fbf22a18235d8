//! Paths that every sandbox has, and what is mounted at such a path.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Path of the environment.
pub const ENVIRONMENT: &str = pipsqueak_fs::FIXED_PREFIX;
/// Path of the function's code.
pub const FUNCTION: &str = "/function";
/// Path of the Python side of the runtime.
pub const RUNTIME: &str = "/pipsqueak/runtime";

/// Folders of the system that an interpreter and its libraries need, by their names in the root.
pub const SYSTEM: [&str; 5] = ["usr", "bin", "sbin", "lib", "lib64"];

/// A path in a sandbox, and the detached mount that goes there.
pub type Mounted = (PathBuf, OwnedFd);

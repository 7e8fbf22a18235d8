//! Parts of a sandbox that its function needs: code, environment, network.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak::wire::Network;
use pipsqueak_kernel::mount::{self, Access};

use crate::deployment::Function;
use crate::environment::Tree;
use crate::sandbox::{Door, FUNCTION, SandboxError, Sandboxes};

/// The reason why a process could not be made a function's.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The sandbox's network failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The function's code or environment could not be mounted.
    #[error("mounting the code of function {function}: {error}")]
    Mount {
        /// The function.
        function: String,
        /// The error of the mount.
        error: io::Error,
    },
    /// The function's limits could not be set.
    #[error("limiting the sandbox of function {function}: {error}")]
    Limit {
        /// The function.
        function: String,
        /// The error of setting them.
        error: io::Error,
    },
    /// The worker's channel failed.
    #[error("taking the channel of function {function}: {error}")]
    Channel {
        /// The function.
        function: String,
        /// The error of the channel.
        error: io::Error,
    },
    /// The process needs more memory than the function's limit before its code runs.
    #[error("an interpreter alone takes more memory than the limit of function {function}")]
    Memory {
        /// The function.
        function: String,
    },
}

/// Gives a sandbox the function's code, network and environment. No step may wait for a process that is
/// just entering the sandbox.
///
/// `tree` is the function's environment, if the sandbox has another one.
pub async fn furnish(
    sandboxes: &Arc<Sandboxes>,
    door: Door,
    function: &Function,
    tree: Option<&Tree>,
) -> Result<(), StartError> {
    let info = &function.info;
    let failed = |error| StartError::Mount { function: info.name.clone(), error };
    let mut mounts = Vec::new();
    if info.network == Network::Nat {
        let (connecting, door) = (sandboxes.clone(), door.clone());
        let connected = tokio::task::spawn_blocking(move || {
            connecting.connect(&door)?;
            connecting.resolv_conf()
        });
        mounts.push(connected.await.map_err(|error| failed(io::Error::other(error)))??);
    }
    let code = mount::take(&function.code, Access::ReadOnly).map_err(failed)?;
    mounts.push((PathBuf::from(FUNCTION), code));
    mounts.extend(tree.map(Tree::mount).transpose().map_err(failed)?);
    door.furnish(&mounts, info.tmp).map_err(failed)
}

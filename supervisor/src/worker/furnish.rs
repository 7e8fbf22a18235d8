//! What a sandbox is given for its function: code, environment, network.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak::wire::Network;
use pipsqueak_kernel::mount::{self, Access};

use crate::deployment::Function;
use crate::environment::Tree;
use crate::sandbox::{Door, FUNCTION, SandboxError, Sandboxes};

/// Why a process could not be made a function's.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its network.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its code or environment.
    #[error("mounting the code of function {function}: {error}")]
    Mount {
        /// The function.
        function: String,
        /// Why.
        error: io::Error,
    },
    /// Its limits.
    #[error("limiting the sandbox of function {function}: {error}")]
    Limit {
        /// The function.
        function: String,
        /// Why.
        error: io::Error,
    },
    /// Its channel.
    #[error("taking the channel of function {function}: {error}")]
    Channel {
        /// The function.
        function: String,
        /// Why.
        error: io::Error,
    },
    /// It needs more memory than its limit before its code runs.
    #[error("an interpreter alone takes more memory than the limit of function {function}")]
    Memory {
        /// The function.
        function: String,
    },
}

/// Gives a sandbox what the function is to find in it. Nothing of it may wait for a process that is
/// just entering.
///
/// `tree` is the function's environment, where the sandbox has another one.
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

//! Resources that the parts of a supervisor share.

use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak::settings::Settings;
use tokio::runtime::Handle;

use crate::containers::Containers;
use crate::deployment::Functions;
use crate::environment::Environments;
use crate::events::Events;
use crate::logs::Journal;
use crate::mount::Keeper;
use crate::sandbox::Sandboxes;

/// Resources that the parts of a supervisor share.
#[derive(Debug, Clone)]
pub struct Resources {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The environments.
    pub environments: Arc<Environments>,
    /// The environments that containers have.
    pub containers: Arc<Containers>,
    /// The functions.
    pub functions: Arc<Functions>,
    /// The maker of sandboxes.
    pub sandboxes: Arc<Sandboxes>,
    /// The mount.
    pub keeper: Arc<Keeper>,
    /// The logs of functions.
    pub journal: Arc<Journal>,
    /// The events that are not done.
    pub events: Arc<Events>,
    /// The folder of the Python runtime.
    pub runtime: PathBuf,
    /// The runtime for tasks that no client waits for.
    pub background: Handle,
}

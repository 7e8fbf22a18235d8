//! The status of the supervisor.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::events::EventCounts;
use super::invocation::Tier;

/// The status of the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The supervisor's process.
    pub pid: u32,
    /// Version of the supervisor.
    pub version: String,
    /// Folder of the state.
    pub state: PathBuf,
    /// Name of the supervisor's control group, at the root of each hierarchy.
    pub group: String,
    /// Tiers in use, best first; `cold` is always there and not listed.
    pub tiers: Vec<Tier>,
    /// Budget for what is kept in memory, in bytes.
    pub memory_budget: u64,
    /// Memory of all that is kept now, in bytes.
    pub memory_used: u64,
    /// The mount.
    pub mount: MountStatus,
    /// Ways of unmodified containers to the mount.
    pub containers: ContainersStatus,
    /// Environments, by name.
    pub environments: Vec<String>,
    /// Number of functions.
    pub functions: u64,
    /// True if zygotes are being started, or may be, for the latest requests.
    pub growing: bool,
    /// Zygotes.
    pub zygotes: Vec<ZygoteInfo>,
    /// Interpreters that wait with packages imported which no zygote may import.
    #[serde(default)]
    pub standbys: u64,
    /// Sandboxes of functions.
    pub sandboxes: Vec<SandboxInfo>,
    /// Sandboxes that are being made or taken down, of zygotes and installers included.
    pub changing: Vec<ChangingSandbox>,
    /// Invocations that wait for their turn, by function.
    #[serde(default)]
    pub waiting: BTreeMap<String, u64>,
    /// Starts since the supervisor's, by the tier they found.
    pub starts: BTreeMap<String, u64>,
    /// Objects of the store that are known to be damaged.
    pub damaged: u64,
    /// Asynchronous events that are not done.
    pub events: EventCounts,
    /// Size of the logs of functions on disk, in bytes.
    pub log_bytes: u64,
}

/// The mount and the process that serves it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountStatus {
    /// Path of the mount.
    pub path: PathBuf,
    /// The process that serves the mount; absent for the moment between two such processes.
    pub pid: Option<u32>,
    /// Number of successors that have taken the connection over.
    pub successions: u64,
    /// Requests of the kernel since the serving process began, by operation, and their cost:
    /// `read-bytes`, `decoded-frames`, `panic`.
    pub requests: BTreeMap<String, u64>,
}

/// Ways of unmodified containers to the mount.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainersStatus {
    /// The socket of Docker's volume driver; absent if it is off or another instance's.
    pub docker_plugin: Option<PathBuf>,
    /// The file of CDI devices; absent if it is off or another instance's.
    pub cdi: Option<PathBuf>,
    /// Digests of the views that are bound in containers, sandboxes among them, or are mounted
    /// as volumes.
    pub views: Vec<String>,
}

/// One zygote.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ZygoteInfo {
    /// The zygote's number, counted from the supervisor's start.
    pub id: u64,
    /// The zygote that this one was forked from; absent for a root.
    pub parent: Option<u64>,
    /// Process on the host; absent while it is being started.
    pub pid: Option<u32>,
    /// Digest of the environment that the zygote sees.
    pub environment: String,
    /// `starting`, `ready`, `failed` or `gone`.
    pub state: String,
    /// Modules of packages that the zygote has imported, besides its parent's.
    pub modules: Vec<String>,
    /// Reason of the failure, if the zygote failed.
    pub reason: Option<String>,
    /// Children forked from the zygote.
    pub forks: u64,
    /// Children of the zygote that wait for a function.
    pub spares: u64,
    /// Memory that the zygote uses, in bytes.
    pub memory: u64,
}

/// One sandbox of a function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxInfo {
    /// The sandbox's number, counted from the supervisor's start.
    pub id: u64,
    /// The function that the sandbox belongs to.
    pub function: String,
    /// Process of the function on the host.
    pub pid: u32,
    /// State of the sandbox.
    pub state: SandboxState,
    /// Invocations that the sandbox has served.
    pub invocations: u64,
    /// Memory that the sandbox uses, in bytes.
    pub memory: u64,
}

/// State of a function's sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxState {
    /// The sandbox serves an invocation.
    Running,
    /// The sandbox is frozen until the next invocation.
    Paused,
}

/// A sandbox on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangingSandbox {
    /// The sandbox's number, counted from the supervisor's start.
    pub id: u64,
    /// Kind of code that runs there: `function`, `zygote` or `installer`.
    pub standing: String,
    /// The change.
    pub state: SandboxChange,
}

/// A change of a sandbox, from nothing or to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxChange {
    /// The namespaces, root and limits are being made.
    Making,
    /// The processes are being ended, and their things removed.
    Ending,
}

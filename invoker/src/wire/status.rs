//! What the supervisor keeps and does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::events::EventCounts;
use super::invocation::Tier;

/// What the supervisor keeps and does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The supervisor's process.
    pub pid: u32,
    /// Version of the supervisor.
    pub version: String,
    /// Where state is kept.
    pub state: PathBuf,
    /// Name of its control group, at the root of each hierarchy.
    pub group: String,
    /// Tiers in use, best first; `cold` is always there and not listed.
    pub tiers: Vec<Tier>,
    /// Budget for what is kept in memory, in bytes.
    pub memory_budget: u64,
    /// What is kept in memory now, in bytes.
    pub memory_used: u64,
    /// The mount.
    pub mount: MountStatus,
    /// What unmodified containers have of it.
    pub containers: ContainersStatus,
    /// Environments, by name.
    pub environments: Vec<String>,
    /// Number of functions.
    pub functions: u64,
    /// Whether zygotes are being started, or may be, for what was asked for last.
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
    /// What the logs of functions have on disk, in bytes.
    pub log_bytes: u64,
}

/// The mount and the process that serves it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountStatus {
    /// Where it is.
    pub path: PathBuf,
    /// The process that serves it; absent for the moment between two.
    pub pid: Option<u32>,
    /// How many successors have taken the connection over.
    pub successions: u64,
    /// Requests of the kernel since the serving process began, by operation, and what they cost:
    /// `read-bytes`, `decoded-frames`, `panic`.
    pub requests: BTreeMap<String, u64>,
}

/// What unmodified containers have.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainersStatus {
    /// The socket of Docker's volume driver; absent where it is off or another instance's.
    pub docker_plugin: Option<PathBuf>,
    /// The file of CDI devices; absent where it is off or another instance's.
    pub cdi: Option<PathBuf>,
    /// Digests of the views that are bound in containers, sandboxes among them, or are mounted
    /// as volumes.
    pub views: Vec<String>,
}

/// One zygote.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ZygoteInfo {
    /// Its number, counted from the supervisor's start.
    pub id: u64,
    /// The zygote that it was forked from; none for a root.
    pub parent: Option<u64>,
    /// Process on the host; absent while it is being started.
    pub pid: Option<u32>,
    /// Digest of the environment it sees.
    pub environment: String,
    /// `starting`, `ready`, `failed` or `gone`.
    pub state: String,
    /// Modules of packages that it has imported, besides its parent's.
    pub modules: Vec<String>,
    /// Why it failed, where it did.
    pub reason: Option<String>,
    /// Children forked from it.
    pub forks: u64,
    /// Children of it that wait for a function.
    pub spares: u64,
    /// Memory it uses, in bytes.
    pub memory: u64,
}

/// One sandbox of a function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxInfo {
    /// Its number, counted from the supervisor's start.
    pub id: u64,
    /// The function it belongs to.
    pub function: String,
    /// Process of the function on the host.
    pub pid: u32,
    /// What it does.
    pub state: SandboxState,
    /// Invocations it has served.
    pub invocations: u64,
    /// Memory it uses, in bytes.
    pub memory: u64,
}

/// What a function's sandbox does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxState {
    /// It serves an invocation.
    Running,
    /// It is frozen until the next one.
    Paused,
}

/// A sandbox on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangingSandbox {
    /// Its number, counted from the supervisor's start.
    pub id: u64,
    /// Whose code it is for: `function`, `zygote` or `installer`.
    pub standing: String,
    /// Which way.
    pub state: SandboxChange,
}

/// From nothing or to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxChange {
    /// Its namespaces, root and limits are being made.
    Making,
    /// Its processes are being ended and what it had removed.
    Ending,
}

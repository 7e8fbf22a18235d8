//! What the supervisor answers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::events::{Accepted, AsyncPolicy, EventInfo};
use super::explanation::Explanation;
use super::invocation::Invocation;
use super::request::{Network, Requirements};
use super::status::Status;
use super::store::{Checked, Collected, Repaired, Usage};

/// The last message that answers a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done; what was done, for the user.
    Done {
        /// One sentence.
        message: String,
    },
    /// The request was refused or failed.
    Fault(Fault),
    /// The values of settings by their keys, as the configuration file would have them.
    Settings {
        /// The settings; those without a value are there too.
        settings: BTreeMap<String, Option<String>>,
    },
    /// One environment.
    Environment(EnvironmentInfo),
    /// All environments, by name.
    Environments {
        /// The environments.
        environments: Vec<EnvironmentInfo>,
    },
    /// An environment that containers can be given.
    Export(Export),
    /// One function.
    Function(FunctionInfo),
    /// All functions, by name.
    Functions {
        /// The functions.
        functions: Vec<FunctionInfo>,
    },
    /// An invocation has ended, well or not.
    Invocation(Invocation),
    /// An event will not be lost.
    Accepted(Accepted),
    /// Events that are not done.
    Events {
        /// The events, of which the oldest where there are too many.
        events: Vec<EventInfo>,
        /// How many there are.
        total: u64,
    },
    /// One event.
    Event(EventInfo),
    /// What the supervisor keeps and does.
    Status(Status),
    /// Which zygote serves a function, and why.
    Explanation(Explanation),
    /// Zygotes as trees.
    Trees {
        /// JSON, which can be given back.
        trees: String,
    },
    /// What is stored and what it costs.
    Usage(Usage),
    /// What a collection has done.
    Collected(Collected),
    /// What a check has found.
    Checked(Checked),
    /// What was repaired.
    Repaired(Repaired),
}

/// Why a request was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Which kind of failure; decides the exit code.
    pub kind: FaultKind,
    /// What was tried, on what, why it failed, and what to do.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The request itself is wrong: exit code 2.
    BadInput,
    /// What it names does not exist: exit code 4.
    NotFound,
    /// Refused for a limit: exit code 5.
    Refused,
    /// A fault of Pipsqueak or its machine: exit code 70.
    Internal,
}

/// A step of a request that takes long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, such as `resolving` or `storing pandas 3.1.1`.
    pub step: String,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do; 0 where that is not known.
    pub total: u64,
    /// Whether both are bytes.
    #[serde(default)]
    pub bytes: bool,
}

/// One environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnvironmentInfo {
    /// Its name.
    pub name: String,
    /// Digest of its locked distributions and interpreter, in hexadecimal.
    pub digest: String,
    /// Digest of its view, which no other environment has, in hexadecimal.
    pub view: String,
    /// Where its view is mounted.
    pub path: PathBuf,
    /// Version of the interpreter, such as `3.11.7`.
    pub python: String,
    /// The interpreter's executable on the host.
    pub interpreter: PathBuf,
    /// Whether its modules are compiled: not where the interpreter is not on this machine.
    pub bytecode: bool,
    /// Its distributions, by name.
    pub distributions: Vec<DistributionInfo>,
    /// Files in the view.
    pub files: u64,
    /// Sum of the files' sizes in bytes, before deduplication and compression.
    pub bytes: u64,
}

/// An environment as containers are given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// The folder of the host that a container binds, with changes of mounts passed on to it.
    pub source: PathBuf,
    /// Where the container binds it.
    pub target: PathBuf,
    /// Environment variables that let the container's interpreter find the packages.
    pub variables: BTreeMap<String, String>,
}

/// One distribution of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DistributionInfo {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Digest of its installed files, in hexadecimal.
    pub digest: String,
}

/// Size limit of a `/tmp` where none was asked for, in bytes: AWS Lambda's default.
pub const DEFAULT_TMP: u64 = 512 << 20;

/// What functions had that were deployed before it could be said.
fn default_tmp() -> u64 {
    DEFAULT_TMP
}

/// What replies have in the place of a variable's value, which may be a secret.
pub const HIDDEN_VALUE: &str = "****";

/// One function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FunctionInfo {
    /// Its name.
    pub name: String,
    /// `module.function`.
    pub handler: String,
    /// The environment it runs in, where it was deployed with a named one.
    pub environment: Option<String>,
    /// What packages it has, where it was deployed with requirements of its own.
    pub requirements: Option<Requirements>,
    /// Counts deployments of this name, from 1.
    pub version: u64,
    /// Memory limit of one sandbox, in bytes.
    pub memory: u64,
    /// Limit of one sandbox's processor time, in thousandths of one processor, where it has one.
    #[serde(default)]
    pub cpu_millis: Option<u32>,
    /// Size limit of one sandbox's `/tmp`, in bytes.
    #[serde(default = "default_tmp")]
    pub tmp: u64,
    /// Longest time one invocation may take, in milliseconds.
    pub timeout_ms: u64,
    /// Most invocations at the same time in one sandbox.
    pub concurrency: u32,
    /// Most sandboxes at the same time. 0 in the record of a function that was deployed before it
    /// could be said, where `concurrency` is their number.
    #[serde(default)]
    pub sandboxes: u32,
    /// Longest event, in bytes; in a function's record only where it was deployed with one.
    #[serde(default)]
    pub payload_in: Option<u64>,
    /// Longest result, in bytes, likewise.
    #[serde(default)]
    pub payload_out: Option<u64>,
    /// What network its sandboxes have.
    pub network: Network,
    /// Whose it is; absent where nobody said, as for all others of which nobody did.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Environment variables; in a reply each has [`HIDDEN_VALUE`] for its value.
    pub variables: BTreeMap<String, String>,
    /// When it runs by itself: cron expressions in UTC.
    #[serde(default)]
    pub schedules: Vec<String>,
    /// When it does so next, in UTC as RFC 3339 writes it; absent where it does not.
    #[serde(default)]
    pub next_run: Option<String>,
    /// How often and how long its events are tried.
    #[serde(default)]
    pub asynchronous: AsyncPolicy,
}

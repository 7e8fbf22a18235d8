//! Answers of the supervisor.

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
    /// The request is done; the message tells the user the outcome.
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
        /// The events; the oldest of them, if there are too many.
        events: Vec<EventInfo>,
        /// Number of events.
        total: u64,
    },
    /// One event.
    Event(EventInfo),
    /// The status of the supervisor.
    Status(Status),
    /// Explanation of a function's starts.
    Explanation(Explanation),
    /// Zygotes as trees.
    Trees {
        /// JSON, which can be given back.
        trees: String,
    },
    /// Content of the store and its cost.
    Usage(Usage),
    /// Outcome of a collection.
    Collected(Collected),
    /// Outcome of a check.
    Checked(Checked),
    /// Outcome of a repair.
    Repaired(Repaired),
}

/// Failure or refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Kind of failure, which decides the exit code.
    pub kind: FaultKind,
    /// The step, its object, the reason and the remedy.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The request itself is wrong: exit code 2.
    BadInput,
    /// The named thing does not exist: exit code 4.
    NotFound,
    /// Refused for a limit: exit code 5.
    Refused,
    /// A fault of Pipsqueak or its machine: exit code 70.
    Internal,
}

/// A step of a request that takes long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Name of the step, such as `resolving` or `storing pandas 3.1.1`.
    pub step: String,
    /// Amount that is done.
    pub done: u64,
    /// Amount that there is to do; 0 if unknown.
    pub total: u64,
    /// True if both amounts are bytes.
    #[serde(default)]
    pub bytes: bool,
}

/// One environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnvironmentInfo {
    /// The environment's name.
    pub name: String,
    /// Digest of the locked distributions and the interpreter, in hexadecimal.
    pub digest: String,
    /// Digest of the view, which no other environment has, in hexadecimal.
    pub view: String,
    /// Path at which the view is mounted.
    pub path: PathBuf,
    /// Version of the interpreter, such as `3.11.7`.
    pub python: String,
    /// The interpreter's executable on the host.
    pub interpreter: PathBuf,
    /// True if the modules are compiled. They are not if the interpreter is not on this machine.
    pub bytecode: bool,
    /// The distributions, by name.
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
    /// Path at which the container binds the folder.
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

/// Default size limit of a `/tmp`, in bytes: AWS Lambda's default.
pub const DEFAULT_TMP: u64 = 512 << 20;

/// Size limit in records of functions that were deployed before this limit was a setting.
fn default_tmp() -> u64 {
    DEFAULT_TMP
}

/// Text that replies have in the place of a variable's value, which may be a secret.
pub const HIDDEN_VALUE: &str = "****";

/// One function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FunctionInfo {
    /// The function's name.
    pub name: String,
    /// `module.function`.
    pub handler: String,
    /// The environment, if the function was deployed with a named one.
    pub environment: Option<String>,
    /// The packages, if the function was deployed with requirements of its own.
    pub requirements: Option<Requirements>,
    /// Number of deployments of this name.
    pub version: u64,
    /// Memory limit of one sandbox, in bytes.
    pub memory: u64,
    /// Limit of one sandbox's processor time, in thousandths of one processor, if there is one.
    #[serde(default)]
    pub cpu_millis: Option<u32>,
    /// Size limit of one sandbox's `/tmp`, in bytes.
    #[serde(default = "default_tmp")]
    pub tmp: u64,
    /// Longest time one invocation may take, in milliseconds.
    pub timeout_ms: u64,
    /// Most invocations at the same time in one sandbox.
    pub concurrency: u32,
    /// Most sandboxes at the same time. 0 in records from before this was a setting; then `concurrency`
    /// is their number.
    #[serde(default)]
    pub sandboxes: u32,
    /// Longest event, in bytes; in a function's record only if the function was deployed with one.
    #[serde(default)]
    pub payload_in: Option<u64>,
    /// Longest result, in bytes; recorded like the longest event.
    #[serde(default)]
    pub payload_out: Option<u64>,
    /// Network of the sandboxes.
    pub network: Network,
    /// The tenant. All functions without one belong together.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Environment variables; in a reply each has [`HIDDEN_VALUE`] for its value.
    pub variables: BTreeMap<String, String>,
    /// Schedules: cron expressions in UTC.
    #[serde(default)]
    pub schedules: Vec<String>,
    /// Time of the next scheduled run, in UTC as RFC 3339 writes it; absent if there is none.
    #[serde(default)]
    pub next_run: Option<String>,
    /// Policy of trying the function's events.
    #[serde(default)]
    pub asynchronous: AsyncPolicy,
}

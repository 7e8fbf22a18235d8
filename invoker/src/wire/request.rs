//! Requests of a client.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::events::{AsyncPolicy, EventsRequest};
use super::logs::LogsRequest;
use super::store::StoreRequest;

/// Default limit of an invocation's event and result, in bytes: AWS Lambda's limit for synchronous requests.
pub const DEFAULT_PAYLOAD: u64 = 6 << 20;

/// Longest event and result that can be asked for, in bytes: an event is held in memory here, and its
/// frame there.
pub const MOST_PAYLOAD: u64 = 64 << 20;

/// Most invocations that can be asked for in one sandbox: each may need a thread, of which a
/// sandbox has some hundreds.
pub const MOST_CONCURRENCY: u32 = 256;

/// One request. Its name is the verb of the command line that sends it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Tell the status; answered by [`super::Reply::Status`].
    Status,
    /// Tell the values of the settings; answered by [`super::Reply::Settings`].
    Settings,
    /// Drain, unmount, leave nothing behind; answered by [`super::Reply::Done`] before the exit.
    Down,
    /// Make way for the program that is installed now, which takes over the socket and the mount;
    /// answered by [`super::Reply::Done`] before that begins.
    Upgrade,
    /// Make or replace an environment; answered by [`super::Reply::Environment`].
    EnvAdd {
        /// The environment's name.
        name: String,
        /// Packages of the environment.
        requirements: Requirements,
        /// Interpreter, if it is not the supervisor's default.
        python: Option<PathBuf>,
        /// Version of the interpreter, such as `3.12`, if that need not be on this machine.
        python_version: Option<String>,
        /// True if the newest versions are taken, not those that other environments have.
        upgrade: bool,
    },
    /// List all environments; answered by [`super::Reply::Environments`].
    EnvLs,
    /// Show one environment; answered by [`super::Reply::Environment`].
    EnvShow {
        /// The environment's name.
        name: String,
    },
    /// Give an environment to a container; answered by [`super::Reply::Export`].
    EnvExport {
        /// The environment's name.
        name: String,
    },
    /// Remove an environment's name and view; answered by [`super::Reply::Done`].
    EnvRm {
        /// The environment's name.
        name: String,
    },
    /// Deploy a function; answered by [`super::Reply::Function`].
    Deploy(Box<Deploy>),
    /// List all functions; answered by [`super::Reply::Functions`].
    FunctionsLs,
    /// Show one function; answered by [`super::Reply::Function`].
    FunctionsShow {
        /// The function's name.
        name: String,
    },
    /// Remove a function and its sandboxes; answered by [`super::Reply::Done`].
    FunctionsRm {
        /// The function's name.
        name: String,
    },
    /// Run a function once; answered by [`super::Reply::Invocation`].
    Invoke {
        /// The function's name.
        function: String,
        /// The event: any JSON.
        payload: Box<RawValue>,
        /// Longest wait for a turn, in milliseconds; if absent, as long as the function may run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// Run a function once and get its result while it runs, of any length; answered by frames of the
    /// result, then by [`super::Reply::Invocation`], whose result is null. The client must read all the
    /// while.
    InvokeStreamed {
        /// The function's name.
        function: String,
        /// The event: any JSON.
        payload: Box<RawValue>,
        /// Longest wait for a turn, as in `Invoke`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
        /// True if frames of a body follow, which the function reads while it runs. The supervisor
        /// closes the connection if the reply comes before the body's end.
        has_body: bool,
    },
    /// Have a function run later; answered by [`super::Reply::Accepted`] when that is certain.
    InvokeAsync {
        /// The function's name.
        function: String,
        /// The event: any JSON.
        payload: Box<RawValue>,
    },
    /// Ask for events that are not done.
    Events(EventsRequest),
    /// Ask for a function's logs.
    Logs(LogsRequest),
    /// Drop what tiers keep; answered by [`super::Reply::Done`].
    Evict(Evict),
    /// Tell which zygote serves a function and why; answered by [`super::Reply::Explanation`].
    Explain {
        /// The function's name.
        function: String,
    },
    /// Tell the zygotes there are as trees; answered by [`super::Reply::Trees`].
    ZygotesExport,
    /// Start given trees of zygotes; answered by [`super::Reply::Done`].
    ZygotesImport {
        /// Text in our own form or in OpenLambda's.
        trees: String,
    },
    /// Care for the store.
    Store(StoreRequest),
}

/// Packages of an environment to be made. No part names a file, because the reader has no files of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirements {
    /// Requirements, to be resolved.
    Listed {
        /// Lines of a requirements file: a requirement each, with its `--hash` options, or an
        /// option such as `--extra-index-url`.
        requirements: Vec<String>,
        /// Lines of a constraints file, in the same form.
        constraints: Vec<String>,
        /// Versions of Python that the requirements are for, as PEP 440 writes them.
        requires_python: Option<String>,
        /// True if packages without a wheel may be built from source.
        #[serde(default)]
        allow_build: bool,
        /// True if a wheel or an archive says the requirements, and not the user: then their addresses may
        /// not lead to the machine.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_brought: bool,
    },
    /// Distributions that are resolved already.
    Locked {
        /// Text of a `pylock.toml` (PEP 751).
        lock: String,
        /// True if an archive has brought the lock, and not the user.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_brought: bool,
    },
}

/// A function to be deployed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deploy {
    /// The function's name.
    pub name: String,
    /// Absolute path of the folder, single file, zip or wheel with its code; copied before the reply.
    pub source: PathBuf,
    /// `module.function`; found out if absent.
    pub handler: Option<String>,
    /// The environment of the function.
    pub environment: Option<String>,
    /// Packages of the function. The first start that finds no environment makes it.
    pub requirements: Option<Requirements>,
    /// Memory limit of one sandbox, in bytes.
    pub memory: Option<u64>,
    /// Limit of one sandbox's processor time, in thousandths of one processor.
    pub cpu_millis: Option<u32>,
    /// Size limit of one sandbox's `/tmp`, in bytes.
    pub tmp: Option<u64>,
    /// Longest time one invocation may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Most invocations at the same time in one sandbox.
    pub concurrency: Option<u32>,
    /// Most sandboxes at the same time.
    pub sandboxes: Option<u32>,
    /// Longest event and longest result, in bytes.
    pub payload: Option<u64>,
    /// Network of the sandboxes.
    pub network: Network,
    /// Tenant: functions of different tenants have no zygote in common.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Schedules: cron expressions in UTC.
    #[serde(default)]
    pub schedules: Vec<String>,
    /// Policy of trying the function's events.
    #[serde(default)]
    pub asynchronous: AsyncPolicy,
}

/// Network of a sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A loopback interface of its own and nothing else.
    #[default]
    None,
    /// The host's network.
    Host,
    /// An address of its own behind the host's.
    Nat,
}

/// Things to drop. Neither `paused` nor `zygotes` means both.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Evict {
    /// The function whose things are dropped, with its environment's zygotes; all functions if absent.
    pub function: Option<String>,
    /// True if paused sandboxes are dropped.
    pub paused: bool,
    /// True if zygotes are dropped.
    pub zygotes: bool,
}

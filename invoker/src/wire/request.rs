//! What a client can ask for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::events::{AsyncPolicy, EventsRequest};
use super::logs::LogsRequest;
use super::store::StoreRequest;

/// Longest event and longest result of an invocation where nothing else was asked for, in bytes: AWS
/// Lambda's limit for synchronous requests.
pub const DEFAULT_PAYLOAD: u64 = 6 << 20;

/// The most that can be asked for, in bytes: an event is held in memory here, and its frame there.
pub const MOST_PAYLOAD: u64 = 64 << 20;

/// Most invocations that can be asked for in one sandbox: each may need a thread, of which a
/// sandbox has some hundreds.
pub const MOST_CONCURRENCY: u32 = 256;

/// One request. Its name is the verb of the command line that sends it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// What the supervisor keeps and does; answered by [`super::Reply::Status`].
    Status,
    /// The values of its settings; answered by [`super::Reply::Settings`].
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
        /// What packages it is to have.
        requirements: Requirements,
        /// Interpreter, where it is not the supervisor's default.
        python: Option<PathBuf>,
        /// Version of its interpreter, such as `3.12`, where that need not be on this machine.
        python_version: Option<String>,
        /// Whether the newest versions are taken, not those that other environments have.
        upgrade: bool,
    },
    /// All environments; answered by [`super::Reply::Environments`].
    EnvLs,
    /// One environment; answered by [`super::Reply::Environment`].
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
    /// All functions; answered by [`super::Reply::Functions`].
    FunctionsLs,
    /// One function; answered by [`super::Reply::Function`].
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
        /// How long it may wait for its turn, in milliseconds; as long as it may run where it is
        /// absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// Run a function once and have its result as it comes, however long; answered by frames of it, then
    /// by [`super::Reply::Invocation`], whose result is null. The client must read all the while.
    InvokeStreamed {
        /// The function's name.
        function: String,
        /// The event: any JSON.
        payload: Box<RawValue>,
        /// As in `Invoke`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
        /// Whether frames of a body follow, which the function reads as it comes. Where the reply
        /// comes before the body's end, the supervisor closes the connection.
        has_body: bool,
    },
    /// Have a function run later; answered by [`super::Reply::Accepted`] when that is certain.
    InvokeAsync {
        /// The function's name.
        function: String,
        /// The event: any JSON.
        payload: Box<RawValue>,
    },
    /// Events that are not done.
    Events(EventsRequest),
    /// What a function has printed.
    Logs(LogsRequest),
    /// Drop what tiers keep; answered by [`super::Reply::Done`].
    Evict(Evict),
    /// Which zygote serves a function and why; answered by [`super::Reply::Explanation`].
    Explain {
        /// The function's name.
        function: String,
    },
    /// The zygotes there are as trees; answered by [`super::Reply::Trees`].
    ZygotesExport,
    /// Start given trees of zygotes; answered by [`super::Reply::Done`].
    ZygotesImport {
        /// Text in our own form or in OpenLambda's.
        trees: String,
    },
    /// Care of the store.
    Store(StoreRequest),
}

/// What packages an environment is to have. No part of it names a file: what reads it has none of
/// the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirements {
    /// Requirements, to be resolved.
    Listed {
        /// Lines of a requirements file: a requirement each, with its `--hash` options, or an
        /// option such as `--extra-index-url`.
        requirements: Vec<String>,
        /// Lines of a constraints file, likewise.
        constraints: Vec<String>,
        /// Versions of Python that they are for, as PEP 440 writes them.
        requires_python: Option<String>,
        /// Whether what has no wheel may be built from source.
        #[serde(default)]
        allow_build: bool,
        /// Whether a wheel or an archive says it, and not the user: then its addresses may not lead to
        /// the machine.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_brought: bool,
    },
    /// What somebody has resolved already.
    Locked {
        /// Text of a `pylock.toml` (PEP 751).
        lock: String,
        /// Whether an archive has brought it, and not the user.
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
    /// `module.function`; found out where it is absent.
    pub handler: Option<String>,
    /// The environment it runs in.
    pub environment: Option<String>,
    /// What packages it is to have. Its environment is made by the first start that finds none.
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
    /// What network its sandboxes have.
    pub network: Network,
    /// Whose it is: functions of different tenants have no zygote in common.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// When it is to run by itself: cron expressions in UTC.
    #[serde(default)]
    pub schedules: Vec<String>,
    /// How often and how long its events are tried.
    #[serde(default)]
    pub asynchronous: AsyncPolicy,
}

/// What network a sandbox has.
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

/// What to drop. Neither `paused` nor `zygotes` means both.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Evict {
    /// Only what this function has (and its environment's zygotes); all functions where absent.
    pub function: Option<String>,
    /// Paused sandboxes.
    pub paused: bool,
    /// Zygotes.
    pub zygotes: bool,
}

//! Commands on functions, their invocations and their events.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use pipsqueak::wire::Network;

use super::format::Format;
use super::values::{
    age, concurrency, cpus, named, network, seconds, secret, some_memory, some_payload, some_tmp,
    variable,
};

#[derive(Debug, Args)]
pub struct Deploy {
    #[arg(value_parser = named)]
    pub name: String,
    /// Folder, single file, zip or wheel with the function's code; a wheel may have extras, x.whl[web]
    #[arg(value_name = "DIR|FILE")]
    pub source: PathBuf,
    /// The entry point, module.function [found out]
    #[arg(long, value_name = "M.F")]
    pub handler: Option<String>,
    /// The environment it runs in
    #[arg(long, value_name = "NAME", value_parser = named, conflicts_with = "requirements")]
    pub env: Option<String>,
    /// A requirements file, a pylock.toml, or a script with a PEP 723 block, for an environment of
    /// its own; - is stdin [what DIR or FILE brings]
    #[arg(short, long, value_name = "FILE")]
    pub requirements: Vec<PathBuf>,
    /// Build from source what has no wheel, in a sandbox without a network
    #[arg(long, conflicts_with = "env")]
    pub allow_build: bool,
    /// Memory limit of one sandbox, such as 512M
    #[arg(long, value_name = "SIZE", value_parser = some_memory)]
    pub memory: Option<u64>,
    /// Limit of one sandbox's processor time, as a number of processors, such as 0.5 [none]
    #[arg(long, value_name = "N", value_parser = cpus)]
    pub cpus: Option<u32>,
    /// Size limit of one sandbox's /tmp, which counts as memory [512M]
    #[arg(long, value_name = "SIZE", value_parser = some_tmp)]
    pub tmp: Option<u64>,
    /// Longest time one invocation may take, in seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Most invocations at the same time in one sandbox [1]
    #[arg(long, value_name = "N", value_parser = concurrency)]
    pub concurrency: Option<u32>,
    /// Most sandboxes at the same time [8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub sandboxes: Option<u32>,
    /// Longest event and longest result of an invocation [6M, or what the configuration file says]
    #[arg(long, value_name = "SIZE", value_parser = some_payload)]
    pub payload: Option<u64>,
    /// Network of its sandboxes
    #[arg(long, value_name = "none|host|nat", value_parser = network, default_value = "none")]
    pub network: Network,
    /// Tenant that it belongs to: functions of other tenants share with it only what is stored and read-only
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// An environment variable; can be given again
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// A file of environment variables, a line KEY=VALUE each; can be given again
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
    /// An environment variable whose value is what a file has, or stdin, which is -; can be given again
    #[arg(long = "secret", value_name = "NAME=@FILE", value_parser = secret)]
    pub secrets: Vec<(String, PathBuf)>,
    /// When it runs by itself: a cron expression in UTC, of five fields, or six with seconds first,
    /// or such as @hourly; can be given again
    #[arg(long = "schedule", value_name = "CRON")]
    pub schedules: Vec<String>,
    /// How often an asynchronous event that it has failed is tried again [2]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// How long after the first failure, in seconds; twice as long after each further one [60]
    #[arg(long, value_name = "S", value_parser = pipsqueak::seconds::parse)]
    pub backoff: Option<Duration>,
    /// How old an asynchronous event may become, in seconds [21600]
    #[arg(long, value_name = "S", value_parser = pipsqueak::seconds::parse)]
    pub max_age: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub enum FunctionsVerb {
    /// List functions
    Ls(Format),
    /// Show a function
    Show {
        #[arg(value_parser = named)]
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a function
    Rm {
        #[arg(value_parser = named)]
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct Invoke {
    #[arg(value_parser = named)]
    pub name: String,
    /// The event: JSON, a file with it, or - for stdin
    #[arg(
        short,
        long,
        value_name = "JSON|@FILE|-",
        default_value = "{}",
        allow_hyphen_values = true
    )]
    pub data: OsString,
    /// How long it may wait for its turn, in seconds [the function's timeout]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub deadline: Option<Duration>,
    /// Print the result as it comes, item by item, however long; --json then prints to stderr
    #[arg(long, conflicts_with = "is_async")]
    pub stream: bool,
    /// File that the handler reads while it runs, or - for stdin; means --stream
    #[arg(long, value_name = "@FILE|-", conflicts_with = "is_async")]
    pub body: Option<OsString>,
    /// Do not wait for it: answer when it is certain that it will run, with the event's number
    #[arg(long = "async", visible_alias = "event")]
    pub is_async: bool,
    /// Print one object with result, error, tier, times and logs
    #[arg(long)]
    pub json: bool,
}

impl Invoke {
    /// The longest wait for a turn, in milliseconds.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.deadline.map(|wait| wait.as_millis().try_into().unwrap_or(u64::MAX))
    }
}

#[derive(Debug, Args)]
pub struct Logs {
    #[arg(value_parser = named)]
    pub name: String,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// Only what is not older, such as 30s, 10m, 2h or 1d
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub since: Option<Duration>,
    /// Only the last so many of what is there
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<u64>,
    /// Only what belongs to this invocation
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// Print an object each line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum EventsVerb {
    /// List events that are not done, the oldest first
    Ls {
        /// Only this function's
        #[arg(value_parser = named)]
        name: Option<String>,
        /// Only dead letters
        #[arg(long)]
        dead: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Show an event, with its payload and why it failed
    Show {
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Have a dead letter tried again, as if it were new
    Retry { id: String },
    /// Remove an event that does not run
    Rm { id: String },
}

#[derive(Debug, Args)]
pub struct Explain {
    /// The function
    #[arg(value_parser = named)]
    pub name: String,
    #[command(flatten)]
    pub format: Format,
}

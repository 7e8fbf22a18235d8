//! What can be typed. Values are checked here as far as they can be without looking at anything.

mod flags;
pub mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pipsqueak::wire::Network;

pub use flags::{Flags, Places};
use values::{
    age, concurrency, cpus, named, network, seconds, secret, some_memory, some_payload, some_rate,
    some_tmp, variable,
};

/// Import Python packages once per machine, and run functions on them
#[derive(Debug, Parser)]
#[command(name = "pipsqueak", version, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub struct Arguments {
    #[command(flatten)]
    pub places: Places,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start the supervisor; returns when requests are served
    Up(Up),
    /// Stop the supervisor; returns when nothing is left
    Down,
    /// Replace the running supervisor by the program that is installed now; the mount stays, clients wait
    Upgrade,
    /// See what is in force and where it comes from, and check a configuration file
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Check what this machine has of what is needed
    Doctor(Format),
    /// Make, list and remove environments
    Env {
        #[command(subcommand)]
        verb: EnvVerb,
    },
    /// Deploy a function from a folder or a file
    Deploy(Deploy),
    /// List and remove functions
    Functions {
        #[command(subcommand)]
        verb: FunctionsVerb,
    },
    /// Run a function once and print its result
    Invoke(Invoke),
    /// Print what a function has printed, and where its invocations began and ended
    Logs(Logs),
    /// List, try again and remove asynchronous events
    Events {
        #[command(subcommand)]
        verb: EventsVerb,
    },
    /// Drop what tiers keep, to measure the one below; by default paused sandboxes and zygotes
    Evict(Evict),
    /// Show what the supervisor keeps and does
    Status(Format),
    /// Tell which zygote serves a function, why no other does, and what that saves
    Explain(Explain),
    /// List zygotes, see their tree, and take and give it
    Zygotes {
        #[command(subcommand)]
        verb: ZygotesVerb,
    },
    /// See what the store costs, reclaim, check and repair it
    Store {
        #[command(subcommand)]
        verb: StoreVerb,
    },
    /// Print a page of the guide, or the help of a command
    Help {
        /// A page, such as containers, or a command, such as env add; all are listed without
        #[arg(value_name = "TOPIC")]
        words: Vec<String>,
    },
    /// Run a program in a session of its own
    #[command(hide = true)]
    Detach {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
    /// Make the namespaces that a sandbox needs, and end
    #[command(hide = true)]
    TryNamespaces,
}

#[derive(Debug, Args)]
pub struct Format {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print what `up` with the same flags would have in force, as a configuration file
    Show {
        #[command(flatten)]
        flags: Box<Flags>,
        #[command(flatten)]
        format: Format,
    },
    /// Check a configuration file
    Check {
        /// The file [the one that `up` reads]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub flags: Flags,
    /// Become the supervisor instead of starting one, for service managers
    #[arg(long)]
    pub foreground: bool,
}

#[derive(Debug, Subcommand)]
pub enum EnvVerb {
    /// Make or replace an environment
    #[command(override_usage = "pipsqueak env add [OPTIONS] <NAME> <PKG...|-r FILE>")]
    Add {
        #[arg(value_parser = named)]
        name: String,
        #[command(flatten)]
        packages: Packages,
        /// A file that limits versions and asks for nothing; can be given again
        #[arg(short, long = "constraint", value_name = "FILE")]
        constraints: Vec<PathBuf>,
        /// Its interpreter [the supervisor's]
        #[arg(long, value_name = "PATH")]
        python: Option<PathBuf>,
        /// Its Python, such as 3.12, where only a container has that: without bytecode
        #[arg(long, value_name = "X.Y")]
        python_version: Option<String>,
        /// Take the newest versions, not those that other environments have
        #[arg(long)]
        upgrade: bool,
        /// Build from source what has no wheel, in a sandbox without a network
        #[arg(long)]
        allow_build: bool,
    },
    /// List environments
    Ls(Format),
    /// Show an environment and its distributions
    Show {
        #[arg(value_parser = named)]
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Print where an environment is mounted
    Path {
        #[arg(value_parser = named)]
        name: String,
    },
    /// Print the arguments that give an environment to `docker run` or `podman run`
    DockerArgs {
        #[arg(value_parser = named)]
        name: String,
    },
    /// Print an environment's distributions as requirements
    Freeze {
        #[arg(value_parser = named)]
        name: String,
    },
    /// Remove an environment
    Rm {
        #[arg(value_parser = named)]
        name: String,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Packages {
    /// Requirements, such as pandas or 'numpy<3'
    #[arg(value_name = "PKG")]
    pub packages: Vec<String>,
    /// A requirements file, a pylock.toml, or a script with a PEP 723 block; - is stdin; requirements
    /// files can be given again
    #[arg(short, long, value_name = "FILE")]
    pub requirements: Vec<PathBuf>,
}

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
    /// What network its sandboxes have
    #[arg(long, value_name = "none|host|nat", value_parser = network, default_value = "none")]
    pub network: Network,
    /// Whose it is: nothing is shared with functions of other tenants but what is stored and read-only
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
    /// What the handler reads while it runs: a file, or - for stdin; means --stream
    #[arg(long, value_name = "@FILE|-", conflicts_with = "is_async")]
    pub body: Option<OsString>,
    /// Do not wait for it: answer when it is certain that it will run, with the event's number
    #[arg(long = "async", visible_alias = "event")]
    pub is_async: bool,
    /// Print one object with result, error, tier, times and logs
    #[arg(long)]
    pub json: bool,
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
pub struct Evict {
    /// Only what this function has [all functions]
    #[arg(value_parser = named)]
    pub name: Option<String>,
    /// Drop paused sandboxes
    #[arg(long)]
    pub paused: bool,
    /// Drop zygotes
    #[arg(long)]
    pub zygotes: bool,
}

#[derive(Debug, Subcommand)]
pub enum ZygotesVerb {
    /// List zygotes
    Ls(Format),
    /// Show which zygote was forked from which
    Tree,
    /// Print the zygotes there are as JSON that `import` takes
    Export,
    /// Start given zygotes: what `export` has printed, or a tree of OpenLambda's
    Import {
        /// The file, or - for stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Explain {
    /// The function
    #[arg(value_parser = named)]
    pub name: String,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum StoreVerb {
    /// Show what each environment and distribution costs, alone and shared
    Du(Format),
    /// Reclaim what no environment, function, pin, sandbox or mount needs
    Gc {
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// How long something must have been out of reach, in seconds [the supervisor's]
        #[arg(long, value_name = "S", value_parser = pipsqueak::seconds::parse)]
        grace: Option<Duration>,
        #[command(flatten)]
        format: Format,
    },
    /// Compare catalog, segments and views; exit code 1 where something is wrong
    Fsck {
        /// Also read everything, and compare it with the archives that are still among the downloads
        #[arg(long)]
        archives: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Read and check everything that is stored; exit code 1 where something is wrong
    Scrub {
        /// Most bytes to read per second, such as 50M [no bound]
        #[arg(long, value_name = "SIZE", value_parser = some_rate)]
        rate: Option<u64>,
        #[command(flatten)]
        format: Format,
    },
    /// Get again what is damaged; exit code 1 where something stays wrong
    Repair(Format),
    /// Keep an environment or a distribution, whatever is removed
    Pin {
        /// An environment, or a distribution as MOUNT/dists names it
        name: String,
    },
    /// Keep it no longer
    Unpin {
        /// As it was pinned
        name: String,
    },
}

#[cfg(test)]
mod tests;

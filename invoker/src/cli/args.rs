//! What can be typed. Values are checked here as far as they can be without looking at anything.

mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pipsqueak::wire::Network;

use values::{cpus, named, network, seconds, some_memory, some_rate, some_tmp, variable};

/// Import Python packages once per machine, and run functions on them
#[derive(Debug, Parser)]
#[command(name = "pipsqueak", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(flatten)]
    pub places: Places,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which instance is meant.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Instance")]
pub struct Places {
    /// Where environments, functions and downloads are kept [/var/lib/pipsqueak]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where the supervisor's socket and log are [/run/pipsqueak]
    #[arg(long, global = true, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Where packages are mounted [/pipsqueak/packages]
    #[arg(long, global = true, value_name = "DIR")]
    pub mount: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start the supervisor; returns when requests are served
    Up(Up),
    /// Stop the supervisor; returns when nothing is left
    Down,
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

#[derive(Debug, Args)]
pub struct Up {
    /// Where downloads are kept [STATE/cache]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Tiers in use: some of paused,zygote,ssd, or none [all]
    #[arg(long, value_name = "LIST")]
    pub tiers: Option<String>,
    /// Budget for what is kept in memory [half of it]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// How many children of one zygote may wait for functions, 0 for none [8]
    #[arg(long, value_name = "N")]
    pub spares: Option<String>,
    /// How long something must have been out of reach before `store gc` takes it, in seconds [300]
    #[arg(long, value_name = "S")]
    pub grace: Option<String>,
    /// The uv executable [uv on the PATH]
    #[arg(long, value_name = "PATH")]
    pub uv: Option<PathBuf>,
    /// The interpreter of environments that name none [python3 on the PATH]
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// Socket of Docker's volume driver, or none [/run/docker/plugins/pipsqueak.sock, unless --run]
    #[arg(long, value_name = "PATH")]
    pub docker_plugin: Option<PathBuf>,
    /// File of CDI devices, or none [/var/run/cdi/pipsqueak.json, unless --run]
    #[arg(long, value_name = "PATH")]
    pub cdi: Option<PathBuf>,
    /// Addresses of functions whose network is nat, such as 10.11.0.0/20 [a free part of 198.18.0.0/15]
    #[arg(long, value_name = "CIDR")]
    pub nat: Option<String>,
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
    /// Most invocations at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: Option<u32>,
    /// What network its sandboxes have
    #[arg(long, value_name = "none|host|nat", value_parser = network, default_value = "none")]
    pub network: Network,
    /// An environment variable; can be given again
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
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
    /// Print one object with result, error, tier, times and logs
    #[arg(long)]
    pub json: bool,
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
    Fsck(Format),
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

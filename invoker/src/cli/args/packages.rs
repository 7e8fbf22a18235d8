//! Commands on environments and on the store that has their packages.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::format::Format;
use super::values::{named, some_rate};

#[derive(Debug, Subcommand)]
pub enum EnvVerb {
    /// Make or replace an environment
    #[command(override_usage = "pipsqueak env add [OPTIONS] <NAME> <PKG...|-r FILE>")]
    Add(EnvAdd),
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
pub struct EnvAdd {
    #[arg(value_parser = named)]
    pub name: String,
    #[command(flatten)]
    pub packages: Packages,
    /// A file that limits versions and asks for nothing; can be given again
    #[arg(short, long = "constraint", value_name = "FILE")]
    pub constraints: Vec<PathBuf>,
    /// Its interpreter [the supervisor's]
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// Its Python, such as 3.12, where only a container has that: without bytecode
    #[arg(long, value_name = "X.Y")]
    pub python_version: Option<String>,
    /// Take the newest versions, not those that other environments have
    #[arg(long)]
    pub upgrade: bool,
    /// Build from source what has no wheel, in a sandbox without a network
    #[arg(long)]
    pub allow_build: bool,
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

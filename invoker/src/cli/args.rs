//! The command line. Values are checked here as far as they can be without looking at anything.

mod flags;
mod format;
mod functions;
mod packages;
pub mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use flags::{Flags, Places};
pub use format::Format;
pub use functions::{Deploy, EventsVerb, Explain, FunctionsVerb, Invoke, Logs};
pub use packages::{EnvAdd, EnvVerb, Packages, StoreVerb};
use values::named;

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

#[cfg(test)]
mod tests;

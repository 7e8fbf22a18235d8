//! `pipsqueakd`: started by `pipsqueak up`, or by a service manager.

use std::error::Error;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use clap::{Arg, ArgMatches, Args, FromArgMatches, Parser, Subcommand, value_parser};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pipsqueak::settings::{self, LogLevel, Overrides, Settings};
use pipsqueak_kernel::clone::OneThread;
use pipsqueak_kernel::descriptor;
use pipsqueakd::boot::{BootError, Rest};
use pipsqueakd::service::Service;
use pipsqueakd::upgrade::Successor;
use pipsqueakd::{boot, network, sandbox, tryout};
use tokio::runtime::Runtime;
use tracing_subscriber::filter::LevelFilter;

/// Longest wait for threads to end.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
#[command(version, about = "The supervisor of Pipsqueak", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// The process that makes sandboxes; started by the supervisor itself, in an empty folder
    #[command(hide = true)]
    MakeSandboxes {
        /// Whose sandboxes they are, for those who read the list of processes
        #[arg(long)]
        instance: String,
        #[arg(long)]
        orders: RawFd,
        #[arg(long)]
        kill_switch: Option<RawFd>,
    },
    /// Make the network of functions in a namespace of its own, and end
    #[command(hide = true)]
    TryNat,
    /// Have an interpreter, or uv with it, make an environment in a sandbox, and end
    #[command(hide = true)]
    TryPrograms {
        #[arg(long)]
        python: PathBuf,
        #[arg(long)]
        uv: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    flags: Flags,
    /// Descriptor that is told when requests are served, or why not
    #[arg(long, hide = true)]
    ready_fd: Option<RawFd>,
}

/// Flags that say settings, as the table of settings has them.
struct Flags(Overrides);

impl Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(settings::flags().map(|(row, flag)| {
            let parser = if flag.is_path { value_parser!(PathBuf) } else { value_parser!(String) };
            Arg::new(row.key)
                .long(flag.long())
                .value_name(flag.value_name)
                .value_parser(parser)
                .help(row.help)
        }))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut overrides = Overrides::default();
        for (row, flag) in settings::flags() {
            if let Some(text) = matches.get_raw(row.key).and_then(|mut texts| texts.next_back()) {
                flag.give(&mut overrides, text.to_owned());
            }
        }
        Ok(Self(overrides))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::MakeSandboxes { orders, kill_switch, .. }) => {
            log_from(LogLevel::Info);
            make_sandboxes(orders, kill_switch)
        }
        Some(Command::TryNat) => tried(network::try_out()),
        Some(Command::TryPrograms { python, uv }) => tried(try_programs(&python, uv.as_deref())),
        None => serve(arguments.serve),
    }
}

/// Has what is said be written to stderr from this weight on. Commands that are asked something answer
/// there, and log nothing.
fn log_from(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false).init();
}

fn make_sandboxes(orders: RawFd, kill_switch: Option<RawFd>) -> ExitCode {
    let made = descriptor::inherited(orders).and_then(|orders| {
        let kill_switch = kill_switch.map(descriptor::inherited).transpose()?;
        let root = std::env::current_dir()?;
        let made = sandbox::run_maker(UnixStream::from(orders), kill_switch.map(File::from), &root);
        made.map_err(io::Error::other)
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the process that makes sandboxes ends");
            ExitCode::from(70)
        }
    }
}

fn try_programs(python: &Path, uv: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    tryout::try_programs(python, uv, runtime.handle().clone())
}

fn tried<E: Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(70)
        }
    }
}

/// What a service manager that has started this process says, and what is wrong with that, which is no
/// reason not to serve.
fn managed() -> (boot::Managed, Option<String>) {
    let managed = OneThread::check()
        .map_err(|error| error.to_string())
        .and_then(|alone| Service::of_process(alone).map_err(|error| error.to_string()));
    let (managed, trouble) = match managed {
        Ok(managed) => (managed, None),
        Err(error) => (Default::default(), Some(error)),
    };
    let (service, stored) = managed;
    ((Arc::new(service), stored), trouble)
}

/// Ends the threads of the runtime, and does the work that is left. Returns the program to become, if
/// there is one.
fn finish(rest: Rest, runtime: io::Result<Runtime>) -> Result<Option<Successor>, (u8, String)> {
    let (ended, end) = channel();
    // The runtime's end waits for threads that use the mount.
    thread::spawn(move || {
        drop(runtime);
        let _ = ended.send(());
    });
    let told = |error: BootError| (error.exit_code(), error.to_string());
    if end.recv_timeout(PATIENCE).is_ok() {
        return rest.carry_out().map_err(told);
    }
    if matches!(rest, Rest::Nothing) {
        tracing::warn!("some of it does not end, and is left to the kernel");
        return Ok(None);
    }
    // The end of the mount gives these threads an error.
    rest.give_up().map_err(told)?;
    let is_ended = end.recv_timeout(PATIENCE).is_ok();
    let reason = "some of it did not end, so the mount was ended";
    Err((70, format!("{reason}{}", if is_ended { "" } else { ", in vain" })))
}

fn serve(serve: Serve) -> ExitCode {
    // Ahead of any thread, and of processes that would inherit what the manager has passed.
    let (managed, trouble) = managed();
    let settings = Settings::resolve(serve.flags.0);
    log_from(settings.as_ref().map_or(LogLevel::Info, |settings| settings.log_level));
    if let Some(error) = trouble {
        tracing::error!(error, "going on without the service manager");
    }
    // Each sandbox has some, and shells give few.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    // A dump of this process's memory would show functions' variables. The limit is one byte, because
    // the kernel ignores any other limit if it gives dumps to a program.
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 1, 1) {
        tracing::warn!(%error, "limiting dumps of this process's memory");
    }
    let mut ready = serve.ready_fd.and_then(|fd| descriptor::inherited(fd).map(File::from).ok());
    let mut tell = |line: String| {
        // No pipe is given by a service manager, which reads the log.
        if let Some(mut ready) = ready.take() {
            let _ = writeln!(ready, "{line}");
        }
    };
    let failed = match settings {
        Err(error) => (2, error.to_string()),
        Ok(settings) => {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let run = match &runtime {
                Err(error) => Err((70, format!("starting the runtime: {error}"))),
                Ok(runtime) => runtime
                    .block_on(boot::run(settings, managed, || tell("ready".to_owned())))
                    .map_err(|error| (error.exit_code(), error.to_string())),
            };
            match run.and_then(|rest| finish(rest, runtime)) {
                Ok(None) => return ExitCode::SUCCESS,
                Ok(Some(successor)) => (
                    70,
                    format!("becoming the program that is installed: {}", successor.become_it()),
                ),
                Err(failed) => failed,
            }
        }
    };
    let (code, message) = failed;
    tracing::error!("{message}");
    tell(format!("{code} {message}"));
    ExitCode::from(code)
}

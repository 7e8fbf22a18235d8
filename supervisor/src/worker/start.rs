//! A worker's start: a process that waits for its function, in a sandbox of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use pipsqueak::wire::DEFAULT_TMP;
use tokio::net::unix::pipe;

use crate::channel;
use crate::environment::Tree;
use crate::machine::cgroups::Limits;
use crate::runtime::{self, Role};
use crate::sandbox::{
    Commons, End, Plan, Program, Sandbox, SandboxError, Sandboxes, Standing, host_names,
};
use crate::stream::Stream;

/// Maximum number of processes and threads of a function.
pub const PIDS: u32 = 512;

/// The reason why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The worker's sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The worker's channel or mounts failed.
    #[error("preparing the sandbox of a function: {0}")]
    Io(#[from] io::Error),
}

/// A process that waits for its function. Its sandbox has everything but the function's code and limits,
/// and ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    /// The sandbox in which the process runs.
    pub sandbox: Sandbox,
    /// The channel on which the process gets messages and answers.
    pub channel: Stream,
    /// The output that the process prints.
    pub printed: pipe::Receiver,
    /// The process's end.
    pub end: End,
}

/// Both ends of a worker's channel and of its output: one for the process, one that stays here.
#[derive(Debug)]
pub struct Ends {
    /// The process's end of the channel.
    pub channel: OwnedFd,
    /// The end that the process prints to.
    pub print: OwnedFd,
    near: UnixStream,
    printed: io::PipeReader,
}

impl Worker {
    /// Starts an interpreter with a function's variables in a sandbox from [`sandbox`]. `is_recorded` is
    /// true if it is to report what its imports read.
    pub async fn launch(
        sandboxes: &Arc<Sandboxes>,
        sandbox: Sandbox,
        own: &BTreeMap<String, String>,
        is_recorded: bool,
    ) -> Result<Self, WorkerError> {
        let arguments = runtime::arguments(Role::Function, own);
        let variables = runtime::variables(own, is_recorded);
        let ends = Ends::open()?;
        let launching = sandboxes.clone();
        let launched = tokio::task::spawn_blocking(move || {
            let null = File::open("/dev/null")?;
            let (print, channel) = (ends.print.as_fd(), ends.channel.as_fd());
            let program = Program {
                arguments,
                variables,
                directory: "/".into(),
                descriptors: vec![null.as_fd(), print, print, channel],
            };
            let process = launching.launch(&sandbox, program)?;
            ends.join(sandbox, process.end)
        });
        launched.await.map_err(io::Error::other)?
    }

    /// True if the process still holds its channel: it may have been killed meanwhile.
    pub fn is_alive(&self) -> bool {
        channel::is_open(&self.channel)
    }
}

impl Ends {
    /// Opens a channel and an output pipe.
    pub fn open() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        let (printed, print) = io::pipe()?;
        Ok(Self { channel: far.into(), print: print.into(), near, printed })
    }

    /// Makes a worker from a sandbox and the process in it that has the other ends; `end` is that
    /// process's.
    pub fn join(self, sandbox: Sandbox, end: End) -> Result<Worker, WorkerError> {
        Ok(Worker {
            sandbox,
            channel: Stream::new(self.near)?,
            printed: pipe::Receiver::from_owned_fd(self.printed.into())?,
            end,
        })
    }
}

/// Makes a sandbox of the same kind as `parent`, for a child of a process inside `parent`. `tree` is the
/// environment that the parent sees.
pub async fn sandbox_within(
    sandboxes: &Arc<Sandboxes>,
    parent: Arc<Sandbox>,
    tree: &Tree,
    runtime: &Path,
) -> Result<Sandbox, WorkerError> {
    let commons = parent.commons().clone();
    make(sandboxes, tree, commons, runtime, Some(parent)).await
}

/// Makes a sandbox that sees `tree`, in which an interpreter can be started.
pub async fn sandbox(
    sandboxes: &Arc<Sandboxes>,
    tree: &Tree,
    commons: Commons,
    runtime: &Path,
) -> Result<Sandbox, WorkerError> {
    make(sandboxes, tree, commons, runtime, None).await
}

async fn make(
    sandboxes: &Arc<Sandboxes>,
    tree: &Tree,
    commons: Commons,
    runtime: &Path,
    parent: Option<Arc<Sandbox>>,
) -> Result<Sandbox, WorkerError> {
    let mut mounts = tree.mounts(runtime)?;
    if !commons.own_network() {
        mounts.extend(host_names::mounts()?);
    }
    let plan = Plan {
        standing: Standing::Function,
        limits: Limits { pids: Some(PIDS), ..Limits::NONE },
        commons,
        shared: tree.interpreter_mounts()?,
        mounts,
        tmp_bytes: DEFAULT_TMP,
        keeps: tree.keeps(),
    };
    let making = sandboxes.clone();
    let made = tokio::task::spawn_blocking(move || making.make(plan, parent.as_ref()));
    Ok(made.await.map_err(io::Error::other)??)
}

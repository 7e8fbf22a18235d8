//! A process that waits for its function, in a sandbox of its own: a zygote's child, or a new
//! interpreter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use pipsqueak::wire::DEFAULT_TMP;
use tokio::net::unix::pipe;

use super::{Zygote, ZygoteError, imports, look};
use crate::channel;
use crate::environment::Tree;
use crate::machine::cgroups::Limits;
use crate::runtime::{self, Role};
use crate::sandbox::{
    Commons, End, Plan, Program, Sandbox, SandboxError, Sandboxes, Standing, host_names,
};
use crate::stream::Stream;

/// Most processes and threads of a function.
pub const PIDS: u32 = 512;

/// Why there is no process for a function.
#[derive(Debug, thiserror::Error)]
pub enum SpareError {
    /// Its sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its zygote.
    #[error(transparent)]
    Zygote(#[from] ZygoteError),
    /// Its sandbox has ended.
    #[error("the sandbox of a function has ended before it began")]
    Ended,
    /// It was being made for somebody already.
    #[error("the zygote's child that was being made did not come to be")]
    Unmade,
    /// Its channel or mounts.
    #[error("preparing the sandbox of a function: {0}")]
    Io(#[from] io::Error),
}

/// A process that waits for its function. Its sandbox has everything but the function's code and
/// limits, and ends when this is dropped.
#[derive(Debug)]
pub struct Spare {
    /// Where it runs.
    pub sandbox: Sandbox,
    /// What it is told by and answers on.
    pub channel: Stream,
    /// What it prints.
    pub printed: pipe::Receiver,
    /// Its end.
    pub end: End,
}

/// What a process is started with, and what stays here of it.
struct Ends {
    channel: OwnedFd,
    print: OwnedFd,
    near: UnixStream,
    printed: io::PipeReader,
}

impl Spare {
    /// Forks a child of a zygote into a sandbox that [`sandbox_within`] has made; `is_spare` says that
    /// nobody waits for it yet.
    pub async fn fork(
        zygote: &Zygote,
        sandbox: Sandbox,
        is_spare: bool,
    ) -> Result<Self, SpareError> {
        let ends = Ends::new()?;
        let forked = zygote.fork(&sandbox, &ends.channel, &ends.print, is_spare).await?;
        let mut spare = ends.join(sandbox, forked.end.clone())?;
        zygote.await_child(&mut spare.channel, &forked).await?;
        if !zygote.has_trusted()
            && let Some(child) = spare.sandbox.process()
        {
            let looked = tokio::task::spawn_blocking(move || look::inherited(child));
            let shared = looked.await.map_err(io::Error::other)??;
            if !shared.is_empty() {
                return Err(ZygoteError::Shares(imports::shortened(shared.iter())).into());
            }
        }
        Ok(spare)
    }

    /// Starts an interpreter with a function's variables in a sandbox that [`sandbox`] has made; `is_recorded`
    /// if what its imports read is to be told.
    pub async fn launch(
        sandboxes: &Arc<Sandboxes>,
        sandbox: Sandbox,
        own: &BTreeMap<String, String>,
        is_recorded: bool,
    ) -> Result<Self, SpareError> {
        let arguments = runtime::arguments(Role::Function, own);
        let variables = runtime::variables(own, is_recorded);
        let ends = Ends::new()?;
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

    /// Whether it still holds its channel: it may have been killed while nobody looked.
    pub fn is_alive(&self) -> bool {
        channel::is_open(&self.channel)
    }
}

impl Ends {
    fn new() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        let (printed, print) = io::pipe()?;
        Ok(Self { channel: far.into(), print: print.into(), near, printed })
    }

    fn join(self, sandbox: Sandbox, end: End) -> Result<Spare, SpareError> {
        Ok(Spare {
            sandbox,
            channel: Stream::new(self.near)?,
            printed: pipe::Receiver::from_owned_fd(self.printed.into())?,
            end,
        })
    }
}

/// Makes a sandbox that a zygote's child can be forked into.
pub async fn sandbox_within(
    sandboxes: &Arc<Sandboxes>,
    zygote: &Zygote,
    runtime: &Path,
) -> Result<Sandbox, SpareError> {
    let parent = zygote.sandbox().clone();
    let commons = parent.commons().clone();
    make(sandboxes, zygote.tree(), commons, runtime, Some(parent)).await
}

/// Makes a sandbox that sees `tree`, in which an interpreter can be started.
pub async fn sandbox(
    sandboxes: &Arc<Sandboxes>,
    tree: &Tree,
    commons: Commons,
    runtime: &Path,
) -> Result<Sandbox, SpareError> {
    make(sandboxes, tree, commons, runtime, None).await
}

async fn make(
    sandboxes: &Arc<Sandboxes>,
    tree: &Tree,
    commons: Commons,
    runtime: &Path,
    parent: Option<Arc<Sandbox>>,
) -> Result<Sandbox, SpareError> {
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

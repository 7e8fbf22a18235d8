//! The way from a zygote to a worker: a child, forked into a sandbox of its own.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Zygote, ZygoteError, imports, look};
use crate::sandbox::{Sandbox, SandboxError, Sandboxes};
use crate::worker::{self, Ends, Worker, WorkerError};

/// The reason why there is no worker for a function.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The sandbox or channel failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The zygote failed.
    #[error(transparent)]
    Zygote(#[from] ZygoteError),
    /// The sandbox has ended.
    #[error("the sandbox of a function has ended before it began")]
    Ended,
    /// The spare that the start waited for was not made.
    #[error("the zygote's child that was being made did not come to be")]
    Unmade,
}

impl From<SandboxError> for ForkError {
    fn from(error: SandboxError) -> Self {
        Self::Worker(error.into())
    }
}

impl From<io::Error> for ForkError {
    fn from(error: io::Error) -> Self {
        Self::Worker(error.into())
    }
}

/// Makes a sandbox that a zygote's child can be forked into.
pub async fn sandbox_for_child(
    sandboxes: &Arc<Sandboxes>,
    zygote: &Zygote,
    runtime: &Path,
) -> Result<Sandbox, WorkerError> {
    worker::sandbox_within(sandboxes, zygote.sandbox().clone(), zygote.tree(), runtime).await
}

/// Forks a child of a zygote into a sandbox from [`sandbox_for_child`]. `is_spare` is true if no request
/// waits for the child yet.
pub async fn fork(zygote: &Zygote, sandbox: Sandbox, is_spare: bool) -> Result<Worker, ForkError> {
    let ends = Ends::open()?;
    let forked = zygote.fork(&sandbox, &ends.channel, &ends.print, is_spare).await?;
    let mut worker = ends.join(sandbox, forked.end.clone())?;
    zygote.await_child(&mut worker.channel, &forked).await?;
    if !zygote.has_trusted()
        && let Some(child) = worker.sandbox.process()
    {
        let looked = tokio::task::spawn_blocking(move || look::inherited(child));
        let shared = looked.await.map_err(io::Error::other)??;
        if !shared.is_empty() {
            return Err(ZygoteError::Shares(imports::shortened(shared.iter())).into());
        }
    }
    Ok(worker)
}

//! State for blocking work on environments, in any thread.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak_fs::Repository;
use tokio::runtime::Handle;

use super::error::EnvironmentsError;
use super::tree::Tree;
use super::trees::Trees;
use crate::mount::{Keeper, Views};
use crate::sandbox::Sandboxes;
use crate::sync::Mutex;
pub(super) use crate::sync::lock;

/// State for blocking work on environments.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) repository: Repository,
    /// Environments by name, as far as they were read.
    pub(super) trees: Trees<Tree>,
    /// Names that the mount could not be told of.
    pub(super) owed: Mutex<BTreeSet<String>>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) views: Views,
    pub(super) sandboxes: Arc<Sandboxes>,
    pub(super) python: PathBuf,
    pub(super) private: Option<PathBuf>,
    pub(super) runtime: Handle,
    /// Held by collections and repairs, one at a time. Scrubs have a lock of their own: one may take a day.
    pub(super) caring: Mutex<()>,
    pub(super) scrubbing: Mutex<()>,
}

/// Does blocking work on the thing `name` in a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, EnvironmentsError> + Send + 'static,
) -> Result<T, EnvironmentsError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(EnvironmentsError::Io { name: name.to_owned(), error: io::Error::other(error) })
    })
}

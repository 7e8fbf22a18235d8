//! Taking sandboxes down: always whole, always in the same order, off everybody's path.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use nix::sys::signal::Signal;
use pipsqueak_kernel::pidfd;

use super::stages::{Stage, Stages};
use super::users::User;
use super::{Door, END_PATIENCE, Sandbox, Standing};
use crate::kernel::cgroup::Group;

/// What is left of a sandbox that nobody uses any more.
#[derive(Debug)]
pub struct Remains {
    pub id: u64,
    pub standing: Standing,
    pub name: String,
    pub door: Door,
    pub group: Arc<Group>,
    /// Free for others only when nothing of the sandbox runs any more.
    pub user: User,
    /// Must outlive it: the end of a pid namespace is the end of those inside it.
    pub parent: Option<Arc<Sandbox>>,
    pub keeps: Option<Arc<tempfile::TempDir>>,
}

/// Takes down what comes, until `None` does.
pub fn run(remains: &Receiver<Option<Remains>>, stages: &Arc<Stages>) {
    while let Ok(Some(remains)) = remains.recv() {
        let Remains { id, standing, name, door, group, user, parent, keeps } = remains;
        let _ending = stages.enter(id, standing, Stage::Ending);
        if let Err(error) = end(&name, door.holder(), &group) {
            tracing::error!(sandbox = name, %error, "taking a sandbox down");
        }
        // Only now is nothing of it left that used them.
        drop((user, keeps, parent, door));
    }
}

fn end(name: &str, holder: BorrowedFd<'_>, group: &Group) -> std::io::Result<()> {
    pidfd::signal(holder, Signal::SIGKILL)?;
    // A v1 freezer holds back even that.
    if let Err(error) = group.thaw() {
        tracing::debug!(sandbox = name, %error, "thawing a sandbox to end it");
    }
    if !pidfd::wait_end(holder, END_PATIENCE)? {
        tracing::warn!(sandbox = name, "its holder has not ended in time");
    }
    group.remove()
}

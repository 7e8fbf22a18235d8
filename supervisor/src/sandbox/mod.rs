//! Sandboxes: where package code and function code run, and nothing else of theirs does.
//!
//! `order` is what is asked for, `maker` the process that carries it out with `base`, `commons`, `holder` and
//! `launch` (and `confine`), `heir` what reaps where it is killed, `orders` the way to it; `client` is the
//! supervisor's side of it and `users` the numbers it gives out.
//! A [`Sandbox`] that is dropped is torn down whole by the thread in `teardown`.

mod changes;
mod door;
mod exits;
mod maker;
mod maker_process;
mod order;
mod sandboxes;
mod stages;
mod teardown;
mod users;
mod ushers;

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use nix::sys::signal::Signal;
use pipsqueak_kernel::pidfd;

pub use door::Door;
pub use exits::{End, Exits};
pub use maker::base::{ENVIRONMENT, FUNCTION, RUNTIME, SYSTEM};
pub use maker::commons::Commons;
pub use maker::{hosts as resolver, run as run_maker};
pub use order::{Exit, Standing};
pub use sandboxes::{Plan, Process, Program, Sandboxes};
pub use users::{INSTALLER, host_user};
pub use ushers::Ushers;

use crate::machine::cgroups::Group;
use crate::network::NatError;
use teardown::Remains;
use users::User;

/// How long the end of a sandbox is waited for. The kernel ends all processes in it first, which
/// takes longest where they have much memory to give back.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// Why a sandbox could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Its control group.
    #[error("making the control group of sandbox {name}: {error}")]
    Group {
        /// The sandbox.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A step of making it or of starting a program in it.
    #[error("making sandbox {name}: {reason}")]
    Failed {
        /// The sandbox.
        name: String,
        /// Which step, on what, and why.
        reason: String,
    },
    /// The process that makes sandboxes does not answer.
    #[error("the process that makes sandboxes does not answer: {0}; restart the supervisor")]
    Maker(io::Error),
    /// Its network.
    #[error(transparent)]
    Nat(#[from] NatError),
    /// What it is to see of its resolver.
    #[error("taking resolv.conf of the network of functions: {0}")]
    Resolver(io::Error),
    /// The process that makes sandboxes hangs.
    #[error("the process that makes sandboxes did not answer within {0:?}; restart the supervisor")]
    Silent(Duration),
    /// No sandbox is made any more.
    #[error("the supervisor is stopping")]
    Stopping,
    /// No user number is free.
    #[error("all {0} user numbers for sandboxes are in use; evict some sandboxes")]
    Users(u32),
}

/// A sandbox: a holder and whatever runs beside it.
#[derive(Debug)]
pub struct Sandbox {
    id: u64,
    name: String,
    standing: Standing,
    commons: Commons,
    group: Arc<Group>,
    door: Door,
    user: User,
    exits: Arc<Exits>,
    parent: Option<Arc<Sandbox>>,
    keeps: Option<Arc<tempfile::TempDir>>,
    teardown: Sender<Option<Remains>>,
}

impl Sandbox {
    /// Its number, counted from the supervisor's start.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its control group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The holder's pidfd.
    pub fn holder(&self) -> BorrowedFd<'_> {
        self.door.holder()
    }

    /// The way in, to give it more.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// With whom it shares what it sees of the system, and whose kind of network it has.
    pub fn commons(&self) -> &Commons {
        &self.commons
    }

    /// Whether it has a network namespace of its own.
    pub fn own_network(&self) -> bool {
        self.commons.own_network()
    }

    /// The user that code in it runs as, as numbered inside.
    pub fn user(&self) -> u32 {
        User::INSIDE
    }

    /// What its holder has reaped: the ends of processes forked from here into other sandboxes.
    pub fn exits(&self) -> &Arc<Exits> {
        &self.exits
    }

    /// All processes in it other than the holder, numbered as on the host.
    pub fn processes(&self) -> Vec<u32> {
        let holder = self.door.holder_pid.cast_unsigned();
        self.group.processes().into_iter().filter(|pid| *pid != holder).collect()
    }

    /// A process in it other than the holder, numbered as on the host.
    pub fn process(&self) -> Option<u32> {
        let holder = self.door.holder_pid.cast_unsigned();
        self.group.processes().into_iter().find(|pid| *pid != holder)
    }

    /// Opens what lets a process join its control groups.
    pub fn memberships(&self) -> Result<Vec<File>, SandboxError> {
        self.group
            .memberships()
            .map_err(|error| SandboxError::Group { name: self.name.clone(), error })
    }

    /// Ends everything in it and waits until nothing of it runs any more. Blocks.
    pub fn end(self) -> io::Result<()> {
        pidfd::signal(self.holder(), Signal::SIGKILL)?;
        if pidfd::wait_end(self.holder(), END_PATIENCE)? {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "sandbox {} has not ended within {END_PATIENCE:?}",
            self.name
        )))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let remains = Remains {
            id: self.id,
            standing: self.standing,
            name: std::mem::take(&mut self.name),
            door: self.door.clone(),
            group: self.group.clone(),
            user: self.user.clone(),
            parent: self.parent.take(),
            keeps: self.keeps.take(),
        };
        // The receiver is gone only when the supervisor itself ends, which clears everything.
        let _ = self.teardown.send(Some(remains));
    }
}

/// Where something is mounted in a sandbox, and the detached mount itself.
pub type Mounted = (PathBuf, OwnedFd);

//! A sandbox that was made, as the supervisor holds it, and what is left of it when it is dropped.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use nix::sys::signal::Signal;
use pipsqueak_kernel::pidfd;

use super::commons::Commons;
use super::door::Door;
use super::error::{EndError, SandboxError};
use super::exits::Exits;
use super::order::Standing;
use super::users::User;
use crate::machine::cgroups::Group;

/// Time that the end of a sandbox is waited for. The kernel ends all processes in it first, which
/// takes longest if they have much memory to give back.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// A sandbox: a holder and whatever runs beside it.
#[derive(Debug)]
pub struct Sandbox {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) standing: Standing,
    pub(super) commons: Commons,
    pub(super) group: Arc<Group>,
    pub(super) door: Door,
    pub(super) user: User,
    pub(super) exits: Arc<Exits>,
    pub(super) parent: Option<Arc<Sandbox>>,
    pub(super) keeps: Option<Arc<tempfile::TempDir>>,
    pub(super) teardown: Sender<Option<Remains>>,
}

impl Sandbox {
    /// Number of the sandbox, counted from the supervisor's start.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Control group of the sandbox.
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

    /// Sandboxes with which it shares what it sees of the system, and the kind of network that they have.
    pub fn commons(&self) -> &Commons {
        &self.commons
    }

    /// True if it has a network namespace of its own.
    pub fn own_network(&self) -> bool {
        self.commons.own_network()
    }

    /// The user that code in it runs as, as numbered inside.
    pub fn user(&self) -> u32 {
        User::INSIDE
    }

    /// Ends that its holder has reported: of processes forked from here into other sandboxes.
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
            .map_err(|source| SandboxError::Group { name: self.name.clone(), source })
    }

    /// Ends everything in it and waits until nothing of it runs any more. Blocks.
    pub fn end(self) -> Result<(), EndError> {
        kill(&self.name, &self.door)?;
        await_end(&self.name, &self.door, END_PATIENCE)
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

/// Remains of a sandbox that nobody uses any more.
#[derive(Debug)]
pub struct Remains {
    pub id: u64,
    pub standing: Standing,
    pub name: String,
    pub door: Door,
    pub group: Arc<Group>,
    /// Free for others only when nothing of the sandbox runs any more.
    #[expect(dead_code, reason = "held for its drop")]
    pub user: User,
    /// Must outlive it: the end of a pid namespace is the end of those inside it.
    #[expect(dead_code, reason = "held for its drop")]
    pub parent: Option<Arc<Sandbox>>,
    #[expect(dead_code, reason = "held for its drop")]
    pub keeps: Option<Arc<tempfile::TempDir>>,
}

/// Kills all processes of a sandbox: its holder is the first of its pid namespace.
pub fn kill(name: &str, door: &Door) -> Result<(), EndError> {
    pidfd::signal(door.holder(), Signal::SIGKILL)
        .map_err(|source| EndError::Kill { name: name.to_owned(), source })
}

/// Waits for the end of a sandbox that was killed.
pub fn await_end(name: &str, door: &Door, patience: Duration) -> Result<(), EndError> {
    match pidfd::wait_end(door.holder(), patience) {
        Ok(true) => Ok(()),
        Ok(false) => Err(EndError::Late { name: name.to_owned(), patience }),
        Err(source) => Err(EndError::Wait { name: name.to_owned(), source }),
    }
}

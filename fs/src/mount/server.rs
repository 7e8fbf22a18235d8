//! A `pipsqueak-fs` process that serves the mount, as its keeper sees it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::control::{Ask, Tell};
use super::conversation::{AskError, Conversation};
use crate::id::ObjectId;
use crate::store::segment::FRAME_BYTES;
use crate::sync::{Mutex, MutexGuard};

/// Longest wait for an answer that takes work.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for an answer that a server which is well has at once.
const PULSE_PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait for the end of what a server has started. It may be in the middle of a request
/// that nobody answers now; then it ends with the connection, or with the next server's answer.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// The way in which a server comes to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The first server: the kernel is about to introduce itself.
    First,
    /// Another has served it before, and may have left requests without an answer.
    Successor,
}

/// End of the mount when the supervisor of its server is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphaned {
    /// The mount is unmounted; keeper and server end with its last user.
    Unmounts,
    /// The mount stays, for the next supervisor's keeper: somebody else has the connection too. Keeper and
    /// server end.
    Leaves,
}

/// Reason why a server has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server has ended, or has not answered as it should and was ended for that.
    #[error("pipsqueak-fs was asked, and is replaced: {0}")]
    Lost(#[from] AskError),
    /// Answers with a reason.
    #[error("pipsqueak-fs says: {0}")]
    Failed(String),
}

/// A running server. One that does not answer as it should is killed.
#[derive(Debug)]
pub struct Server {
    pid: u32,
    child: Mutex<Child>,
    conversation: Conversation,
}

impl Server {
    /// Starts one, which finds the connection as its stdin and the conversation as its stdout.
    /// Returns when it serves. It ends with the thread that has started it.
    pub(super) fn start(
        binary: &Path,
        state: &Path,
        mountpoint: &Path,
        connection: OwnedFd,
        (role, orphaned): (Role, Orphaned),
    ) -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--state").arg(state).arg("--mount").arg(mountpoint);
        // Frames go back to the system when they are forgotten. glibc would learn from their size to
        // keep them, and the process stay as large as it ever was.
        command.env("MALLOC_MMAP_THRESHOLD_", FRAME_BYTES.to_string());
        if role == Role::Successor {
            command.arg("--adopt");
        }
        if orphaned == Orphaned::Leaves {
            command.arg("--leave");
        }
        let mut child = command
            .stdin(Stdio::from(connection))
            .stdout(Stdio::from(OwnedFd::from(far)))
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", binary.display()))
            })?;
        // Stdio of the command would keep the other end open.
        drop(command);
        let began = match Conversation::begin(near, PATIENCE) {
            Ok((conversation, Tell::Serving)) => Ok(conversation),
            Ok((_, other)) => Err(format!("it said {other:?}")),
            Err(error) => Err(error.to_string()),
        };
        match began {
            Ok(conversation) => {
                Ok(Self { pid: child.id(), child: Mutex::new(child), conversation })
            }
            Err(reason) => {
                let _ = child.kill();
                child.wait()?;
                Err(io::Error::other(format!("pipsqueak-fs did not begin to serve: {reason}")))
            }
        }
    }

    /// Process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it show what is published now. Blocks until it does.
    ///
    /// `names` are those of environments and distributions that may have come, gone or changed: a
    /// successor cannot know what the kernel was told before it.
    pub fn publish(&self, names: &[String]) -> Result<(), ServerError> {
        match self.ask(&Ask::Publish(names.to_vec()), PATIENCE)? {
            Tell::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Looks whether it is well. Blocks.
    pub fn pulse(&self) -> Result<(), ServerError> {
        match self.ask(&Ask::Pulse, PULSE_PATIENCE)? {
            Tell::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Requests of the kernel since it began, by operation. Blocks.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>, ServerError> {
        match self.ask(&Ask::Counters, PULSE_PATIENCE)? {
            Tell::Counters(counters) => Ok(counters),
            other => Err(unexpected(&other)),
        }
    }

    /// Objects that it has found damaged since it was asked last. Blocks.
    pub fn suspects(&self) -> Result<Vec<ObjectId>, ServerError> {
        match self.ask(&Ask::Suspects, PULSE_PATIENCE)? {
            Tell::Suspects(suspects) => Ok(suspects),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until it has ended. Blocks.
    pub fn wait(&self) -> io::Result<()> {
        // Not by the child's own wait: that would hold the lock that `kill` needs.
        let pid = nix::unistd::Pid::from_raw(self.pid.cast_signed());
        let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
        loop {
            match nix::sys::wait::waitid(nix::sys::wait::Id::Pid(pid), flags) {
                Ok(_) | Err(nix::errno::Errno::ECHILD) => break,
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.child().wait()?;
        Ok(())
    }

    /// Ends it, if it has not ended yet. Returns at once.
    pub fn kill(&self) -> io::Result<()> {
        let mut child = self.child();
        if child.try_wait()?.is_none() { child.kill() } else { Ok(()) }
    }

    /// Waits for the end of what it has started, once it has ended itself. Blocks for a moment at most.
    pub fn await_others(&self) {
        self.conversation.await_end(END_PATIENCE);
    }

    fn ask(&self, ask: &Ask, patience: Duration) -> Result<Tell, ServerError> {
        let answer = self.conversation.ask(ask, patience);
        match answer {
            Ok(Tell::Failed(reason)) => Err(ServerError::Failed(reason)),
            Ok(tell) => Ok(tell),
            Err(error) => {
                // What it would say now, nobody could trust.
                self.kill().map_err(AskError::Socket)?;
                Err(error.into())
            }
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock()
    }
}

fn unexpected(tell: &Tell) -> ServerError {
    ServerError::Failed(format!("{tell:?}, which is no answer to what it was asked"))
}

//! A `pipsqueak-fs` process, as the supervisor sees it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::control::{Ask, Line, Tell};
use crate::id::ObjectId;
use crate::store::segment::FRAME_BYTES;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the end of what a server has started is waited for. It may be in the middle of a request
/// that nobody answers now; then it ends with the connection, or with the next server's answer.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// How a server comes to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is the first, and the kernel is about to introduce itself.
    First,
    /// Another has served it before, and may have left requests without an answer.
    Successor,
}

/// What becomes of the mount when the supervisor of its server is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphaned {
    /// It is unmounted; the server ends with its last user.
    Unmounts,
    /// It stays, for a successor that the next supervisor starts: somebody else has the connection
    /// too. The server ends.
    Leaves,
}

/// A running `pipsqueak-fs`.
#[derive(Debug)]
pub struct Server {
    pid: u32,
    child: Mutex<Child>,
    line: Mutex<Line>,
}

impl Server {
    /// Starts one, which finds the connection as its stdin and the conversation as its stdout.
    /// Returns when it serves.
    pub(super) fn start(
        binary: &Path,
        state: &Path,
        mountpoint: &Path,
        connection: OwnedFd,
        (role, orphaned): (Role, Orphaned),
    ) -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_read_timeout(Some(PATIENCE))?;
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
        let child = command
            .stdin(Stdio::from(connection))
            .stdout(Stdio::from(OwnedFd::from(far)))
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", binary.display()))
            })?;
        // Stdio of the command would keep the other end open.
        drop(command);
        let server =
            Self { pid: child.id(), child: Mutex::new(child), line: Mutex::new(Line::new(near)) };
        match server.hear() {
            Ok(Tell::Serving) => Ok(server),
            other => {
                server.stop()?;
                Err(io::Error::other(format!("pipsqueak-fs did not begin to serve: {other:?}")))
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it show what is published now. Blocks until it does.
    ///
    /// `names` are those of environments and distributions that may have come, gone or changed: a
    /// successor cannot know what the kernel was told before it.
    pub fn publish(&self, names: &[String]) -> io::Result<()> {
        match self.ask(&Ask::Publish(names.to_vec()))? {
            Tell::Done => Ok(()),
            Tell::Failed(reason) => Err(io::Error::other(reason)),
            other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
        }
    }

    /// Requests of the kernel since it began, by operation. Blocks.
    pub fn counters(&self) -> io::Result<BTreeMap<String, u64>> {
        match self.ask(&Ask::Counters)? {
            Tell::Counters(counters) => Ok(counters),
            other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
        }
    }

    /// Objects that it has found damaged since it was asked last. Blocks.
    pub fn suspects(&self) -> io::Result<Vec<ObjectId>> {
        match self.ask(&Ask::Suspects)? {
            Tell::Suspects(suspects) => Ok(suspects),
            other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
        }
    }

    /// Waits until it has ended. Blocks.
    pub fn wait(&self) -> io::Result<()> {
        // Not by the child's own wait: that would hold the lock that `stop` needs.
        let pid = nix::unistd::Pid::from_raw(self.pid.cast_signed());
        let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
        loop {
            match nix::sys::wait::waitid(nix::sys::wait::Id::Pid(pid), flags) {
                Ok(_) | Err(nix::errno::Errno::ECHILD) => break,
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.child.lock().unwrap_or_else(PoisonError::into_inner).wait()?;
        Ok(())
    }

    /// Ends it, if it has not ended yet, and what it has started. Blocks.
    pub fn stop(&self) -> io::Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if child.try_wait()?.is_none() {
            child.kill()?;
            child.wait()?;
        }
        self.line.lock().unwrap_or_else(PoisonError::into_inner).await_end(END_PATIENCE)
    }

    fn ask(&self, ask: &Ask) -> io::Result<Tell> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).say(ask)?;
        self.hear()
    }

    fn hear(&self) -> io::Result<Tell> {
        let heard = self.line.lock().unwrap_or_else(PoisonError::into_inner).hear()?;
        heard.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

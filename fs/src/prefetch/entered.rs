//! What the server tells its prefetching process: who has entered which folder.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use serde::{Deserialize, Serialize};

/// Largest message.
const MOST_BYTES: usize = 4096;

/// A process asks for the first time what is in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// The view.
    pub view: String,
    /// The folder's node in its index.
    pub node: u32,
    /// The thread that asks.
    pub thread: u32,
}

/// The prefetching process, as the server sees it.
#[derive(Debug)]
pub struct Prefetcher {
    socket: OwnedFd,
    process: Child,
    /// The folder that was told of last: a folder is asked about many times in a row.
    last: AtomicU64,
}

impl Prefetcher {
    /// Starts it; it ends when this process does. It has the conversation with the supervisor as its
    /// stdout and says nothing there: who waits for the end of that waits for both.
    pub fn start(state: &Path, mountpoint: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (near, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("prefetch").arg("--state").arg(state).arg("--mount").arg(mountpoint);
        let process = command.stdin(Stdio::from(far)).stdout(Stdio::inherit()).spawn()?;
        Ok(Self { socket: near, process, last: AtomicU64::new(0) })
    }

    /// Whether a thread is its own.
    pub fn is(&self, thread: u32) -> bool {
        thread == self.process.id()
    }

    /// Tells of a folder, by its inode number, unless it was the last one told of. `entered` says
    /// more about it.
    pub fn tell(&self, folder: u64, entered: impl FnOnce() -> Option<Entered>) {
        if self.last.swap(folder, Ordering::Relaxed) == folder {
            return;
        }
        let Some(message) = entered().and_then(|entered| serde_json::to_vec(&entered).ok()) else {
            return;
        };
        // Who does not listen has enough to do, or has ended: the kernel asks for itself then.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(self.socket.as_raw_fd(), &message, flags);
    }
}

/// What was heard.
#[derive(Debug)]
pub enum Heard {
    /// A folder was entered.
    Entered(Entered),
    /// None was for as long as was waited.
    Nothing,
    /// The server has ended.
    End,
}

/// Waits for the next folder.
pub fn hear(socket: &OwnedFd, wait: PollTimeout) -> io::Result<Heard> {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let mut message = [0; MOST_BYTES];
    loop {
        let heard = poll(&mut polled, wait).and_then(|ready| match ready {
            0 => Ok(None),
            _ => recv(socket.as_raw_fd(), &mut message, MsgFlags::empty()).map(Some),
        });
        match heard {
            Ok(None) => return Ok(Heard::Nothing),
            Ok(Some(0)) => return Ok(Heard::End),
            Ok(Some(length)) => {
                let message = message.get(..length).unwrap_or_default();
                return Ok(Heard::Entered(serde_json::from_slice(message)?));
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

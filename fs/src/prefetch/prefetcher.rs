//! Messages of the server to its prefetching process: who has entered which folder.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::vfs::Entered;

/// Shortest time between two starts of a process.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// Longest time between two starts, if processes end soon.
const MOST_PAUSE: Duration = Duration::from_secs(60);
/// Largest message.
const MOST_BYTES: usize = 4096;

/// The prefetching process, as the server sees it. Where it dies, another takes its place.
#[derive(Debug)]
pub struct Prefetcher {
    socket: OwnedFd,
    /// Number of the process; 0 between two of them.
    process: Arc<AtomicU32>,
    /// The folder that was told of last: a folder is asked about many times in a row.
    last: AtomicU64,
}

impl Prefetcher {
    /// Starts it; it ends when this process does. It has the conversation with the keeper as its
    /// stdout and says nothing there: who waits for the end of that waits for both.
    pub fn start(state: &Path, mountpoint: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (near, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        // This very program, whatever is installed by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(std::env::current_exe()?);
        command.arg("prefetch").arg("--state").arg(state).arg("--mount").arg(mountpoint);
        let process = Arc::<AtomicU32>::default();
        let noted = process.clone();
        // In a thread that lasts: the process ends with the one that has started it.
        thread::Builder::new()
            .name("prefetcher".to_owned())
            .spawn(move || replace_always(&mut command, &far, &noted))?;
        Ok(Self { socket: near, process, last: AtomicU64::new(0) })
    }

    /// True if a thread is its own.
    pub fn is(&self, thread: u32) -> bool {
        thread == self.process.load(Ordering::Relaxed)
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

/// Starts the process, and another whenever it has ended, on the same socket.
fn replace_always(command: &mut Command, far: &OwnedFd, number: &AtomicU32) {
    let mut pause = LEAST_PAUSE;
    loop {
        let began = Instant::now();
        let ended = far.try_clone().and_then(|far| {
            let mut process = command.stdin(far).stdout(Stdio::inherit()).spawn()?;
            number.store(process.id(), Ordering::Relaxed);
            let ended = process.wait();
            number.store(0, Ordering::Relaxed);
            ended
        });
        pause = if began.elapsed() > MOST_PAUSE { LEAST_PAUSE } else { MOST_PAUSE.min(pause * 2) };
        tracing::warn!(?ended, ?pause, "the process that reads ahead of imports is started anew");
        thread::sleep(pause);
    }
}

/// Message that was heard.
#[derive(Debug)]
pub enum Message {
    /// A folder was entered.
    Entered(Entered),
    /// No message within the wait.
    Nothing,
    /// The server has ended.
    End,
}

/// Waits for the next folder.
pub fn hear(socket: &OwnedFd, wait: PollTimeout) -> io::Result<Message> {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let mut message = [0; MOST_BYTES];
    loop {
        let heard = poll(&mut polled, wait).and_then(|ready| match ready {
            0 => Ok(None),
            _ => recv(socket.as_raw_fd(), &mut message, MsgFlags::empty()).map(Some),
        });
        match heard {
            Ok(None) => return Ok(Message::Nothing),
            Ok(Some(0)) => return Ok(Message::End),
            Ok(Some(length)) => {
                let message = message.get(..length).unwrap_or_default();
                return Ok(Message::Entered(serde_json::from_slice(message)?));
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

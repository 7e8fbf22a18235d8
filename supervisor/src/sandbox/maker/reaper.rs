//! Reaping children while waiting for a socket.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use signal_hook::consts::SIGCHLD;

use crate::sandbox::order::Exit;

/// Wakes at the end of a child.
#[derive(Debug)]
pub struct Reaper {
    ended: UnixStream,
}

impl Reaper {
    /// Starts to listen for `SIGCHLD`.
    pub fn new() -> io::Result<Self> {
        let (ended, signalled) = UnixStream::pair()?;
        ended.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, signalled)?;
        Ok(Self { ended })
    }

    /// Reaps every child that has ended, adopted ones included.
    pub fn exits() -> io::Result<Vec<Exit>> {
        let mut exits = Vec::new();
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, code)) => {
                    exits.push(Exit { pid: pid.as_raw(), status: (code & 0xff) << 8 });
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    exits.push(Exit { pid: pid.as_raw(), status: signal as i32 });
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(exits),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until there is no child left.
    pub fn wait_for_all() -> io::Result<()> {
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until a child ends, the socket has something to say, or it is `until`; whether it was
    /// the socket.
    pub fn wait(&self, socket: BorrowedFd<'_>, until: Option<Instant>) -> io::Result<bool> {
        let mut polled = [
            PollFd::new(socket, PollFlags::POLLIN),
            PollFd::new(self.ended.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            // A millisecond more, or the last of them would be waited for without a pause.
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let spoke = polled[0].revents().is_some_and(|events| !events.is_empty());
        let mut wakes = [0; 64];
        while (&self.ended).read(&mut wakes).is_ok_and(|bytes| bytes == wakes.len()) {}
        Ok(spoke)
    }
}

//! The process that holds the connection of the mount, as the supervisor sees it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pipsqueak_fs::mount::{AskError, Attachment, Conversation, Order, Orphaned, Report, Role};
use pipsqueak_kernel::{message, pidfd};

/// Time that an answer is waited for: longer than the process itself tries.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time that the process may take to end.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// Variables that name libraries for programs to be linked with besides their own. A user who wants some from the
/// mount must not have them loaded into the process that serves it.
const LINKED: [&str; 3] = ["LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT"];

/// The process.
#[derive(Debug)]
pub struct KeeperProcess {
    conversation: Conversation,
    pidfd: OwnedFd,
}

impl KeeperProcess {
    /// Starts it, with a copy of the connection. When it has ended, `ended` is told.
    pub fn start(
        binary: &Path,
        state: &Path,
        mountpoint: &Path,
        (attachment, role, orphaned): (&Attachment, Role, Orphaned),
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        let mut command = Command::new(binary);
        command.arg("keep").arg("--state").arg(state).arg("--mount").arg(mountpoint);
        if role == Role::Successor {
            command.arg("--adopt");
        }
        if orphaned == Orphaned::Leaves {
            command.arg("--leave");
        }
        for name in LINKED {
            command.env_remove(name);
        }
        command
            .current_dir("/")
            // Signals of a terminal are for the supervisor, which tells it.
            .process_group(0)
            .stdin(attachment.connection().try_clone_to_owned()?)
            .stdout(OwnedFd::from(far));
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", binary.display()))
        };
        let (started, outcome) = channel();
        // The kernel tells it when the thread that has started it ends: this one does so with the
        // supervisor, also when that is killed while others of its threads wait for the mount.
        thread::Builder::new()
            .name("mount-keeper".to_owned())
            .spawn(move || follow(command, &started, ended))?;
        let pidfd = outcome.recv().map_err(io::Error::other)?.map_err(named)?;
        match Conversation::begin(near, PATIENCE) {
            Ok((conversation, Report::Keeping)) => Ok(Self { conversation, pidfd }),
            other => {
                pidfd::signal(pidfd.as_fd(), Signal::SIGKILL)?;
                let reason = other.map(|(_, said)| said);
                Err(io::Error::other(format!("pipsqueak-fs did not keep the mount: {reason:?}")))
            }
        }
    }

    /// Has it do something. Blocks.
    pub fn ask(&self, order: &Order) -> io::Result<Report> {
        match self.conversation.ask(order, PATIENCE) {
            Ok(Report::Failed(reason)) => Err(io::Error::other(reason)),
            Ok(report) => Ok(report),
            Err(AskError::Over | AskError::Ended) => Err(gone()),
            Err(error) => {
                // It does not do what it is for. That its mount is lost is seen by its end.
                pidfd::signal(self.pidfd.as_fd(), Signal::SIGKILL)?;
                Err(error.into())
            }
        }
    }

    /// Checks that it has not ended.
    pub fn check(&self) -> io::Result<()> {
        if pidfd::wait_end(self.pidfd.as_fd(), Duration::ZERO)? { Err(gone()) } else { Ok(()) }
    }

    /// Has it unmount, end the connection, and end. Blocks.
    pub fn stop(&self) -> io::Result<()> {
        self.end(Signal::SIGTERM)
    }

    /// Has it do what it does without a supervisor, which must not be to go on. Blocks.
    pub fn leave(&self) -> io::Result<()> {
        self.end(Signal::SIGHUP)
    }

    /// Has it end, and give the connection back. Blocks.
    pub fn hand_over(&self) -> io::Result<OwnedFd> {
        let socket = self.conversation.end_with(&Order::HandOver, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let handed = message::receive(socket.as_fd(), 0);
        self.await_end()?;
        let connection = handed?.and_then(|message| message.descriptors.into_iter().next());
        connection.ok_or_else(|| io::Error::other("the process that keeps the mount kept it"))
    }

    fn end(&self, how: Signal) -> io::Result<()> {
        pidfd::signal(self.pidfd.as_fd(), how)?;
        self.await_end()
    }

    /// Waits for its end, which comes in any case.
    fn await_end(&self) -> io::Result<()> {
        if pidfd::wait_end(self.pidfd.as_fd(), END_PATIENCE)? {
            return Ok(());
        }
        tracing::error!("the process that keeps the mount does not end; it is killed");
        pidfd::signal(self.pidfd.as_fd(), Signal::SIGKILL)?;
        if pidfd::wait_end(self.pidfd.as_fd(), END_PATIENCE)? {
            return Ok(());
        }
        let text = "the process that keeps the mount was killed, and does not end";
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

fn gone() -> io::Error {
    let text = "the process that keeps the mount has ended";
    io::Error::new(io::ErrorKind::NotConnected, text)
}

/// Starts the process, and waits for its end.
fn follow(
    mut command: Command,
    started: &Sender<io::Result<OwnedFd>>,
    ended: impl FnOnce() + Send,
) {
    let begun = command.spawn().and_then(|child| Ok((opened(&child)?, child)));
    // Streams of the command would stay open.
    drop(command);
    let mut child = match begun {
        Ok((pidfd, child)) => {
            let _ = started.send(Ok(pidfd));
            child
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    match child.wait() {
        Ok(status) => tracing::debug!(%status, "the process that keeps the mount has ended"),
        Err(error) => tracing::error!(%error, "waiting for the process that keeps the mount"),
    }
    ended();
}

fn opened(child: &Child) -> io::Result<OwnedFd> {
    pidfd::open(Pid::from_raw(child.id().cast_signed()))
}

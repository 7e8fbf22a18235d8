//! The process that holds the connection of the mount, as the supervisor sees it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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

/// Why the process that keeps the mount does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// socketpair(2).
    #[error("making a socket to the process that keeps the mount: {0}")]
    Socket(#[source] io::Error),
    /// fcntl(2), `F_DUPFD_CLOEXEC`.
    #[error("copying the connection of the mount: {0}")]
    Copy(#[source] io::Error),
    /// The thread that starts the process.
    #[error("starting a thread for the process that keeps the mount: {0}")]
    Thread(#[source] io::Error),
    /// The thread that starts the process ended and said nothing.
    #[error("the thread that starts the process that keeps the mount has ended")]
    ThreadGone,
    /// fork(2) and execve(2).
    #[error("{}: {source}", binary.display())]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The process answered something else than that it keeps the mount.
    #[error("pipsqueak-fs did not keep the mount: {0:?}")]
    NotKept(Report),
    /// The process failed to do what it was asked.
    #[error("{0}")]
    Failed(String),
    /// The process has ended.
    #[error("the process that keeps the mount has ended")]
    Gone,
    /// The conversation.
    #[error("asking the process that keeps the mount: {0}")]
    Ask(#[source] AskError),
    /// `pidfd_send_signal(2)`.
    #[error("sending a signal to the process that keeps the mount: {0}")]
    Signal(#[source] io::Error),
    /// poll(2).
    #[error("waiting for the end of the process that keeps the mount: {0}")]
    Wait(#[source] io::Error),
    /// The process goes on, although it was killed.
    #[error("the process that keeps the mount was killed, and does not end")]
    Late,
    /// recvmsg(2) of the connection.
    #[error("taking the connection of the mount back: {0}")]
    Take(#[source] io::Error),
    /// The process ended without handing the connection over.
    #[error("the process that keeps the mount kept the connection")]
    KeptIt,
    /// An answer that is none to the order.
    #[error("unexpected answer {0:?} of the mount's keeper")]
    Unexpected(Report),
    /// The mount has been stopped, left or handed over before.
    #[error("the mount has ended already")]
    Over,
}

impl From<KeeperError> for io::Error {
    fn from(error: KeeperError) -> Self {
        let kind = match &error {
            KeeperError::Gone => io::ErrorKind::NotConnected,
            KeeperError::Late => io::ErrorKind::TimedOut,
            KeeperError::Socket(source)
            | KeeperError::Copy(source)
            | KeeperError::Thread(source)
            | KeeperError::Spawn { source, .. }
            | KeeperError::Signal(source)
            | KeeperError::Wait(source)
            | KeeperError::Take(source) => source.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

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
    ) -> Result<Self, KeeperError> {
        let (near, far) = UnixStream::pair().map_err(KeeperError::Socket)?;
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
            .stdin(attachment.connection().try_clone_to_owned().map_err(KeeperError::Copy)?)
            .stdout(OwnedFd::from(far));
        let (started, outcome) = channel();
        // The kernel tells it when the thread that has started it ends: this one does so with the
        // supervisor, also when that is killed while others of its threads wait for the mount.
        thread::Builder::new()
            .name("mount-keeper".to_owned())
            .spawn(move || follow(command, &started, ended))
            .map_err(KeeperError::Thread)?;
        let pidfd = outcome.recv().map_err(|_| KeeperError::ThreadGone)?;
        let pidfd =
            pidfd.map_err(|source| KeeperError::Spawn { binary: binary.to_owned(), source })?;
        let error = match Conversation::begin(near, PATIENCE) {
            Ok((conversation, Report::Keeping)) => return Ok(Self { conversation, pidfd }),
            Ok((_, said)) => KeeperError::NotKept(said),
            Err(error) => KeeperError::Ask(error),
        };
        pidfd::signal(pidfd.as_fd(), Signal::SIGKILL).map_err(KeeperError::Signal)?;
        Err(error)
    }

    /// Has it do something. Blocks.
    pub fn ask(&self, order: &Order) -> Result<Report, KeeperError> {
        match self.conversation.ask(order, PATIENCE) {
            Ok(Report::Failed(reason)) => Err(KeeperError::Failed(reason)),
            Ok(report) => Ok(report),
            Err(AskError::Over | AskError::Ended) => Err(KeeperError::Gone),
            Err(error) => {
                // It does not do what it is for. That its mount is lost is seen by its end.
                self.signal(Signal::SIGKILL)?;
                Err(KeeperError::Ask(error))
            }
        }
    }

    /// Checks that it has not ended.
    pub fn check(&self) -> Result<(), KeeperError> {
        if self.ends_within(Duration::ZERO)? { Err(KeeperError::Gone) } else { Ok(()) }
    }

    /// Has it unmount, end the connection, and end. Blocks.
    pub fn stop(&self) -> Result<(), KeeperError> {
        self.end(Signal::SIGTERM)
    }

    /// Has it do what it does without a supervisor, which must not be to go on. Blocks.
    pub fn leave(&self) -> Result<(), KeeperError> {
        self.end(Signal::SIGHUP)
    }

    /// Has it end, and give the connection back. Blocks.
    pub fn hand_over(&self) -> Result<OwnedFd, KeeperError> {
        let socket = self.conversation.end_with(&Order::HandOver, PATIENCE);
        let socket = socket.map_err(KeeperError::Ask)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(KeeperError::Take)?;
        let handed = message::receive(socket.as_fd(), 0);
        self.await_end()?;
        let handed = handed.map_err(KeeperError::Take)?;
        handed.and_then(|message| message.descriptors.into_iter().next()).ok_or(KeeperError::KeptIt)
    }

    fn end(&self, how: Signal) -> Result<(), KeeperError> {
        self.signal(how)?;
        self.await_end()
    }

    /// Waits for its end, which comes in any case.
    fn await_end(&self) -> Result<(), KeeperError> {
        if self.ends_within(END_PATIENCE)? {
            return Ok(());
        }
        tracing::error!("the process that keeps the mount does not end; it is killed");
        self.signal(Signal::SIGKILL)?;
        if self.ends_within(END_PATIENCE)? { Ok(()) } else { Err(KeeperError::Late) }
    }

    fn signal(&self, signal: Signal) -> Result<(), KeeperError> {
        pidfd::signal(self.pidfd.as_fd(), signal).map_err(KeeperError::Signal)
    }

    fn ends_within(&self, patience: Duration) -> Result<bool, KeeperError> {
        pidfd::wait_end(self.pidfd.as_fd(), patience).map_err(KeeperError::Wait)
    }
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

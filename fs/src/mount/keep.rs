//! The keeper: a process that has the connection, and sees to it that it is served or ended.
//!
//! The keeper asks nothing of the mount, so it can always end, and whatever waits for an answer with it. It
//! outlives a supervisor that is killed, even one that cannot end because it waits for the mount: the
//! kernel tells of that by a signal, before the end of the conversation does.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use super::attach::Attachment;
use super::control::{Order, Report, Served};
use super::conversation::{Numbered, Responder};
use super::predecessor;
use super::server::{Orphaned, Role, Server, ServerError};
use crate::sync::{Mutex, MutexGuard};

/// Time between two looks after a server.
const PACE: Duration = Duration::from_secs(2);
/// A server that lives shorter than this is not followed at once, or a broken one would be restarted
/// in a busy loop.
const DECENT_LIFE: Duration = Duration::from_millis(200);
/// Longest time of tries to have something published, by whichever server.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(40);

/// Says to stop: what is mounted goes, and who waits for an answer gets an error.
const STOP: Signal = Signal::SIGTERM;
/// Says that the supervisor is gone. The kernel says so too.
const ORPHAN: Signal = Signal::SIGHUP;

#[derive(Debug)]
struct Keeper {
    attachment: Attachment,
    state: PathBuf,
    binary: PathBuf,
    role: Role,
    orphaned: Orphaned,
    server: Mutex<Option<Arc<Server>>>,
    successions: AtomicU64,
    /// Held while a server is started; true once none may be.
    is_ended: Mutex<bool>,
    /// The mount is no longer this process's to unmount: another may be at its place.
    has_let_go: AtomicBool,
    /// While it is there, the next supervisor waits for this process.
    lock: Mutex<Option<File>>,
}

/// Keeps the connection at stdin, of the mount of `state` at `mountpoint`, and does what the supervisor
/// says on the socket at stdout. Returns only where it cannot begin.
pub fn keep(state: &Path, mountpoint: &Path, role: Role, orphaned: Orphaned) -> io::Result<()> {
    let mut signals = SigSet::empty();
    // The last is for a terminal's foreground, of which the supervisor may be.
    for signal in [STOP, ORPHAN, Signal::SIGINT] {
        signals.add(signal);
    }
    signals.thread_block()?;
    set_pdeathsig(ORPHAN)?;
    let lock = predecessor::hold(state, predecessor::KEEPER)?;
    let connection = io::stdin().as_fd().try_clone_to_owned()?;
    let socket = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    // As the supervisor has named it: the file that is there may be another by now.
    let binary = std::env::args_os().next().map(PathBuf::from);
    let keeper = Arc::new(Keeper {
        attachment: Attachment::of(mountpoint, connection, orphaned)?,
        state: state.to_owned(),
        binary: binary.ok_or_else(|| io::Error::other("it is started without a name"))?,
        role,
        orphaned,
        server: Mutex::default(),
        successions: AtomicU64::new(u64::from(role == Role::Successor)),
        is_ended: Mutex::default(),
        has_let_go: AtomicBool::default(),
        lock: Mutex::new(Some(lock)),
    });
    let hearing = keeper.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || hearing.handle_signals(&signals))?;
    if let Err(error) = keeper.answer(Responder::new(socket)) {
        tracing::error!(%error, "talking to the supervisor");
    }
    keeper.orphan();
    // Servers end with the thread that has started them.
    loop {
        thread::park();
    }
}

impl Keeper {
    /// Does what the supervisor says until it is gone.
    fn answer(self: &Arc<Self>, mut line: Responder) -> io::Result<()> {
        line.say(&Numbered { number: 0, body: Report::Keeping })?;
        while let Some(Numbered { number, body }) = line.hear()? {
            let report = match body {
                Order::Serve => self.serve().map_or_else(|error| failed(&error), |()| Report::Done),
                Order::Publish(names) => self.publish(&names),
                Order::Status => Report::Status(self.status()),
                Order::Suspects => match self.server().clone().map(|server| server.suspects()) {
                    // A successor finds by itself what its predecessor found.
                    None => Report::Suspects(Vec::new()),
                    Some(Ok(suspects)) => Report::Suspects(suspects),
                    Some(Err(error)) => failed(&error),
                },
                Order::HandOver => {
                    self.hand_over(&line)?;
                    exit(0);
                }
            };
            line.say(&Numbered { number, body: report })?;
        }
        Ok(())
    }

    fn handle_signals(&self, signals: &SigSet) {
        loop {
            match signals.wait() {
                Ok(STOP) => self.stop(),
                Ok(ORPHAN) => self.orphan(),
                _ => {}
            }
        }
    }

    fn serve(self: &Arc<Self>) -> io::Result<()> {
        let server = self.attachment.serve(&self.binary, &self.state, self.role)?;
        *self.server() = Some(Arc::new(server));
        for (name, run) in [("watch", Self::watch as fn(&Self)), ("pulse", Self::pulse)] {
            let keeper = self.clone();
            thread::Builder::new().name(name.to_owned()).spawn(move || run(&keeper))?;
        }
        Ok(())
    }

    /// Has whichever server there is publish: one that dies meanwhile is followed by another, which
    /// reads the catalog anew, but does not know what the kernel was told.
    fn publish(&self, names: &[String]) -> Report {
        let until = Instant::now() + PUBLISH_PATIENCE;
        loop {
            let server = self.server().clone();
            let lost = match server.map(|server| server.publish(names)) {
                Some(Ok(())) => return Report::Done,
                Some(Err(error @ ServerError::Failed(_))) => return failed(&error),
                Some(Err(error)) => error.to_string(),
                None => "nobody serves the mount".to_owned(),
            };
            if Instant::now() > until {
                return Report::Failed(lost);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn status(&self) -> Served {
        let server = self.server().clone();
        let counted = server.as_ref().and_then(|server| server.counters().ok());
        Served {
            pid: server.map(|server| server.pid()),
            successions: self.successions.load(Ordering::Relaxed),
            requests: counted.unwrap_or_default(),
        }
    }

    /// Follows servers, and has each followed by the next.
    fn watch(&self) {
        loop {
            let Some(server) = self.server().clone() else { return };
            let began = Instant::now();
            if let Err(error) = server.wait() {
                tracing::error!(%error, "waiting for the end of pipsqueak-fs");
            }
            server.await_others();
            if self.has_let_go.load(Ordering::SeqCst) {
                // It has had its last user, or has died, and no other would be looked after.
                self.end();
            }
            tracing::warn!(pid = server.pid(), "pipsqueak-fs has ended; a successor takes over");
            if !self.succeed(began) {
                return;
            }
        }
    }

    /// Starts a successor, which may take several tries; false if none is wanted.
    fn succeed(&self, mut began: Instant) -> bool {
        loop {
            if began.elapsed() < DECENT_LIFE {
                thread::sleep(DECENT_LIFE);
            }
            began = Instant::now();
            let is_ended = self.is_ended.lock();
            if *is_ended {
                return false;
            }
            match self.attachment.serve(&self.binary, &self.state, Role::Successor) {
                Ok(successor) => {
                    *self.server() = Some(Arc::new(successor));
                    self.successions.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Err(error) => tracing::error!(%error, "starting a successor of pipsqueak-fs"),
            }
            drop(is_ended);
            if self.has_let_go.load(Ordering::SeqCst) {
                self.end();
            }
        }
    }

    /// Looks after servers: one that does not answer is killed, and followed.
    fn pulse(&self) {
        loop {
            thread::sleep(PACE);
            let server = self.server().clone();
            if let Some(Err(error)) = server.map(|server| server.pulse()) {
                tracing::warn!(%error, "looking after pipsqueak-fs");
            }
        }
    }

    /// The supervisor is gone. Unmounts, and serves those who use the mount still, or leaves it.
    fn orphan(&self) {
        if self.orphaned == Orphaned::Leaves {
            tracing::warn!("the supervisor is gone; the next one's server takes over");
            self.kill();
            exit(0);
        }
        if self.has_let_go.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::warn!("the supervisor is gone; unmounting");
        self.unmount();
        drop(self.lock.lock().take());
        if self.server().is_none() {
            self.end();
        }
    }

    fn stop(&self) {
        if !self.has_let_go.swap(true, Ordering::SeqCst) {
            self.unmount();
        }
        self.end();
    }

    /// Ends the connection, and all who have it.
    fn end(&self) -> ! {
        if let Err(error) = self.attachment.abort() {
            tracing::warn!(%error, "ending the connection");
        }
        self.kill();
        exit(0);
    }

    /// Ends the server, and gives the connection to whoever has the other end of the line.
    fn hand_over(&self, line: &Responder) -> io::Result<()> {
        *self.is_ended.lock() = true;
        self.kill();
        let server = self.server().clone();
        server.map_or(Ok(()), |server| server.wait())?;
        let connection = [self.attachment.connection().as_raw_fd()];
        // An empty message, as the supervisor's programs send them.
        let (body, flags) = ([IoSlice::new(&[0; 4])], MsgFlags::MSG_NOSIGNAL);
        let rights = [ControlMessage::ScmRights(&connection)];
        sendmsg::<UnixAddr>(line.socket().as_raw_fd(), &body, &rights, flags, None)?;
        Ok(())
    }

    fn unmount(&self) {
        if let Err(error) = self.attachment.unmount() {
            tracing::warn!(%error, "unmounting");
        }
    }

    fn kill(&self) {
        let server = self.server().clone();
        if let Some(Err(error)) = server.map(|server| server.kill()) {
            tracing::warn!(%error, "ending pipsqueak-fs");
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Arc<Server>>> {
        self.server.lock()
    }
}

fn failed(error: &impl ToString) -> Report {
    Report::Failed(error.to_string())
}

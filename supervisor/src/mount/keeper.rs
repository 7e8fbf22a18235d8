//! Keeps the mount served: whenever `pipsqueak-fs` dies, a successor takes its connection over.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pipsqueak::wire::MountStatus;
use pipsqueak_fs::mount::{Attachment, Role, Server};
use pipsqueak_fs::{Mounted, ObjectId};

use super::kept::Store;
use crate::service::{Service, Stored};

/// A server that lives shorter than this is not followed at once, or a broken one would be
/// restarted in a busy loop.
const DECENT_LIFE: Duration = Duration::from_millis(200);

/// The mount and the process that serves it. When dropped, it is unmounted, or left to the next
/// supervisor where the service manager keeps its connection.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    attachment: Attachment,
    /// Where the connection is kept beyond this process.
    store: Store,
    path: PathBuf,
    state: PathBuf,
    binary: PathBuf,
    server: Mutex<Option<Arc<Server>>>,
    successions: AtomicU64,
    stopping: AtomicBool,
}

impl Keeper {
    /// Serves `state` at `path`: on the mount that an earlier supervisor has left there, where one of
    /// the descriptors that the service manager has `stored` is its connection; else on a new one,
    /// after clearing what a killed instance has left.
    pub fn start(
        path: &Path,
        state: &Path,
        service: &Arc<Service>,
        stored: Vec<Stored>,
    ) -> io::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("pipsqueak-fs");
        let store = Store::of(service, path, state)?;
        let left = store.take_over(stored);
        let role = if left.is_some() { Role::Successor } else { Role::First };
        let attachment = if let Some(attachment) = left {
            attachment
        } else {
            Attachment::clear_stale(path)?;
            Attachment::mount(path, store.orphaned())?
        };
        // Where this fails, as with an executable that is broken, those who wait for a mount that was
        // left go on waiting: the service manager tries again.
        let server = attachment.serve(&binary, state, role)?;
        let shared = Arc::new(Shared {
            attachment,
            store,
            path: path.to_owned(),
            state: state.to_owned(),
            binary,
            server: Mutex::new(Some(Arc::new(server))),
            successions: AtomicU64::new(u64::from(role == Role::Successor)),
            stopping: AtomicBool::new(false),
        });
        let watching = shared.clone();
        let thread = thread::Builder::new()
            .name("mount-keeper".to_owned())
            .spawn(move || watching.watch())?;
        let keeper = Self { shared, watcher: Mutex::new(Some(thread)) };
        if role == Role::Successor {
            // The earlier supervisor may have been killed before it said so.
            keeper.publish(&pipsqueak_fs::recently_changed(state)?)?;
        }
        keeper.shared.keep();
        Ok(keeper)
    }

    /// Where the mount is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Lets the mount show what the catalog says now, of these names above all. Blocks until it
    /// does.
    pub fn publish(&self, names: &[String]) -> io::Result<()> {
        // A server that dies meanwhile is followed by one that reads the catalog anew.
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let server = self.shared.server().clone();
            let published = match server {
                Some(server) => server.publish(names),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            match published {
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                published => return published,
            }
        }
    }

    /// Objects that readers have found damaged. Blocks.
    pub fn suspects(&self) -> io::Result<Vec<ObjectId>> {
        let server = self.shared.server().clone();
        // A successor finds by itself what its predecessor found.
        server.map_or(Ok(Vec::new()), |server| server.suspects())
    }

    /// What serves the mount and what it was asked. Blocks.
    pub fn status(&self) -> MountStatus {
        let server = self.shared.server().clone();
        let counted = server.as_ref().and_then(|server| server.counters().ok());
        MountStatus {
            path: self.shared.path.clone(),
            pid: server.map(|server| server.pid()),
            successions: self.shared.successions.load(Ordering::Relaxed),
            requests: counted.unwrap_or_default(),
        }
    }

    /// Whether the mount may be left to the next supervisor.
    pub fn can_leave(&self) -> bool {
        self.shared.store.is_there()
    }

    /// A copy of the connection for the program that this process becomes, which finds it under this name.
    pub fn hand_over(&self) -> io::Result<(String, OwnedFd)> {
        let attachment = &self.shared.attachment;
        let name = self.shared.store.name_of(attachment)?;
        Ok((name, attachment.connection().try_clone_to_owned()?))
    }

    /// Stops the server and unmounts. Blocks.
    pub fn stop(&self) -> io::Result<()> {
        self.end(|shared| {
            let unmounted = shared.attachment.unmount();
            shared.store.forget();
            unmounted
        })
    }

    /// Stops the server and leaves the mount to the next supervisor: whoever uses it waits. Blocks.
    pub fn leave(&self) -> io::Result<()> {
        self.end(|_| Ok(()))
    }

    fn end(&self, release: impl FnOnce(&Shared) -> io::Result<()>) -> io::Result<()> {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(watcher) = watcher else { return Ok(()) };
        self.shared.stopping.store(true, Ordering::SeqCst);
        let released = release(&self.shared);
        if let Some(server) = self.shared.server().take() {
            server.stop()?;
        }
        if watcher.join().is_err() {
            tracing::error!("the thread that keeps the mount has panicked");
        }
        released
    }
}

impl Mounted for Keeper {
    fn reload(&self, names: &[String]) -> io::Result<()> {
        self.publish(names)
    }

    fn suspects(&self) -> io::Result<Vec<ObjectId>> {
        Keeper::suspects(self)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let ended = if self.can_leave() { self.leave() } else { self.stop() };
        if let Err(error) = ended {
            tracing::error!(path = %self.shared.path.display(), %error, "unmounting");
        }
    }
}

impl Shared {
    fn watch(&self) {
        loop {
            let Some(server) = self.server().clone() else { return };
            let began = Instant::now();
            if let Err(error) = server.wait() {
                tracing::error!(%error, "waiting for the end of pipsqueak-fs");
            }
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            tracing::warn!(pid = server.pid(), "pipsqueak-fs has ended; a successor takes over");
            self.succeed(began);
        }
    }

    fn succeed(&self, mut began: Instant) {
        loop {
            if began.elapsed() < DECENT_LIFE {
                thread::sleep(DECENT_LIFE);
            }
            began = Instant::now();
            match self.attachment.serve(&self.binary, &self.state, Role::Successor) {
                Ok(successor) => {
                    *self.server() = Some(Arc::new(successor));
                    self.successions.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error) => tracing::error!(%error, "starting a successor of pipsqueak-fs"),
            }
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Has the service manager keep the connection, where there is one.
    fn keep(&self) {
        if let Err(error) = self.store.keep(&self.attachment) {
            tracing::warn!(%error, "the mount will not outlive this supervisor");
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Arc<Server>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

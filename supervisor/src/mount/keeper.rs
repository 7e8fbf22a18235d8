//! Keeps the mount served: whenever `pipsqueak-fs` dies, a successor takes its connection over.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pipsqueak::wire::MountStatus;
use pipsqueak_fs::mount::{Attachment, Orphaned, Role, Server};
use pipsqueak_fs::{Mounted, ObjectId};

/// A server that lives shorter than this is not followed at once, or a broken one would be
/// restarted in a busy loop.
const DECENT_LIFE: Duration = Duration::from_millis(200);

/// The mount and the process that serves it. Unmounted when dropped.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    attachment: Attachment,
    path: PathBuf,
    state: PathBuf,
    binary: PathBuf,
    server: Mutex<Option<Arc<Server>>>,
    successions: AtomicU64,
    stopping: AtomicBool,
}

impl Keeper {
    /// Mounts at `path`, after clearing what a killed instance has left there, and serves `state`.
    pub fn start(path: &Path, state: &Path) -> io::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("pipsqueak-fs");
        Attachment::clear_stale(path)?;
        let attachment = Attachment::mount(path)?;
        let first = attachment.serve(&binary, state, Role::First, Orphaned::Unmounts)?;
        let shared = Arc::new(Shared {
            attachment,
            path: path.to_owned(),
            state: state.to_owned(),
            binary,
            server: Mutex::new(Some(Arc::new(first))),
            successions: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let watching = shared.clone();
        let thread = thread::Builder::new()
            .name("mount-keeper".to_owned())
            .spawn(move || watching.watch())?;
        Ok(Self { shared, watcher: Mutex::new(Some(thread)) })
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

    /// Stops the server and unmounts. Blocks.
    pub fn stop(&self) -> io::Result<()> {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(watcher) = watcher else { return Ok(()) };
        self.shared.stopping.store(true, Ordering::SeqCst);
        let unmounted = self.shared.attachment.unmount();
        if let Some(server) = self.shared.server().take() {
            server.stop()?;
        }
        if watcher.join().is_err() {
            tracing::error!("the thread that keeps the mount has panicked");
        }
        unmounted
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
        if let Err(error) = self.stop() {
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
            match self.attachment.serve(
                &self.binary,
                &self.state,
                Role::Successor,
                Orphaned::Unmounts,
            ) {
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

    fn server(&self) -> MutexGuard<'_, Option<Arc<Server>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

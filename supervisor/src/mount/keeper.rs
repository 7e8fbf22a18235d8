//! The mount, of which a process of its own holds the connection and keeps it served.
//!
//! The supervisor asks things of the mount: it lists it, opens folders, mounts overlays of them. So it
//! must not hold the connection ([`Attachment`] says why), but for a moment at its start, and at its end
//! where another program takes over.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pipsqueak::wire::MountStatus;
use pipsqueak_fs::mount::{Attachment, Order, Orphaned, Report, Role, Served, end_keeper};
use pipsqueak_fs::{Mounted, ObjectId};

use super::keeper_process::{KeeperError, KeeperProcess};
use super::kept::Store;
use crate::service::{Service, Stored};
use crate::sync::{Mutex, lock};

/// The mount and the process that keeps it. When dropped, it is unmounted, or left to the next
/// supervisor where the service manager keeps its connection.
#[derive(Debug)]
pub struct Keeper {
    process: KeeperProcess,
    path: PathBuf,
    /// The store that keeps the connection beyond this process.
    store: Store,
    /// The name under which the next program takes the connection over.
    name: String,
    /// True once the mount has been stopped, left or handed over, or is about to be.
    is_over: Arc<AtomicBool>,
    /// Held by the thread that does that.
    ending: Mutex<bool>,
}

impl Keeper {
    /// Has `state` served at `path`: on the mount that an earlier supervisor has left there, where one of
    /// the descriptors that the service manager has `stored` is its connection; else on a new one, after
    /// clearing what a killed instance has left. Where the mount ends by itself, `lost` is told. Blocks.
    pub fn start(
        path: &Path,
        state: &Path,
        service: &Arc<Service>,
        stored: Vec<Stored>,
        lost: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("pipsqueak-fs");
        let store = Store::of(service, path, state)?;
        end_keeper(state)?;
        let left = store.take_over(stored);
        let role = if left.is_some() { Role::Successor } else { Role::First };
        let attachment = if let Some(attachment) = left {
            attachment
        } else {
            Attachment::clear_stale(path)?;
            Attachment::mount(path, store.orphaned())?
        };
        // Until it serves, its end is no loss.
        let is_over = Arc::new(AtomicBool::new(true));
        let what = (&attachment, role, store.orphaned());
        // Where this fails, as with an executable that is broken, those who wait for a mount that was
        // left go on waiting: the service manager tries again.
        let process = match serve(&binary, (state, path), what, &is_over, lost) {
            Ok(process) => process,
            Err(error) => {
                is_over.store(true, Ordering::SeqCst);
                if role == Role::First {
                    Attachment::clear_stale(path)?;
                }
                return Err(error.into());
            }
        };
        let name = store.name_of(&attachment);
        if let Err(error) = store.keep(&attachment) {
            tracing::warn!(%error, "the mount will not outlive this supervisor");
        }
        drop(attachment);
        let (path, ending) = (path.to_owned(), Mutex::default());
        let keeper = Self { process, path, store, name, is_over, ending };
        if role == Role::Successor {
            // The earlier supervisor may have been killed before it said so.
            keeper.publish(&pipsqueak_fs::recently_changed(state)?)?;
        }
        Ok(keeper)
    }

    /// Path of the mount.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the mount show what the catalog says now, of these names above all. Blocks until it
    /// does.
    pub fn publish(&self, names: &[String]) -> io::Result<()> {
        match self.process.ask(&Order::Publish(names.to_vec()))? {
            Report::Done => Ok(()),
            other => Err(KeeperError::Unexpected(other).into()),
        }
    }

    /// Objects that readers have found damaged. Blocks.
    pub fn suspects(&self) -> io::Result<Vec<ObjectId>> {
        match self.process.ask(&Order::Suspects)? {
            Report::Suspects(suspects) => Ok(suspects),
            other => Err(KeeperError::Unexpected(other).into()),
        }
    }

    /// Status of the process that serves the mount, and counts of what it was asked. Blocks.
    pub fn status(&self) -> MountStatus {
        let served = match self.process.ask(&Order::Status) {
            Ok(Report::Status(served)) => served,
            _ => Served::default(),
        };
        let path = self.path.clone();
        let (pid, successions) = (served.pid, served.successions);
        MountStatus { path, pid, successions, requests: served.requests }
    }

    /// True if the mount may be left to the next supervisor.
    pub fn can_leave(&self) -> bool {
        self.store.is_there()
    }

    /// Unmounts, and ends whatever is being asked of the mount. Blocks.
    pub fn stop(&self) -> io::Result<()> {
        self.end(|| {
            self.store.forget();
            let stopped = self.process.stop();
            // Where the process had ended before, or was killed.
            Attachment::clear_stale(&self.path).and(stopped.map_err(io::Error::from))
        })
    }

    /// Leaves the mount to the next supervisor: processes that use it wait. Blocks.
    ///
    /// For the time when nobody in this process asks anything of it any more.
    pub fn leave(&self) -> io::Result<()> {
        self.end(|| Ok(self.process.leave()?))
    }

    /// Takes the connection back for the program that this process becomes, which finds it under this
    /// name. Blocks.
    ///
    /// For the time when nobody in this process asks anything of the mount any more.
    pub fn hand_over(&self) -> io::Result<(String, OwnedFd)> {
        let mut handed = None;
        self.end(|| {
            handed = Some(self.process.hand_over()?);
            Ok(())
        })?;
        let connection = handed.ok_or(KeeperError::Over)?;
        Ok((self.name.clone(), connection))
    }

    /// The first end counts.
    fn end(&self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut is_ended = lock(&self.ending);
        if std::mem::replace(&mut *is_ended, true) {
            return Ok(());
        }
        self.is_over.store(true, Ordering::SeqCst);
        act()
    }
}

/// Starts the process and has it serve `state` at `path`. If it ends before the mount `is_over`, `lost` is told.
fn serve(
    binary: &Path,
    (state, path): (&Path, &Path),
    what: (&Attachment, Role, Orphaned),
    is_over: &Arc<AtomicBool>,
    lost: impl FnOnce() + Send + 'static,
) -> Result<KeeperProcess, KeeperError> {
    let (place, ended) = (path.to_owned(), is_over.clone());
    let process = KeeperProcess::start(binary, state, path, what, move || {
        if !ended.load(Ordering::SeqCst) {
            tracing::error!(mount = %place.display(), "the mount's keeper has ended");
            // The service manager may have the connection too, and nobody would serve it as long
            // as this process waits for it.
            if let Err(error) = Attachment::clear_stale(&place) {
                tracing::error!(%error, "unmounting");
            }
            lost();
        }
    })?;
    process.ask(&Order::Serve)?;
    is_over.store(false, Ordering::SeqCst);
    // After that: what was no loss a moment ago, nobody was told of.
    process.check()?;
    Ok(process)
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
            tracing::error!(path = %self.path.display(), %error, "unmounting");
        }
    }
}

//! The supervisor's socket.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

use super::connection;
use crate::supervisor::Supervisor;

/// Most connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another supervisor has it.
    #[error("a supervisor is running already{}, with its socket in {}; `pipsqueak down` stops it",
        pid.map_or_else(String::new, |pid| format!(" (process {pid})")), run.display())]
    Running {
        /// The folder of the socket.
        run: PathBuf,
        /// The other's process.
        pid: Option<u32>,
    },
    /// The file system.
    #[error("{}: {error}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The socket and the lock that says whose it is; both go when it is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    lock_path: PathBuf,
    listener: UnixListener,
    _lock: Flock<File>,
}

impl Socket {
    /// Takes the lock in the folder `run`, clears a stale socket, and listens.
    pub fn open(run: &Path) -> Result<Self, ListenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| ListenError::File { path, error }
        };
        fs::create_dir_all(run).map_err(at(run))?;
        fs::set_permissions(run, Permissions::from_mode(0o755)).map_err(at(run))?;
        let lock_path = run.join("supervisor.lock");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            let pid = fs::read_to_string(&lock_path).ok().and_then(|t| t.trim().parse().ok());
            ListenError::Running { run: run.to_owned(), pid }
        })?;
        lock.set_len(0).map_err(at(&lock_path))?;
        writeln!(&*lock, "{}", std::process::id()).map_err(at(&lock_path))?;
        let path = run.join("supervisor.sock");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(at(&path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(at(&path))?;
        Ok(Self { path, lock_path, listener, _lock: lock })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        for path in [&self.path, &self.lock_path] {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "removing a file of the socket");
            }
        }
    }
}

/// Accepts clients until `stopping` says so.
pub async fn serve(socket: &Socket, supervisor: Arc<Supervisor>, stopping: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = stopping;
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        tokio::select! {
            () = async { drop(stop.wait_for(|stopping| *stopping).await) } => return,
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let supervisor = supervisor.clone();
                    tokio::spawn(async move {
                        if let Err(error) = connection::serve(stream, &supervisor).await {
                            tracing::debug!(%error, "a client's connection ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely; what runs will give some back.
                    tracing::warn!(%error, "accepting a client");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }
}

//! The supervisor's socket.
//!
//! Clients that connect while one supervisor follows another wait. For this the supervisor takes the
//! socket over, if a service manager has made it or keeps it between two processes, instead of making
//! it anew.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::socket::{Backlog, listen};
use tokio::net::UnixListener;

use super::lock::{Lock, LockError};
use crate::service::{Service, Stored};

/// `FileDescriptorName=` in the unit of a socket that the service manager makes.
const ACTIVATED: &str = "supervisor";
/// Prefix of a stored socket's name. The rest is the inode number of the socket's file, because another
/// supervisor may have put its own there meanwhile.
const STORED: &str = "listener-";

/// Reason that the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another supervisor holds the lock, or a process that one has left.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The service manager has made a socket at another path.
    #[error("the service manager's socket is not {}: name it in ListenStream= of the unit, or the \
        folder in `run` of the configuration file", .0.display())]
    Elsewhere(PathBuf),
    /// The file system failed.
    #[error("{}: {error}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The error of the call.
        error: io::Error,
    },
}

/// Keeper of a socket beyond the end of this process.
#[derive(Debug)]
enum Keeper {
    Nobody,
    /// The service manager, which was given the socket under this name.
    Store(Arc<Service>, String),
    /// The socket's maker, or the program that this process becomes.
    Other,
}

/// The socket. Its files are removed when this is dropped, unless the socket has a keeper.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    keeper: Keeper,
    lock: Lock,
}

impl Socket {
    /// Takes the lock in the folder `run`, and listens on a suitable one of the `stored` sockets, or on
    /// a new one, which replaces a stale one. The stored descriptors that are no sockets are given
    /// back.
    pub fn open(
        run: &Path,
        service: &Arc<Service>,
        stored: Vec<Stored>,
    ) -> Result<(Self, Vec<Stored>), ListenError> {
        fs::create_dir_all(run).map_err(at(run))?;
        fs::set_permissions(run, Permissions::from_mode(0o755)).map_err(at(run))?;
        let lock = Lock::take(run)?;
        let path = run.join("supervisor.sock");
        let is_socket = |one: &Stored| one.name == ACTIVATED || one.name.starts_with(STORED);
        let (sockets, others) = stored.into_iter().partition::<Vec<_>, _>(is_socket);
        let mut taken = None;
        for Stored { name, descriptor } in sockets {
            let is_activated = name == ACTIVATED;
            if is_activated && !is_bound_to(&descriptor, &path) {
                return Err(ListenError::Elsewhere(path));
            }
            if taken.is_none() && (is_activated || name == name_of(&path).map_err(at(&path))?) {
                let keeper = if is_activated {
                    Keeper::Other
                } else if service.is_there() {
                    Keeper::Store(service.clone(), name)
                } else {
                    Keeper::Nobody
                };
                taken = Some((StdListener::from(descriptor), keeper));
            } else if let Err(error) = service.forget(&name) {
                tracing::warn!(%error, "the service manager keeps a socket that nobody needs");
            }
        }
        let (listener, keeper) = match taken {
            Some(taken) => taken,
            None => bind(&path, service).map_err(at(&path))?,
        };
        // Listen again, even on a socket that was taken over, so that clients see this process as their peer.
        listen(&listener, Backlog::MAXCONN).map_err(|error| at(&path)(error.into()))?;
        listener.set_nonblocking(true).map_err(at(&path))?;
        let listener = UnixListener::from_std(listener).map_err(at(&path))?;
        Ok((Self { path, listener, keeper, lock }, others))
    }

    /// Waits for the next client.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept().await?;
        stream.into_std()
    }

    /// Moves the socket to the runtime that this is called on, which then wakes the accepting task.
    pub fn attach(&mut self) -> io::Result<()> {
        let same = StdListener::from(self.listener.as_fd().try_clone_to_owned()?);
        self.listener = UnixListener::from_std(same)?;
        Ok(())
    }

    /// Lets the socket end with this process, unless the service manager has made it.
    pub fn close(&mut self) {
        if let Keeper::Store(service, name) = &self.keeper {
            if let Err(error) = service.forget(name) {
                tracing::warn!(%error, "the service manager keeps a socket that nobody needs");
            }
            self.keeper = Keeper::Nobody;
        }
    }

    /// A copy for the program that this process becomes, and the name under which that program finds
    /// it. The socket is kept from now on.
    pub fn hand_over(&mut self) -> io::Result<(String, OwnedFd)> {
        let name = name_of(&self.path)?;
        let copy = self.listener.as_fd().try_clone_to_owned()?;
        self.keeper = Keeper::Other;
        Ok((name, copy))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_kept = !matches!(self.keeper, Keeper::Nobody);
        for path in [&*self.path, self.lock.path()].into_iter().skip(usize::from(is_kept)) {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "removing a file of the socket");
            }
        }
    }
}

fn bind(path: &Path, service: &Arc<Service>) -> io::Result<(StdListener, Keeper)> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    if !service.is_there() {
        return Ok((listener, Keeper::Nobody));
    }
    let name = name_of(path)?;
    match service.keep(&name, listener.as_fd()) {
        Ok(()) => Ok((listener, Keeper::Store(service.clone(), name))),
        Err(error) => {
            tracing::warn!(%error, "clients will not wait while this supervisor is restarted");
            Ok((listener, Keeper::Nobody))
        }
    }
}

/// Name under which the socket at `path` is stored. Empty if there is none; no socket is stored under
/// the empty name.
fn name_of(path: &Path) -> io::Result<String> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(format!("{STORED}{}", metadata.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn is_bound_to(descriptor: &OwnedFd, path: &Path) -> bool {
    let copy = descriptor.try_clone().map(StdListener::from);
    copy.and_then(|listener| listener.local_addr())
        .is_ok_and(|address| address.as_pathname() == Some(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ListenError + use<> {
    let path = path.to_owned();
    move |error| ListenError::File { path, error }
}

//! The connection to the kernel: `/dev/fuse`, opened and mounted by the supervisor, and held by the
//! keeper.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::abort::abort;
use super::connection;
use super::predecessor;
use super::server::{Orphaned, Role, Server};

/// Number that is raised when servers tell the kernel something else than those of earlier builds, such
/// as other inode numbers for the same files: then no connection of theirs can be taken over.
pub const DIALECT: u32 = 3;
/// Readahead of the mount in KiB. FUSE starts with 128; a library is read best in larger pieces.
const READ_AHEAD_KB: &str = "1024";

/// Reason why a connection cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The descriptor is no connection.
    #[error("it is no /dev/fuse")]
    NoConnection,
    /// The connection's mount is gone, or was never made.
    #[error("its mount is gone")]
    Ended,
    /// The connection's mount is not where it should be.
    #[error("it is of file system {connection}, and at {} is {}", path.display(),
        found.as_deref().map_or("none".to_owned(), |found| format!("file system {found}")))]
    Elsewhere {
        /// Device of its file system.
        connection: String,
        /// Path at which it should be mounted.
        path: PathBuf,
        /// Device of what is there.
        found: Option<String>,
    },
    /// The kernel does not say.
    #[error("asking the kernel about it: {0}")]
    Unknown(#[from] io::Error),
}

/// A mounted connection. It outlives the processes that serve it.
///
/// A process that has one asks nothing of the mount, not even where it is: in the middle of a question
/// that nobody answers it could not end, and as long as it has not ended, the kernel does not end the
/// connection, and with that the question.
#[derive(Debug)]
pub struct Attachment {
    path: PathBuf,
    connection: OwnedFd,
    /// The number of its file system, `major:minor`.
    device: String,
    orphaned: Orphaned,
}

impl Attachment {
    /// Mounts at `path`, which is made where it is not there. Nothing answers yet. Servers do with the
    /// mount what `orphaned` says when their supervisor is gone.
    pub fn mount(path: &Path, orphaned: Orphaned) -> io::Result<Self> {
        fs::create_dir_all(path).map_err(at(path))?;
        let device = Path::new("/dev/fuse");
        let connection = File::options().read(true).write(true).open(device).map_err(at(device))?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
            connection.as_raw_fd()
        );
        // Read-only on the superblock, or each read makes the kernel ask for attributes anew.
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        mount(
            Some("pipsqueak"),
            path,
            Some(connection::FILE_SYSTEM),
            flags,
            Some(options.as_str()),
        )
        .map_err(|error| at(path)(error.into()))?;
        Self::of(path, connection.into(), orphaned)
    }

    /// The connection that this process was started with, which is what is mounted at `path`.
    pub fn of(path: &Path, connection: OwnedFd, orphaned: Orphaned) -> io::Result<Self> {
        let top = connection::top(path)?.filter(|top| top.is_ours);
        let top = top.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let device = top.map_err(at(path))?.device;
        Ok(Self { path: path.to_owned(), connection, device, orphaned })
    }

    /// Takes over a connection that another supervisor has mounted at `path`, as a file system with
    /// the number `device` (`major:minor`).
    pub fn take_over(
        path: &Path,
        connection: OwnedFd,
        device: &str,
        orphaned: Orphaned,
    ) -> Result<Self, TakeOverError> {
        if !connection::is_connection(&connection)? {
            return Err(TakeOverError::NoConnection);
        }
        // While it lives, no other file system has its number.
        if connection::has_ended(&connection)? {
            return Err(TakeOverError::Ended);
        }
        let device = connection::device(&connection)?.unwrap_or_else(|| device.to_owned());
        let top = connection::top(path)?;
        if !top.as_ref().is_some_and(|top| top.is_ours && top.device == device) {
            return Err(TakeOverError::Elsewhere {
                connection: device,
                path: path.to_owned(),
                found: top.map(|top| top.device),
            });
        }
        Ok(Self { path: path.to_owned(), connection, device, orphaned })
    }

    /// The connection.
    pub fn connection(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// The number of its file system, `major:minor`.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Unmounts what killed instances have left at `path`, however many lie on each other, and ends its
    /// connections: nobody serves them.
    pub fn clear_stale(path: &Path) -> io::Result<()> {
        while let Some(top) = connection::top(path)?.filter(|top| top.is_ours) {
            if let Err(error) = abort(&top.device) {
                tracing::warn!(%error, device = top.device, "ending a connection that was left");
            }
            umount2(path, MntFlags::MNT_DETACH).map_err(|error| at(path)(error.into()))?;
        }
        Ok(())
    }

    /// Starts a process of the executable `binary` that serves `state` on this connection.
    pub fn serve(&self, binary: &Path, state: &Path, role: Role) -> io::Result<Server> {
        if self.orphaned == Orphaned::Leaves {
            predecessor::end(state, predecessor::SERVER, Duration::ZERO)?;
        }
        let connection = self.connection.try_clone()?;
        let how = (role, self.orphaned);
        let server = Server::start(binary, state, &self.path, connection, how)?;
        if matches!(role, Role::First)
            && let Err(error) = self.raise_readahead()
        {
            tracing::warn!(%error, "raising the mount's readahead");
        }
        Ok(server)
    }

    /// Unmounts. Whoever still uses the mount keeps it until done.
    pub fn unmount(&self) -> io::Result<()> {
        match umount2(&self.path, MntFlags::MNT_DETACH) {
            // Somebody was faster.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            Err(error) => Err(at(&self.path)(error.into())),
        }
    }

    /// Ends the connection, whoever else has it: all who wait for an answer get an error.
    pub fn abort(&self) -> io::Result<()> {
        // Once its file system is gone, its number may be another's.
        if connection::has_ended(&self.connection)? { Ok(()) } else { abort(&self.device) }
    }

    fn raise_readahead(&self) -> io::Result<()> {
        let path = format!("/sys/class/bdi/{}/read_ahead_kb", self.device);
        fs::write(&path, READ_AHEAD_KB).map_err(at(Path::new(&path)))
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + use<'_> {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

//! The connection to the kernel: `/dev/fuse`, opened and mounted by the supervisor.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::server::{Role, Server};

const FILE_SYSTEM: &str = "fuse.pipsqueak";
/// Readahead of the mount in KiB. FUSE starts with 128; a library is read best in larger pieces.
const READ_AHEAD_KB: &str = "1024";

/// A mounted connection. It outlives the processes that serve it.
#[derive(Debug)]
pub struct Attachment {
    path: PathBuf,
    connection: OwnedFd,
}

impl Attachment {
    /// Mounts at `path`, which is made where it is not there. Nothing answers yet.
    pub fn mount(path: &Path) -> io::Result<Self> {
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
        mount(Some("pipsqueak"), path, Some(FILE_SYSTEM), flags, Some(options.as_str()))
            .map_err(|error| at(path)(error.into()))?;
        Ok(Self { path: path.to_owned(), connection: connection.into() })
    }

    /// Unmounts what killed instances have left at `path`, however many lie on each other.
    pub fn clear_stale(path: &Path) -> io::Result<()> {
        while is_ours(path)? {
            umount2(path, MntFlags::MNT_DETACH).map_err(|error| at(path)(error.into()))?;
        }
        Ok(())
    }

    /// Starts a process of the executable `binary` that serves `state` on this connection.
    pub fn serve(&self, binary: &Path, state: &Path, role: Role) -> io::Result<Server> {
        let server = Server::start(binary, state, &self.path, self.connection.try_clone()?, role)?;
        if matches!(role, Role::First) {
            self.raise_readahead();
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

    fn raise_readahead(&self) {
        let raised = fs::metadata(&self.path).and_then(|metadata| {
            let device = metadata.dev();
            let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
            fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KB)
        });
        if let Err(error) = raised {
            tracing::warn!(%error, "raising the mount's readahead");
        }
    }
}

fn is_ours(path: &Path) -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let path = path.to_string_lossy();
    Ok(mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next().is_some_and(|at| unescape(at) == path) && fields.next() == Some(FILE_SYSTEM)
    }))
}

/// Undoes the octal escapes of the kernel's lists of mounts.
pub fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + use<'_> {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

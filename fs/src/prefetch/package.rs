//! Asking the mount for what an import will ask it for.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{
    AtFlags, OFlag, OpenHow, PosixFadviseAdvice, ResolveFlag, openat2, posix_fadvise,
};
use nix::sys::stat::{Mode, fstatat};

use crate::trace::Module;

/// A view's root in the mount.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Opens one.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(File::open(path)?.into()))
    }

    /// Lists a package's folders, as its import does, and looks for what it is not.
    pub fn enter(&self, module: &Module, suffixes: &[String]) {
        let Some(folder) = module.folder.as_deref() else { return };
        // What is not there costs nothing but time.
        let _ = self.list(folder);
        let _ = self.list(&format!("{folder}/__pycache__"));
        for suffix in suffixes {
            let path = format!("{folder}/__init__{suffix}");
            let _ = fstatat(&self.0, &*path, AtFlags::AT_SYMLINK_NOFOLLOW);
        }
    }

    /// Has a file's pages read.
    pub fn read(&self, path: &str) {
        if let Ok(file) = self.open_below(path, OFlag::O_NONBLOCK) {
            let _ = posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
        }
    }

    fn list(&self, folder: &str) -> io::Result<()> {
        let mut folder = Dir::from_fd(self.open_below(folder, OFlag::O_DIRECTORY)?)?;
        folder.iter().try_for_each(|entry| entry.map(drop))?;
        Ok(())
    }

    fn open_below(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | flags)
            .mode(Mode::empty())
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        Ok(openat2(&self.0, path, how)?)
    }
}

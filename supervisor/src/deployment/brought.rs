//! Files and folders that a client brings, read from descriptors: the file that was checked is the file
//! that is read, even if its name changes meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// File or folder that was found and not read yet. Its kind and size are those of what will be read.
#[derive(Debug)]
pub struct Brought {
    place: OwnedFd,
    found: FileStat,
}

/// Kind of a found thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A plain file of so many bytes, holes included.
    File(u64),
    /// Neither, such as a device; a word for messages.
    Other(&'static str),
    /// A link, and its target.
    Link(OsString),
}

impl Brought {
    /// Finds the thing at an absolute path, none of whose parts is a link.
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::find(AT_FDCWD, path.as_os_str())
    }

    /// Finds the thing of this name in a folder.
    pub fn in_folder(folder: &Dir, name: &OsStr) -> io::Result<Self> {
        Self::find(folder.as_fd(), name)
    }

    fn find(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        // Only a path descriptor: to open a device or a pipe might do something, or wait.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let no_links = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let place = openat2(folder, name, OpenHow::new().flags(flags).resolve(no_links))?;
        let found = fstat(&place)?;
        Ok(Self { place, found })
    }

    /// Kind of the found thing.
    pub fn kind(&self) -> Kind {
        let kind = SFlag::from_bits_truncate(self.found.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            Kind::Folder
        } else if kind == SFlag::S_IFREG {
            Kind::File(self.found.st_size.try_into().unwrap_or(0))
        } else if kind == SFlag::S_IFLNK {
            Kind::Link(readlinkat(&self.place, "").unwrap_or_default())
        } else if kind == SFlag::S_IFIFO {
            Kind::Other("a pipe")
        } else if kind == SFlag::S_IFSOCK {
            Kind::Other("a socket")
        } else if kind == SFlag::S_IFBLK || kind == SFlag::S_IFCHR {
            Kind::Other("a device")
        } else {
            Kind::Other("neither a file nor a folder")
        }
    }

    /// Mode of the found thing, permissions included.
    pub fn mode(&self) -> u32 {
        self.found.st_mode
    }

    /// Opens a plain file.
    pub fn open(&self) -> io::Result<File> {
        self.again(OFlag::O_NONBLOCK).map(File::from)
    }

    /// Opens a folder.
    pub fn open_folder(&self) -> io::Result<Dir> {
        Ok(Dir::from_fd(self.again(OFlag::O_DIRECTORY)?)?)
    }

    /// Opens the found file or folder again, to be read.
    fn again(&self, flags: OFlag) -> io::Result<OwnedFd> {
        let flags = flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let own = format!("/proc/self/fd/{}", self.place.as_raw_fd());
        Ok(nix::fcntl::open(own.as_str(), flags, Mode::empty())?)
    }
}

/// The names in a folder, in order.
pub fn names(folder: &mut Dir) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in folder.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}

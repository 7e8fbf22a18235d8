//! Files and folders that somebody brings, read from descriptors: what was looked at is what is read,
//! whoever changes the names meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// Something that was found, and is not read yet: its kind and its size are those of what will be.
#[derive(Debug)]
pub struct Brought {
    place: OwnedFd,
    found: FileStat,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A plain file of so many bytes, holes included.
    File(u64),
    /// Neither; a word for it.
    Other(&'static str),
    /// A link, and where it leads.
    Link(OsString),
}

impl Brought {
    /// What is at an absolute path, none of whose parts is a link.
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::find(AT_FDCWD, path.as_os_str())
    }

    /// What a folder has of a name.
    pub fn in_folder(folder: &Dir, name: &OsStr) -> io::Result<Self> {
        Self::find(folder.as_fd(), name)
    }

    fn find(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        // Nothing is done by being found: opening a device or a pipe might do something, or wait.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let no_links = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let place = openat2(folder, name, OpenHow::new().flags(flags).resolve(no_links))?;
        let found = fstat(&place)?;
        Ok(Self { place, found })
    }

    /// What it is.
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

    /// Its permissions.
    pub fn mode(&self) -> u32 {
        self.found.st_mode
    }

    /// Opens it, where it is a plain file.
    pub fn open(&self) -> io::Result<File> {
        self.again(OFlag::O_NONBLOCK).map(File::from)
    }

    /// Opens it, where it is a folder.
    pub fn open_folder(&self) -> io::Result<Dir> {
        Ok(Dir::from_fd(self.again(OFlag::O_DIRECTORY)?)?)
    }

    /// The same file or folder, to be read.
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

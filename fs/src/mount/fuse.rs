//! The adapter to fuser: each request asks [`Vfs`] and replies, and the kernel is let cache all.

use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::errno::errno;
use crate::prefetch::Prefetcher;
use crate::vfs::counters::Operation;
use crate::vfs::{Attributes, DirectoryEntry, FileKind, Vfs, VfsError};
use crate::view::inode::{SHOWN, VIEWS};

/// Time for which the kernel keeps what it was told: for ever, until it is told otherwise.
const ALWAYS: Duration = Duration::from_secs(u32::MAX as u64);
/// Most requests that wait in the background, such as readahead; the kernel's default is 12.
const MAX_BACKGROUND: u16 = 64;
/// Largest readahead in bytes; the mount's own `read_ahead_kb` bounds it further.
const MAX_READAHEAD: u32 = 8 << 20;

/// The file system as fuser calls it.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// File system that answers.
    pub vfs: Arc<Vfs>,
    /// Prefetcher that hears which folders are entered.
    pub prefetcher: Option<Arc<Prefetcher>>,
}

impl Adapter {
    /// Counts an operation and answers it; a panic is an error like others, because fuser would
    /// lose the thread for good.
    fn answer<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&Vfs) -> Result<T, VfsError>,
    ) -> Result<T, Errno> {
        self.vfs.counters.count(operation);
        match catch_unwind(AssertUnwindSafe(|| work(&self.vfs))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if matches!(error, VfsError::Store(_) | VfsError::Index(_)) {
                    tracing::error!(%error, ?operation, "a request failed");
                }
                Err(errno(&error))
            }
            Err(_) => {
                self.vfs.counters.count(Operation::Panic);
                tracing::error!(?operation, "a handler has panicked");
                Err(Errno::EIO)
            }
        }
    }

    /// Lets the prefetcher know that a thread asks about a folder.
    fn entered(&self, request: &Request, folder: INodeNo) {
        if let Some(prefetcher) = &self.prefetcher
            && !prefetcher.is(request.pid())
        {
            prefetcher.tell(folder.0, || self.vfs.entered(folder.0, request.pid()));
        }
    }
}

/// Wishes at the beginning of a connection. The kernel's older versions may not know all.
pub const WISHES: [InitFlags; 5] = [
    InitFlags::FUSE_NO_OPEN_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_CACHE_SYMLINKS,
    // A folder that is listed is one that is imported from: its entries are wanted next.
    InitFlags::FUSE_DO_READDIRPLUS,
];

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wish in WISHES {
            if config.add_capabilities(wish).is_err() {
                tracing::warn!(?wish, "the kernel does not know a capability");
            }
        }
        // The nearest that the kernel takes is right for both.
        let _ = config.set_max_background(MAX_BACKGROUND);
        if let Err(nearest) = config.set_max_readahead(MAX_READAHEAD) {
            let _ = config.set_max_readahead(nearest);
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entered(request, parent);
        // A name that is not UTF-8 is none of ours.
        let found = self.answer(Operation::Lookup, |vfs| match name.to_str() {
            Some(name) => vfs.lookup(parent.0, name),
            None => Ok(None),
        });
        match found {
            Ok(Some(attributes)) => reply.entry(&ALWAYS, &attr(&attributes), Generation(0)),
            // It may come, and nobody is told.
            Ok(None) if [VIEWS, SHOWN].contains(&parent.0) => reply.error(Errno::ENOENT),
            // Inode 0 with a time to live: the kernel keeps that there is nothing.
            Ok(None) => reply.entry(&ALWAYS, &nothing(), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.answer(Operation::Getattr, |vfs| vfs.attributes(ino.0)) {
            Ok(attributes) => reply.attr(&ALWAYS, &attr(&attributes)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.answer(Operation::Readlink, |vfs| vfs.link(ino.0)) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.vfs.counters.count(Operation::Open);
        // Once, and the kernel opens without asking from then on.
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.vfs.counters.count(Operation::Opendir);
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.answer(Operation::Read, |vfs| vfs.read(ino.0, offset, size as usize)) {
            Ok(content) => {
                self.vfs.counters.add(Operation::ReadBytes, content.len() as u64);
                reply.data(&content);
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.entered(request, ino);
        let entries = match self.answer(Operation::Readdir, |vfs| vfs.list(ino.0, offset)) {
            Ok(entries) => entries,
            Err(error) => return reply.error(error),
        };
        for DirectoryEntry { offset, name, attributes } in entries {
            if reply.add(INodeNo(attributes.inode), offset, file_type(attributes.kind), name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.entered(request, ino);
        let entries = match self.answer(Operation::Readdir, |vfs| vfs.list(ino.0, offset)) {
            Ok(entries) => entries,
            Err(error) => return reply.error(error),
        };
        for DirectoryEntry { offset, name, attributes } in entries {
            let inode = INodeNo(attributes.inode);
            if reply.add(inode, offset, name, &ALWAYS, &attr(&attributes), Generation(0)) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.vfs.counters.count(Operation::Statfs);
        reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        // CPython before 3.14 asks of each file whether it is a terminal.
        self.vfs.counters.count(Operation::Ioctl);
        reply.error(Errno::ENOTTY);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        self.vfs.counters.count(Operation::Xattr);
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        self.vfs.counters.count(Operation::Xattr);
        reply.error(Errno::ENOSYS);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.vfs.counters.count(Operation::Flush);
        reply.error(Errno::ENOSYS);
    }
}

fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Folder => FileType::Directory,
        FileKind::File => FileType::RegularFile,
        FileKind::Link => FileType::Symlink,
    }
}

fn attr(attributes: &Attributes) -> FileAttr {
    let time = attributes.modified;
    FileAttr {
        ino: INodeNo(attributes.inode),
        size: attributes.size,
        blocks: attributes.size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.links,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Attributes of what is not there.
fn nothing() -> FileAttr {
    attr(&Attributes {
        inode: 0,
        kind: FileKind::File,
        size: 0,
        mode: 0,
        links: 0,
        modified: SystemTime::UNIX_EPOCH,
    })
}

//! From errors to what the kernel is told: the only place.

use fuser::Errno;

use crate::vfs::VfsError;

/// The errno of an error. Whatever is damaged or missing in the store is an input/output error to
/// its reader, never wrong bytes.
pub fn errno(error: &VfsError) -> Errno {
    match error {
        VfsError::NoNode(_) => Errno::ESTALE,
        VfsError::Kind(_, "folder") => Errno::ENOTDIR,
        VfsError::Kind(..) => Errno::EINVAL,
        VfsError::Store(_)
        | VfsError::Index(_)
        | VfsError::Readahead(_)
        | VfsError::Unreadable(_)
        | VfsError::Quarantined(_)
        | VfsError::Published(_) => Errno::EIO,
    }
}

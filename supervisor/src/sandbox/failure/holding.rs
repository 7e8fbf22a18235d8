//! Why a holder could not put its sandbox together.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Cause;

/// Why a holder could not put its sandbox together: the variants are in the order of the steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum HoldError {
    /// read(2) from the hand that writes the maps.
    #[error("waiting for the user maps: {0}")]
    Maps(#[source] Cause),
    /// setresgid(2).
    #[error("becoming group 0 of the sandbox: {0}")]
    Group(#[source] Cause),
    /// setresuid(2).
    #[error("becoming user 0 of the sandbox: {0}")]
    User(#[source] Cause),
    /// prctl(2), `PR_SET_DUMPABLE`.
    #[error("becoming readable: {0}")]
    Readable(#[source] Cause),
    /// sethostname(2).
    #[error("setting the host name: {0}")]
    HostName(#[source] Cause),
    /// The loopback interface.
    #[error("raising the loopback interface: {0}")]
    Loopback(#[source] Cause),
    /// mount(2), `MS_PRIVATE`.
    #[error("making mounts private: {0}")]
    Private(#[source] Cause),
    /// mount(2), `MS_BIND`, of the base.
    #[error("mounting the base: {0}")]
    Base(#[source] Cause),
    /// `mount_setattr(2)` of the base.
    #[error("making the root read-only: {0}")]
    ReadOnly(#[source] Cause),
    /// mount(2) of a tmpfs.
    #[error("mounting a private {place}: {source}")]
    Memory {
        /// The place in the sandbox.
        place: String,
        /// The cause.
        source: Cause,
    },
    /// mount(2) of `/proc`.
    #[error("mounting /proc: {0}")]
    Proc(#[source] Cause),
    /// stat(2) of the device that masks files.
    #[error("looking at /dev/null: {0}")]
    Null(#[source] Cause),
    /// The device that masks files is another one.
    #[error("/dev/null is another file")]
    NotNull,
    /// mount(2) over a part of `/proc`.
    #[error("masking {}: {source}", path.display())]
    Mask {
        /// The part.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// mount(2) of `/dev/pts`.
    #[error("mounting /dev/pts: {0}")]
    Terminals(#[source] Cause),
    /// A place to mount on, for what the sandbox was given.
    #[error("preparing {}, which the sandbox is to see: {source}", path.display())]
    Place {
        /// The place in the sandbox.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// `move_mount(2)` of what the sandbox was given.
    #[error("mounting {}, which the sandbox is to see: {source}", path.display())]
    Attach {
        /// The place in the sandbox.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// write(2) below `/proc/sys/user`.
    #[error("limiting {name}, which is counted by user: {source}")]
    Quota {
        /// The limit's name.
        name: String,
        /// The cause.
        source: Cause,
    },
    /// chdir(2) to the new root.
    #[error("entering the new root: {0}")]
    EnterNew(#[source] Cause),
    /// `pivot_root(2)`.
    #[error("changing the root: {0}")]
    Pivot(#[source] Cause),
    /// umount2(2) of the old root.
    #[error("leaving the old root: {0}")]
    LeaveOld(#[source] Cause),
    /// chdir(2) to the root.
    #[error("entering the root: {0}")]
    EnterRoot(#[source] Cause),
    /// capset(2).
    #[error("dropping capabilities: {0}")]
    Capabilities(#[source] Cause),
    /// prctl(2), `PR_SET_NO_NEW_PRIVS`.
    #[error("forbidding new privileges: {0}")]
    NewPrivileges(#[source] Cause),
}

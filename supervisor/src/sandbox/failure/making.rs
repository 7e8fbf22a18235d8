//! Why a hand could not make a sandbox.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cause, HoldError, ShareError};

/// Why a hand could not make a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum MakeError {
    /// The order came with other descriptors than it tells of.
    #[error("the order came with {found} descriptors where {expected} belong")]
    Descriptors {
        /// Number of descriptors that came.
        found: usize,
        /// The number that the order tells.
        expected: usize,
    },
    /// read(2) of the names of hosts that the sandbox is given.
    #[error("reading the names of hosts that the sandbox is given: {0}")]
    ReadNames(#[source] Cause),
    /// write(2) of the sandbox's own names of hosts.
    #[error("telling the sandbox its own name in {}: {source}", path.display())]
    WriteNames {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// `open_tree(2)` of that file.
    #[error("taking the file that tells the sandbox its own name: {0}")]
    TakeNames(#[source] Cause),
    /// A path that is not absolute, or leads elsewhere by `..`.
    #[error("{} is no place to mount on in a sandbox", .0.display())]
    NoPlace(PathBuf),
    /// A place to mount on, in the base.
    #[error("preparing {}: {source}", path.display())]
    Place {
        /// The place, as the sandbox sees it.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// The sandbox's commons.
    #[error("entering what is shared of the system: {0}")]
    Commons(#[from] ShareError),
    /// setns(2) to the user and pid namespaces of the parent sandbox.
    #[error("entering the parent sandbox: {0}")]
    Parent(#[source] Cause),
    /// pipe(2) to or from the holder.
    #[error("making a pipe to the holder: {0}")]
    Pipe(#[source] Cause),
    /// socketpair(2) for the holder's descriptor.
    #[error("making a socket to the holder's maker: {0}")]
    Socket(#[source] Cause),
    /// fork(2) of the process that begets the holder.
    #[error("forking the holder's maker: {0}")]
    Fork(#[source] Cause),
    /// recvmsg(2) of the holder's descriptor.
    #[error("hearing of the holder: {0}")]
    Hear(#[source] Cause),
    /// waitpid(2).
    #[error("waiting for the holder's maker: {0}")]
    Wait(#[source] Cause),
    /// The process that begets the holder ended and said nothing.
    #[error("the holder's maker ended without a word")]
    Wordless,
    /// Begetting the holder.
    #[error(transparent)]
    Beget(#[from] BegetError),
    /// The holder's number in the maker's pid namespace.
    #[error("finding the holder's number: {0}")]
    Number(#[source] Cause),
    /// write(2) to a map of users or groups.
    #[error("writing {}: {source}", path.display())]
    Map {
        /// The map.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// write(2) that tells the holder of its maps.
    #[error("waking the holder: {0}")]
    Wake(#[source] Cause),
    /// poll(2).
    #[error("waiting for the holder: {0}")]
    Poll(#[source] Cause),
    /// The holder was ended because its time was up.
    #[error("the holder was not ready within {patience:?}; it was at: {at}")]
    Late {
        /// Time that a holder has.
        patience: Duration,
        /// Name of the holder's step.
        at: String,
    },
    /// read(2) from the holder.
    #[error("hearing from the holder: {0}")]
    Ready(#[source] Cause),
    /// The holder's own steps.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// A process that helped said something that is no error of this build's.
    #[error("a process of the maker's said what cannot be read: {0:?}")]
    Garbled(String),
}

/// Why the fork of a hand could not beget a holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BegetError {
    /// write(2) to `cgroup.procs`.
    #[error("joining the sandbox's cgroup: {0}")]
    Group(#[source] Cause),
    /// setresuid(2) and what belongs to it.
    #[error("becoming user {user}, which owns the sandbox: {source}")]
    Owner {
        /// The user.
        user: u32,
        /// The cause.
        source: Cause,
    },
    /// clone3(2).
    #[error("making the sandbox's namespaces: {0}")]
    Namespaces(#[source] Cause),
    /// sendmsg(2) of the holder's descriptor.
    #[error("passing the holder on: {0}")]
    Pass(#[source] Cause),
}

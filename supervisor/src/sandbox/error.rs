//! Why a sandbox could not be made or used.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::Failure;
use super::order::Answer;
use crate::network::NatError;

/// Why a sandbox could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A control group.
    #[error("making the control group of sandbox {name}: {source}")]
    Group {
        /// The sandbox.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// `open_tree(2)` of a folder or file that it is to see.
    #[error("taking {} for sandbox {name}: {source}", path.display())]
    Take {
        /// The sandbox.
        name: String,
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A step of making it or of starting a program in it.
    #[error("making sandbox {name}: {source}")]
    Failed {
        /// The sandbox.
        name: String,
        /// The cause.
        source: Failure,
    },
    /// The hand ended and said nothing.
    #[error("making sandbox {name}: the process that carried the order out ended without a word")]
    Wordless {
        /// The sandbox.
        name: String,
    },
    /// The maker's answer is of another order's kind.
    #[error("making sandbox {name}: the maker's answer does not fit the order: {answer:?}")]
    Unexpected {
        /// The sandbox.
        name: String,
        /// The answer.
        answer: Box<Answer>,
    },
    /// open(2) of the host's mount namespace.
    #[error("opening the host's mount namespace: {0}")]
    HostNamespace(#[source] io::Error),
    /// socketpair(2) for an order, or for a holder's reports.
    #[error("making a socket for a sandbox: {0}")]
    Socket(#[source] io::Error),
    /// An order that cannot be written as JSON.
    #[error("writing an order: {0}")]
    Encode(#[source] serde_json::Error),
    /// sendmsg(2) to the process that makes sandboxes.
    #[error("the process that makes sandboxes takes no order: {0}; restart the supervisor")]
    Send(#[source] io::Error),
    /// recvmsg(2) from the process that makes sandboxes.
    #[error("the process that makes sandboxes does not answer: {0}; restart the supervisor")]
    Receive(#[source] io::Error),
    /// The answer is no JSON of this build's.
    #[error(
        "the process that makes sandboxes answers what cannot be read: {0}; restart the supervisor"
    )]
    Decode(#[source] serde_json::Error),
    /// A holder's reports.
    #[error("following the reports of a sandbox: {0}")]
    Follow(#[source] io::Error),
    /// The sandbox's network.
    #[error(transparent)]
    Nat(#[from] NatError),
    /// The file that tells a sandbox the resolver of the network of functions.
    #[error("taking resolv.conf of the network of functions: {0}")]
    Resolver(#[source] io::Error),
    /// The process that makes sandboxes hangs.
    #[error("the process that makes sandboxes did not answer within {0:?}; restart the supervisor")]
    Silent(Duration),
    /// No sandbox is made any more.
    #[error("the supervisor is stopping")]
    Stopping,
    /// No user number is free.
    #[error("all {0} user numbers for sandboxes are in use; evict some sandboxes")]
    Users(u32),
}

/// Why a sandbox could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// `pidfd_send_signal(2)` to the holder.
    #[error("killing the holder of sandbox {name}: {source}")]
    Kill {
        /// The sandbox.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// poll(2) of the holder's pidfd.
    #[error("waiting for the end of sandbox {name}: {source}")]
    Wait {
        /// The sandbox.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// The processes go on.
    #[error("the processes of sandbox {name} have not ended within {patience:?} of being killed")]
    Late {
        /// The sandbox.
        name: String,
        /// Time that they had.
        patience: Duration,
    },
    /// rmdir(2) of its control group.
    #[error("removing the control group of sandbox {name}: {source}")]
    Group {
        /// The sandbox.
        name: String,
        /// The cause.
        source: io::Error,
    },
}

impl From<EndError> for io::Error {
    fn from(error: EndError) -> Self {
        Self::other(error)
    }
}

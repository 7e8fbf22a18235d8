//! Why an order failed, as the maker tells the supervisor.
//!
//! Each process that has a part in an order has an enum of its own, with one variant for each system call or act. An
//! error crosses from process to process as JSON and keeps its variant, its paths and its error number.

mod holding;
mod launching;
mod making;
mod sharing;

use std::fmt;
use std::io;
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub use holding::HoldError;
pub use launching::{LaunchError, ProgramError};
pub use making::{BegetError, MakeError};
pub use sharing::ShareError;

/// Why an order failed. Nothing of it is left then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The hand was ended because its time was up.
    #[error("the process that carries the order out was not done within {0:?}")]
    Late(Duration),
    /// fork(2) of a hand.
    #[error("forking a process that carries the order out: {0}")]
    Fork(#[source] Cause),
    /// recvmsg(2) of the order.
    #[error("receiving the order: {0}")]
    Receive(#[source] Cause),
    /// The supervisor closed the socket without an order.
    #[error("the supervisor has sent no order")]
    Missing,
    /// The order is no JSON of this build's.
    #[error("the order cannot be read: {0}")]
    Unreadable(String),
    /// Making a sandbox.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// Starting a program.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Making a commons.
    #[error("making what is shared of the system: {0}")]
    Share(#[source] ShareError),
    /// Bringing what sandboxes see of the system up to date.
    #[error("refreshing what is seen of the system: {0}")]
    Refresh(#[source] ShareError),
}

/// Why a system call failed, in a form that crosses between processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The kernel's error number.
    Number(i32),
    /// An error that has no number.
    Text(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => io::Error::from_raw_os_error(*number).fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Cause {}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::Text(error.to_string()), Self::Number)
    }
}

impl From<Errno> for Cause {
    fn from(error: Errno) -> Self {
        Self::Number(error as i32)
    }
}

/// Turns the error of a system call into the variant that says what the call was for.
pub fn because<E: Into<Cause>, F>(variant: impl FnOnce(Cause) -> F) -> impl FnOnce(E) -> F {
    |error| variant(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_kind_and_its_number_on_its_way() {
        let refused: io::Result<()> = Err(Errno::EPERM.into());
        let refused = refused.map_err(because(MakeError::Parent)).unwrap_err();
        let failure = Failure::from(refused);
        let told = serde_json::to_vec(&failure).unwrap();
        let heard: Failure = serde_json::from_slice(&told).unwrap();
        assert_eq!(heard, Failure::Make(MakeError::Parent(Cause::Number(Errno::EPERM as i32))));
        let text = "entering the parent sandbox: Operation not permitted (os error 1)";
        assert_eq!(heard.to_string(), text);
    }

    #[test]
    fn an_error_without_a_number_keeps_its_text() {
        assert_eq!(Cause::from(io::Error::other("no number")), Cause::Text("no number".to_owned()));
    }
}

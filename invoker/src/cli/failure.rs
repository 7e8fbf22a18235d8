//! Failures of verbs, and their exit codes.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use pipsqueak::client::ClientError;
use pipsqueak::settings::SettingsError;
use pipsqueak::wire::{FaultKind, FrameError};

/// The exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The function failed, or a check has found something.
    Failed = 1,
    /// Wrong usage or bad input.
    BadInput = 2,
    /// No supervisor.
    NoSupervisor = 3,
    /// No such thing.
    NotFound = 4,
    /// Refused for limits: timeout, memory, queue full.
    Refused = 5,
    /// A fault of Pipsqueak's own, or of its machine.
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Failure of a verb.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No answer, or a bad one.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Flags, variables or the configuration file.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Something that was typed or named.
    #[error("{0}")]
    Input(String),
    /// The event is too long.
    #[error("the payload is over the limit of {0} bytes")]
    PayloadTooLong(u64),
    /// The supervisor answered another question.
    #[error("the supervisor gave an answer of another kind; see its log, pipsqueakd.log")]
    WrongReply,
    /// The supervisor did not start, and said why or left a log.
    #[error("{message}")]
    Start {
        /// The exit code that the supervisor gave.
        exit: Exit,
        /// The message of the supervisor.
        message: String,
    },
    /// The supervisor did not stop.
    #[error("process {pid} has not ended {seconds} s after it was told to; see its log, {}", log.display())]
    StillRunning {
        /// The supervisor.
        pid: u32,
        /// The time that the client has waited, in seconds.
        seconds: u16,
        /// The supervisor's log.
        log: PathBuf,
    },
    /// A call to the operating system.
    #[error("{step}: {source}")]
    System {
        /// The step, and its object.
        step: String,
        /// The error of the call.
        source: io::Error,
    },
}

impl Failure {
    /// A function for `map_err`, which names the step that the operating system refused.
    pub fn system<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |error| Self::System { step: step.into(), source: error.into() }
    }

    /// The exit code that tells the failure to scripts.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => exit_of(error),
            Self::Settings(_) | Self::Input(_) => Exit::BadInput,
            Self::PayloadTooLong(_) => Exit::Refused,
            Self::Start { exit, .. } => *exit,
            Self::WrongReply | Self::StillRunning { .. } | Self::System { .. } => Exit::Internal,
        }
    }
}

fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::NoSupervisor { .. } => Exit::NoSupervisor,
        ClientError::Denied { .. } | ClientError::Body(_) => Exit::BadInput,
        ClientError::Request(FrameError::TooLong(_)) => Exit::Refused,
        ClientError::Fault(fault) => match fault.kind {
            FaultKind::BadInput => Exit::BadInput,
            FaultKind::NotFound => Exit::NotFound,
            FaultKind::Refused => Exit::Refused,
            FaultKind::Internal => Exit::Internal,
        },
        ClientError::Connect { .. }
        | ClientError::Untrusted { .. }
        | ClientError::Request(_)
        | ClientError::Broken(_)
        | ClientError::Result(_)
        | ClientError::Ended
        | ClientError::Malformed(_)
        | ClientError::Refusal(_) => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use pipsqueak::wire::Fault;

    use super::*;

    #[test]
    fn every_failure_has_the_exit_code_of_the_contract() {
        let fault = |kind| ClientError::Fault(Fault { kind, message: String::new() });
        let socket = PathBuf::new;
        for (error, code) in [
            (fault(FaultKind::BadInput), 2),
            (ClientError::NoSupervisor { socket: socket() }, 3),
            (fault(FaultKind::NotFound), 4),
            (fault(FaultKind::Refused), 5),
            (ClientError::Request(FrameError::TooLong(1 << 30)), 5),
            (fault(FaultKind::Internal), 70),
            (ClientError::Ended, 70),
            (ClientError::Untrusted { socket: socket(), uid: 1 }, 70),
        ] {
            assert_eq!(exit_of(&error) as u8, code, "{error}");
        }
        assert_eq!(Failure::Input(String::new()).exit(), Exit::BadInput);
        assert_eq!(Failure::PayloadTooLong(1).exit(), Exit::Refused);
        assert_eq!(Failure::WrongReply.exit(), Exit::Internal);
    }
}

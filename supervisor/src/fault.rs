//! Faults that clients are told: the kind of each error, decided in one place.

use pipsqueak::wire::{Fault, FaultKind};
use pipsqueak_fs::RepositoryError;

use crate::containers::ContainersError;
use crate::deployment::{DeployError, FunctionsError};
use crate::environment::EnvironmentsError;
use crate::events::EventsError;
use crate::worker::StartError;
use crate::zygote::GiveError;

/// A fault of Pipsqueak or of its machine.
pub fn internal(error: impl std::fmt::Display) -> Fault {
    Fault { kind: FaultKind::Internal, message: error.to_string() }
}

impl From<FunctionsError> for Fault {
    fn from(error: FunctionsError) -> Self {
        let kind = match &error {
            FunctionsError::Unknown(_) => FaultKind::NotFound,
            FunctionsError::Invalid(_) | FunctionsError::Deploy(DeployError::Source(_)) => {
                FaultKind::BadInput
            }
            FunctionsError::Deploy(DeployError::Copy(..))
            | FunctionsError::Sealed(_)
            | FunctionsError::Record { .. } => FaultKind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}

impl From<EventsError> for Fault {
    fn from(error: EventsError) -> Self {
        let kind = match &error {
            EventsError::Unknown(_) => FaultKind::NotFound,
            EventsError::State { .. } => FaultKind::BadInput,
            EventsError::Full { .. } => FaultKind::Refused,
            EventsError::Database { .. }
            | EventsError::File { .. }
            | EventsError::Sealed(_)
            | EventsError::Newer { .. }
            | EventsError::Cut(_) => FaultKind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}

impl From<StartError> for Fault {
    fn from(error: StartError) -> Self {
        let kind = match &error {
            StartError::Memory { .. } => FaultKind::Refused,
            StartError::Sandbox(_)
            | StartError::Mount { .. }
            | StartError::Limit { .. }
            | StartError::Channel { .. } => FaultKind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}

impl From<GiveError> for Fault {
    fn from(error: GiveError) -> Self {
        match error {
            GiveError::Environments(error) => error.into(),
            GiveError::Given(_) | GiveError::Apart(_) => {
                Self { kind: FaultKind::BadInput, message: error.to_string() }
            }
        }
    }
}

impl From<ContainersError> for Fault {
    fn from(error: ContainersError) -> Self {
        match error {
            ContainersError::Environment(error) => error.into(),
            other => internal(other),
        }
    }
}

impl From<EnvironmentsError> for Fault {
    fn from(error: EnvironmentsError) -> Self {
        let kind = match &error {
            EnvironmentsError::Unknown(_)
            | EnvironmentsError::Repository(RepositoryError::Unknown(_)) => FaultKind::NotFound,
            EnvironmentsError::Busy(_) => FaultKind::Refused,
            EnvironmentsError::Interpreter { .. }
            | EnvironmentsError::Version { .. }
            | EnvironmentsError::Elsewhere { .. } => FaultKind::BadInput,
            EnvironmentsError::Add(error) if error.is_bad_input() => FaultKind::BadInput,
            EnvironmentsError::Add(_)
            | EnvironmentsError::Repository(_)
            | EnvironmentsError::Io { .. } => FaultKind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}

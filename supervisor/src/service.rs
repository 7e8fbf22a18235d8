//! The service manager: systemd, or another that speaks its protocol.
//!
//! The supervisor tells the manager its state (`sd_notify(3)`). The manager keeps descriptors from one
//! process of the supervisor to the next (`sd_pid_notify_with_fds(3)`, `sd_listen_fds(3)`).

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use pipsqueak_kernel::clone::OneThread;
use pipsqueak_kernel::{descriptor, variables};

/// The first descriptor that a manager gives to a program.
const FIRST: RawFd = 3;
/// Longest wait until the manager has room for a message.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reason that the supervisor cannot talk to the manager.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A variable that the manager has set cannot be understood.
    #[error("{name} is {value:?}, which cannot be understood")]
    Variable {
        /// The variable's name.
        name: &'static str,
        /// The variable's value.
        value: OsString,
    },
    /// A descriptor that the manager should have given is missing.
    #[error("the service manager says that it gave descriptor {number}: {error}")]
    Descriptor {
        /// The descriptor's number.
        number: RawFd,
        /// The error of the call.
        error: io::Error,
    },
    /// The manager's socket failed.
    #[error("telling the service manager {message:?}: {error}")]
    Tell {
        /// The message for the manager.
        message: String,
        /// The error of the call.
        error: io::Error,
    },
}

/// A descriptor that the manager has kept.
#[derive(Debug)]
pub struct Stored {
    /// The name under which it was stored.
    pub name: String,
    /// The descriptor, close-on-exec.
    pub descriptor: OwnedFd,
}

/// The service manager of this process, if it has one. Without a manager, messages are dropped without
/// an error.
#[derive(Debug, Default)]
pub struct Service {
    manager: Option<Manager>,
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: UnixAddr,
}

impl Service {
    /// The manager that the variables of this process name, and the descriptors that it has given. The
    /// variables are removed, so that no child process has them.
    pub fn of_process(alone: OneThread) -> Result<(Self, Vec<Stored>), ServiceError> {
        let [socket, interval, watched, count, names, given_to] = [
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
            "LISTEN_PID",
        ]
        .map(|name| variables::take(alone, name).map(|value| (name, value)));
        let is_own = |pid: Option<Variable>| {
            Ok(number(pid)?.is_none_or(|pid| pid == u64::from(std::process::id())))
        };
        let manager = socket.map(Manager::at).transpose()?;
        let interval = number(interval)?.filter(|micros| *micros > 0);
        let watchdog = if is_own(watched)? { interval.map(Duration::from_micros) } else { None };
        // The descriptors may be meant for another process, if a parent has passed its variables on.
        let count = if given_to.is_some() && is_own(given_to)? { number(count)? } else { None };
        let stored = given(count.unwrap_or_default(), names)?;
        Ok((Self { manager, watchdog }, stored))
    }

    /// True if there is a manager.
    pub fn is_there(&self) -> bool {
        self.manager.is_some()
    }

    /// Longest time between two messages that all is well; `None` if the manager wants none.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells that requests are served, with a status for people.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// Tells that the end has begun, with a status for people.
    pub fn stopping(&self, status: &str) {
        self.say(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// Tells that all is well.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// Gives the manager a copy of a descriptor, for the next process of this service. The name has
    /// letters, digits and dashes.
    pub fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) -> Result<(), ServiceError> {
        self.tell(&format!("FDSTORE=1\nFDNAME={name}"), &[descriptor.as_raw_fd()])
    }

    /// Lets the manager close the descriptors that it keeps under a name.
    pub fn forget(&self, name: &str) -> Result<(), ServiceError> {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])
    }

    fn say(&self, message: &str) {
        if let Err(error) = self.tell(message, &[]) {
            tracing::warn!(%error, "the service manager does not know how this is");
        }
    }

    fn tell(&self, message: &str, with: &[RawFd]) -> Result<(), ServiceError> {
        let Some(Manager { socket, address }) = &self.manager else { return Ok(()) };
        let body = [IoSlice::new(message.as_bytes())];
        let rights = [ControlMessage::ScmRights(with)];
        let controls: &[ControlMessage<'_>] = if with.is_empty() { &[] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg(socket.as_raw_fd(), &body, controls, flags, Some(address)) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => {
                    let (message, error) = (message.to_owned(), error.into());
                    return Err(ServiceError::Tell { message, error });
                }
            }
        }
    }
}

impl Manager {
    fn at(variable: Variable) -> Result<Self, ServiceError> {
        let (name, value) = variable;
        let address = match value.as_bytes() {
            [b'@', rest @ ..] => UnixAddr::new_abstract(rest).ok(),
            path @ [b'/', ..] => UnixAddr::new(path).ok(),
            _ => None,
        };
        let address = address.ok_or(ServiceError::Variable { name, value })?;
        let failed = |error| ServiceError::Tell { message: String::new(), error };
        let socket = UnixDatagram::unbound().map_err(failed)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Self { socket, address })
    }
}

type Variable = (&'static str, OsString);

fn number(variable: Option<Variable>) -> Result<Option<u64>, ServiceError> {
    let Some((name, value)) = variable else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.map(Some).ok_or(ServiceError::Variable { name, value })
}

/// Takes over `count` descriptors, whose names are separated by colons.
fn given(count: u64, names: Option<Variable>) -> Result<Vec<Stored>, ServiceError> {
    let names = names.map(|(_, names)| names.to_string_lossy().into_owned()).unwrap_or_default();
    let mut names = names.split(':');
    let numbers = (FIRST..).zip(0..count);
    let stored = numbers.map(|(number, _)| {
        let descriptor = descriptor::inherited(number)
            .map_err(|error| ServiceError::Descriptor { number, error })?;
        Ok(Stored { name: names.next().unwrap_or_default().to_owned(), descriptor })
    });
    stored.collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn service(socket: &str) -> Result<Service, ServiceError> {
        let manager = Manager::at(("NOTIFY_SOCKET", socket.into()))?;
        Ok(Service { manager: Some(manager), watchdog: None })
    }

    #[test]
    fn a_manager_is_told_what_it_understands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let service = service(path.to_str().unwrap()).unwrap();
        let mut buffer = [0; 200];
        let mut hear = || {
            let length = heard.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        service.ready("serving");
        assert_eq!(hear(), "READY=1\nSTATUS=serving");
        service.alive();
        assert_eq!(hear(), "WATCHDOG=1");
        service.keep("a-1", heard.as_fd()).unwrap();
        assert_eq!(hear(), "FDSTORE=1\nFDNAME=a-1");
        service.forget("a-1").unwrap();
        assert_eq!(hear(), "FDSTOREREMOVE=1\nFDNAME=a-1");
        drop(heard);
        assert!(matches!(service.forget("a-1"), Err(ServiceError::Tell { .. })));
    }

    #[test]
    fn no_manager_hears_nothing_and_odd_ones_are_refused() {
        let nobody = Service::default();
        nobody.stopping("stopping");
        nobody.forget("a").unwrap();
        assert!(!nobody.is_there());
        assert!(service("@abstract").unwrap().is_there());
        for odd in ["", "relative", "vsock:2:1"] {
            assert!(matches!(service(odd), Err(ServiceError::Variable { .. })), "{odd}");
        }
        let odd = number(Some(("WATCHDOG_USEC", "soon".into()))).unwrap_err();
        assert_eq!(odd.to_string(), "WATCHDOG_USEC is \"soon\", which cannot be understood");
    }
}

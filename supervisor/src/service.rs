//! The service manager: systemd, or another that speaks its protocol.
//!
//! It is told how the supervisor is (`sd_notify(3)`), and keeps descriptors for it from one of its
//! lives to the next (`sd_pid_notify_with_fds(3)`, `sd_listen_fds(3)`).

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
/// How long the manager may take to make room for a message.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no talking to the manager.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A variable that it has set.
    #[error("{name} is {value:?}, which cannot be understood")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What it says.
        value: OsString,
    },
    /// A descriptor that it should have given.
    #[error("the service manager says that it gave descriptor {number}: {error}")]
    Descriptor {
        /// Its number.
        number: RawFd,
        /// Why it cannot be had.
        error: io::Error,
    },
    /// Its socket.
    #[error("telling the service manager {message:?}: {error}")]
    Tell {
        /// What it was to be told.
        message: String,
        /// Why it could not be.
        error: io::Error,
    },
}

/// A descriptor that the manager has kept.
#[derive(Debug)]
pub struct Stored {
    /// The name under which it was stored.
    pub name: String,
    /// Itself, close-on-exec.
    pub descriptor: OwnedFd,
}

/// The manager of this process, if it has one. Telling what nobody hears is no error.
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
    /// What the variables of this process say, and what it was given. No process that it starts has
    /// those variables.
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
        // The variables of a manager that is further up are for somebody else.
        let count = if given_to.is_some() && is_own(given_to)? { number(count)? } else { None };
        let stored = given(count.unwrap_or_default(), names)?;
        Ok((Self { manager, watchdog }, stored))
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.manager.is_some()
    }

    /// How often it wants to be told that all is well, at least; `None` where it does not care.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Says that requests are served, and what else there is to say.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// Says that the end has begun.
    pub fn stopping(&self, status: &str) {
        self.say(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// Says that all is well.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// Gives it a copy of a descriptor, which the next process of this service is started with. Names
    /// are of letters, digits and dashes.
    pub fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) -> Result<(), ServiceError> {
        self.tell(&format!("FDSTORE=1\nFDNAME={name}"), &[descriptor.as_raw_fd()])
    }

    /// Lets it close what it keeps under a name.
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

/// Takes over so many descriptors, whose names are separated by colons.
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

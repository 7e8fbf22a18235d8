//! Starting a program in a sandbox, from outside: what an interpreter without a zygote goes
//! through, and every installing or resolving job.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::prctl;
use nix::unistd::{chdir, execve};
use pipsqueak_kernel::clone::{OneThread, Side};
use pipsqueak_kernel::{arrival, descriptor, message, pidfd, privilege};

use super::confine::{self, Filters};
use crate::sandbox::order::{Answer, ProcessOrder, Standing};

/// Longest reason why a program was not started, in bytes.
const MAX_REASON_BYTES: usize = 4 << 10;

/// In a hand of the maker: starts the program; its number, its pidfd, and of a zygote where it asks whether it may
/// enter its children's sandboxes.
pub fn launch(
    alone: OneThread,
    filters: &Filters,
    order: &ProcessOrder,
    mut descriptors: Vec<OwnedFd>,
) -> Result<(Answer, Vec<OwnedFd>), String> {
    if descriptors.len() < 1 + order.memberships + 3 {
        return Err(format!("only {} descriptors for a process", descriptors.len()));
    }
    let inherited = descriptors.split_off(1 + order.memberships);
    let memberships = descriptors.split_off(1);
    let holder = descriptors.remove(0);
    let program = Program::prepare(order)?;

    let tell = |step: &'static str| move |error: io::Error| format!("{step}: {error}");
    // First: inside the sandbox's cgroup namespace there is nothing above it to come from.
    for membership in memberships {
        File::from(membership).write_all(b"0").map_err(tell("joining the sandbox's cgroup"))?;
    }
    privilege::join(holder.as_fd(), order.own_network)
        .map_err(tell("joining the sandbox's namespaces"))?;
    // Joining what another user owns makes a process and its forks unreadable, which cannot be traced then.
    prctl::set_dumpable(true).map_err(|error| format!("becoming readable: {error}"))?;
    let (near, far) = UnixStream::pair().map_err(tell("socketpair"))?;
    let is_zygote = order.standing == Standing::Zygote;
    match alone.fork().map_err(tell("forking"))? {
        Side::Child => {
            // Until it is traced.
            if is_zygote {
                let _ = message::receive(far.as_fd(), 0);
            }
            let inherited: Vec<BorrowedFd<'_>> = inherited.iter().map(AsFd::as_fd).collect();
            let first_free = i32::try_from(inherited.len()).unwrap_or(i32::MAX);
            let moved = descriptor::arrange(&inherited, Some(far.as_fd()))
                .and_then(|()| descriptor::inherited(first_free));
            if let Ok(telling) = moved {
                let Err((step, error)) = program.start(order, filters, telling.as_fd());
                let _ = message::send(telling.as_fd(), format!("{step}: {error}").as_bytes(), &[]);
            }
            std::process::exit(127);
        }
        Side::Parent(pid) => {
            drop(far);
            let process = pidfd::open(pid).map_err(tell("opening the program's process"))?;
            let mut answered = vec![process];
            let hear = || {
                message::receive(near.as_fd(), MAX_REASON_BYTES)
                    .map_err(tell("hearing from the program"))
            };
            if is_zygote {
                arrival::await_exec(pid).map_err(tell("tracing the program"))?;
                message::send(near.as_fd(), b"", &[]).map_err(tell("waking the program"))?;
                let mut told = hear()?.ok_or("the program ended without a word")?;
                answered.extend(told.descriptors.pop());
                refused(&told.body)?;
            }
            if let Some(told) = hear()? {
                refused(&told.body)?;
            }
            if is_zygote {
                arrival::give_owner(pid).map_err(tell("taking the program's capability away"))?;
            }
            Ok((Answer::Process { pid: pid.as_raw() }, answered))
        }
    }
}

/// What a program says that could not be started.
fn refused(reason: &[u8]) -> Result<(), String> {
    if reason.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(reason).into_owned()) }
}

/// A program whose strings are ready for exec.
struct Program {
    arguments: Vec<CString>,
    variables: Vec<CString>,
    directory: std::path::PathBuf,
}

impl Program {
    fn prepare(order: &ProcessOrder) -> Result<Self, String> {
        let c_string =
            |text: &str| CString::new(text).map_err(|_| format!("{text:?} holds a zero byte"));
        Ok(Self {
            arguments: order.arguments.iter().map(|a| c_string(a)).collect::<Result<_, _>>()?,
            variables: order
                .variables
                .iter()
                .map(|(name, value)| c_string(&format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
            directory: order.directory.clone(),
        })
    }

    /// Becomes the program. Returns only the step that failed.
    fn start(
        &self,
        order: &ProcessOrder,
        filters: &Filters,
        telling: BorrowedFd<'_>,
    ) -> Result<std::convert::Infallible, (&'static str, io::Error)> {
        let program = self
            .arguments
            .first()
            .ok_or_else(|| ("starting the program", io::ErrorKind::InvalidInput.into()))?;
        let user = order.user;
        confine::limit_resources().map_err(|error| ("limiting resources", error))?;
        let is_zygote = order.standing == Standing::Zygote;
        let give_up =
            if is_zygote { privilege::become_user_for_now } else { privilege::become_user };
        give_up(user, user).map_err(|error| ("giving up privileges", error))?;
        chdir(&self.directory).map_err(|error| ("entering the working directory", error.into()))?;
        confine::restrict_files(order.standing)
            .map_err(|error| ("restricting what files can be changed", error))?;
        let listener = filters
            .install(order.standing)
            .map_err(|error| ("installing the filter of system calls", error))?;
        if let Some(listener) = listener {
            message::send(telling, b"", &[listener.as_fd()])
                .map_err(|error| ("sending where it asks", error))?;
        }
        execve(program, &self.arguments, &self.variables)
            .map_err(|error| ("executing the program", error.into()))
    }
}

//! Starting a program in a sandbox, from outside: what an interpreter without a zygote goes
//! through, and every installing or resolving job.

use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::prctl;
use nix::unistd::{Pid, chdir, execve};
use pipsqueak_kernel::clone::{OneThread, Side};
use pipsqueak_kernel::{arrival, descriptor, message, pidfd, privilege};

use super::confine::{self, Filters};
use super::making::join;
use crate::sandbox::failure::{LaunchError, ProgramError, because};
use crate::sandbox::order::{Answer, ProcessOrder, Standing};

/// Longest error of a program's process, in bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// In a hand of the maker: starts the program; its number, its pidfd, and of a zygote the descriptor on which it asks
/// whether it may enter its children's sandboxes.
pub fn launch(
    alone: OneThread,
    filters: &Filters,
    order: &ProcessOrder,
    mut descriptors: Vec<OwnedFd>,
) -> Result<(Answer, Vec<OwnedFd>), LaunchError> {
    if descriptors.len() < 1 + order.memberships + 3 {
        return Err(LaunchError::Descriptors(descriptors.len()));
    }
    let inherited = descriptors.split_off(1 + order.memberships);
    let memberships = descriptors.split_off(1);
    let holder = descriptors.remove(0);
    let program = Program::prepare(order)?;
    // First: inside the sandbox's cgroup namespace there is nothing above it to come from.
    for membership in memberships {
        join(membership.as_fd()).map_err(because(LaunchError::Group))?;
    }
    privilege::join(holder.as_fd(), order.own_network).map_err(because(LaunchError::Namespaces))?;
    // After that: joining what another user owns makes a process and its forks unreadable, which cannot be traced then.
    prctl::set_dumpable(true).map_err(because(LaunchError::Readable))?;
    let (near, far) = UnixStream::pair().map_err(because(LaunchError::Socket))?;
    // The fork comes last: it alone is in the sandbox's pid namespace.
    match alone.fork().map_err(because(LaunchError::Fork))? {
        Side::Child => program.run(order, filters, &inherited, &far),
        Side::Parent(pid) => {
            drop(far);
            let with = await_start(pid, &near, order.standing == Standing::Zygote)?;
            Ok((Answer::Process { pid: pid.as_raw() }, with))
        }
    }
}

/// Waits until a program was executed; the pidfd of its process, and a zygote's listener.
fn await_start(
    pid: Pid,
    process: &UnixStream,
    is_zygote: bool,
) -> Result<Vec<OwnedFd>, LaunchError> {
    let mut with = vec![pidfd::open(pid).map_err(because(LaunchError::Open))?];
    let hear = || {
        let said = message::receive(process.as_fd(), MAX_ERROR_BYTES);
        said.map_err(because(LaunchError::Hear))
    };
    if is_zygote {
        // Before it is woken, so that its exec is seen.
        arrival::await_exec(pid).map_err(because(LaunchError::Trace))?;
        message::send(process.as_fd(), b"", &[]).map_err(because(LaunchError::Wake))?;
        let mut said = hear()?.ok_or(LaunchError::Wordless)?;
        with.extend(said.descriptors.pop());
        refused(&said.body)?;
    }
    // The exec closes its end.
    if let Some(said) = hear()? {
        refused(&said.body)?;
    }
    if is_zygote {
        // After the exec, which it had to survive.
        arrival::give_owner(pid).map_err(because(LaunchError::Owner))?;
    }
    Ok(with)
}

/// The error in a message of a program's process, if it has one.
fn refused(said: &[u8]) -> Result<(), LaunchError> {
    if said.is_empty() {
        return Ok(());
    }
    Err(serde_json::from_slice::<ProgramError>(said).map_or_else(
        |_| LaunchError::Garbled(String::from_utf8_lossy(said).into_owned()),
        LaunchError::from,
    ))
}

/// A program whose strings are ready for exec.
struct Program {
    path: CString,
    arguments: Vec<CString>,
    variables: Vec<CString>,
}

impl Program {
    fn prepare(order: &ProcessOrder) -> Result<Self, LaunchError> {
        let zero = |error: NulError| {
            LaunchError::Zero(String::from_utf8_lossy(&error.into_vec()).into_owned())
        };
        let arguments = order.arguments.iter().map(|argument| CString::new(argument.as_str()));
        let arguments: Vec<_> = arguments.collect::<Result<_, _>>().map_err(zero)?;
        let variables =
            order.variables.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
        Ok(Self {
            path: arguments.first().cloned().ok_or(LaunchError::NoProgram)?,
            arguments,
            variables: variables.collect::<Result<_, _>>().map_err(zero)?,
        })
    }

    /// In the program's process: becomes the program, or tells the hand why not.
    fn run(
        &self,
        order: &ProcessOrder,
        filters: &Filters,
        inherited: &[OwnedFd],
        hand: &UnixStream,
    ) -> ! {
        if order.standing == Standing::Zygote {
            // Until it is traced.
            let _ = message::receive(hand.as_fd(), 0);
        }
        let inherited: Vec<BorrowedFd<'_>> = inherited.iter().map(AsFd::as_fd).collect();
        let first_free = i32::try_from(inherited.len()).unwrap_or(i32::MAX);
        let moved = descriptor::arrange(&inherited, Some(hand.as_fd()))
            .and_then(|()| descriptor::inherited(first_free));
        if let Ok(hand) = moved {
            let Err(error) = self.start(order, filters, hand.as_fd());
            let said = serde_json::to_vec(&error).unwrap_or_default();
            let _ = message::send(hand.as_fd(), &said, &[]);
        }
        std::process::exit(127);
    }

    /// Becomes the program. Returns only the step that failed.
    fn start(
        &self,
        order: &ProcessOrder,
        filters: &Filters,
        hand: BorrowedFd<'_>,
    ) -> Result<Infallible, ProgramError> {
        confine::limit_resources().map_err(because(ProgramError::Limits))?;
        let is_zygote = order.standing == Standing::Zygote;
        let give_up =
            if is_zygote { privilege::become_user_for_now } else { privilege::become_user };
        give_up(order.user, order.user).map_err(because(ProgramError::Privileges))?;
        // As the user, who may be kept out of a directory.
        chdir(&order.directory).map_err(|error| ProgramError::Directory {
            path: order.directory.clone(),
            source: error.into(),
        })?;
        // After the privileges: the kernel lets a process restrict itself that can gain none.
        confine::restrict_files(order.standing).map_err(because(ProgramError::Files))?;
        // The filter comes last, because it forbids some of what comes before it.
        let listener = filters.install(order.standing).map_err(because(ProgramError::Filter))?;
        if let Some(listener) = listener {
            message::send(hand, b"", &[listener.as_fd()])
                .map_err(because(ProgramError::Listener))?;
        }
        execve(&self.path, &self.arguments, &self.variables).map_err(|error| ProgramError::Exec {
            program: self.path.to_string_lossy().into_owned(),
            source: error.into(),
        })
    }
}

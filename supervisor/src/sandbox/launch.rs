//! Starting a program in a sandbox, from outside: what an interpreter without a zygote goes
//! through, and every installing or resolving job.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::{chdir, execve};
use pipsqueak_kernel::clone::{OneThread, Side};
use pipsqueak_kernel::{descriptor, pidfd, privilege};

use super::confine::{self, Filters};
use super::order::{Answer, ProcessOrder};

/// In a hand of the maker: starts the program; its number and pidfd.
pub fn launch(
    alone: OneThread,
    filters: &Filters,
    order: &ProcessOrder,
    mut descriptors: Vec<OwnedFd>,
) -> Result<(Answer, OwnedFd), String> {
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
    let (mut failed, failing) = io::pipe().map_err(tell("pipe"))?;
    match alone.fork().map_err(tell("forking"))? {
        Side::Child => {
            let inherited: Vec<BorrowedFd<'_>> = inherited.iter().map(AsFd::as_fd).collect();
            let first_free = i32::try_from(inherited.len()).unwrap_or(i32::MAX);
            let moved = descriptor::arrange(&inherited, Some(failing.as_fd()))
                .and_then(|()| descriptor::inherited(first_free));
            if let Ok(failing) = moved {
                let Err((step, error)) = program.start(order, filters);
                let _ = write!(File::from(failing), "{step}: {error}");
            }
            std::process::exit(127);
        }
        Side::Parent(pid) => {
            drop(failing);
            let mut reason = String::new();
            failed.read_to_string(&mut reason).map_err(tell("hearing from the program"))?;
            if !reason.is_empty() {
                return Err(reason);
            }
            let process = pidfd::open(pid).map_err(tell("opening the program's process"))?;
            Ok((Answer::Process { pid: pid.as_raw() }, process))
        }
    }
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
    ) -> Result<std::convert::Infallible, (&'static str, io::Error)> {
        let program = self
            .arguments
            .first()
            .ok_or_else(|| ("starting the program", io::ErrorKind::InvalidInput.into()))?;
        let user = order.user;
        confine::limit_resources().map_err(|error| ("limiting resources", error))?;
        privilege::become_user(user, user).map_err(|error| ("giving up privileges", error))?;
        chdir(&self.directory).map_err(|error| ("entering the working directory", error.into()))?;
        confine::restrict_files(order.standing)
            .map_err(|error| ("restricting what files can be changed", error))?;
        filters
            .install(order.standing)
            .map_err(|error| ("installing the filter of system calls", error))?;
        execve(program, &self.arguments, &self.variables)
            .map_err(|error| ("executing the program", error.into()))
    }
}

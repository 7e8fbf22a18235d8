//! Making a sandbox, in a hand: from an order to a holder that says that all is ready.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, write};
use pipsqueak_kernel::clone::{self, OneThread, Side};
use pipsqueak_kernel::{message, pidfd, privilege};

use super::holder::{self, Holding};
use super::hosts::Names;
use super::{layout, shared};
use crate::sandbox::failure::{BegetError, HoldError, MakeError, because};
use crate::sandbox::order::{Answer, SandboxOrder};

/// Time that a hand waits for a holder: less than the hand has itself, so that it can still name the holder's step.
const HOLDER_PATIENCE: Duration = Duration::from_secs(8);
/// Longest error of the process that begets a holder, in bytes.
const MAX_ERROR_BYTES: usize = 4096;

/// Makes a sandbox; the answer, and its holder's pidfd.
pub fn make_sandbox(
    alone: OneThread,
    mut order: SandboxOrder,
    descriptors: Vec<OwnedFd>,
) -> Result<(Answer, Vec<OwnedFd>), MakeError> {
    let mut given = Given::sort(&order, descriptors)?;
    // First, because only here, outside of any commons, can files and folders be added to the base. The file of names
    // goes at the end, and what is mounted of it stays.
    let _names = Names::add(&mut order, &mut given.mounts)?;
    prepare_places(&order, &given.mounts)?;
    // After the places are there: an overlay goes on to believe that there is nothing where it found nothing.
    enter_commons(&order, &mut given)?;
    // After the commons: to join its mount namespace takes a capability over the host's user namespace.
    if let Some(parent) = &given.parent {
        setns(parent, CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
            .map_err(because(MakeError::Parent))?;
    }
    let users = map_lines(&order.users);
    // After the parent's namespaces, because a pid namespace is that of processes forked from then on.
    let mut holder = NewHolder::beget(alone, order, given)?;
    // By this process: to map several users takes a capability over the namespace around the holder's.
    let begun = holder.write_maps(&users).and_then(|number| {
        // Last: it goes on only with its maps.
        holder.await_ready(number).map(|()| number)
    });
    match begun {
        Ok(number) => Ok((Answer::Sandbox { holder: number.as_raw() }, vec![holder.pidfd])),
        Err(error) => {
            let _ = pidfd::signal(holder.pidfd.as_fd(), Signal::SIGKILL);
            Err(error)
        }
    }
}

/// The descriptors of an order, each in its place.
#[derive(Debug)]
struct Given {
    /// Mount namespace of the commons.
    commons: OwnedFd,
    /// The socket that takes the holder's reports.
    report: OwnedFd,
    /// `cgroup.procs` of each hierarchy.
    memberships: Vec<OwnedFd>,
    /// The parent sandbox's holder.
    parent: Option<OwnedFd>,
    /// One detached mount for each of the order's.
    mounts: Vec<OwnedFd>,
}

impl Given {
    /// Sorts descriptors in the order in which they are sent.
    fn sort(order: &SandboxOrder, descriptors: Vec<OwnedFd>) -> Result<Self, MakeError> {
        let (found, parents) = (descriptors.len(), usize::from(order.is_inside));
        let expected = 2 + order.memberships + parents + order.mounts.len();
        let mut left = descriptors.into_iter();
        let (Some(commons), Some(report), true) = (left.next(), left.next(), found == expected)
        else {
            return Err(MakeError::Descriptors { found, expected });
        };
        let memberships = left.by_ref().take(order.memberships).collect();
        let parent = if order.is_inside { left.next() } else { None };
        Ok(Self { commons, report, memberships, parent, mounts: left.collect() })
    }
}

/// Makes what the order's mounts are mounted on, in the base.
fn prepare_places(order: &SandboxOrder, mounts: &[OwnedFd]) -> Result<(), MakeError> {
    for (inside, taken) in order.mounts.iter().zip(mounts) {
        let place = layout::in_base(inside).ok_or_else(|| MakeError::NoPlace(inside.clone()))?;
        let metadata = taken.try_clone().map(File::from).and_then(|file| file.metadata());
        metadata
            .and_then(|found| layout::make_mountpoint(&place, found.is_dir()))
            .map_err(|error| MakeError::Place { path: inside.clone(), source: error.into() })?;
    }
    Ok(())
}

/// Enters what the sandbox shares with others, and has it see what is shared as they do.
fn enter_commons(order: &SandboxOrder, given: &mut Given) -> Result<(), MakeError> {
    shared::enter(given.commons.as_fd())?;
    for folder in given.mounts.iter_mut().take(order.shared) {
        if let Some(taken) = shared::take(folder.as_fd())? {
            *folder = taken;
        }
    }
    // It may have looked for a place to mount on before that was made.
    if order.mounts.iter().all(|inside| layout::is_there(inside)) {
        return Ok(());
    }
    Ok(shared::refresh()?)
}

/// A holder that was begotten and is not ready yet.
#[derive(Debug)]
struct NewHolder {
    pidfd: OwnedFd,
    /// Takes one byte once the maps are written.
    mapped: PipeWriter,
    /// Brings one zero byte once the sandbox is ready, or an error.
    ready: PipeReader,
}

impl NewHolder {
    /// Forks a process that begets the holder and ends.
    fn beget(alone: OneThread, order: SandboxOrder, given: Given) -> Result<Self, MakeError> {
        let (mapped_seen, mapped) = io::pipe().map_err(because(MakeError::Pipe))?;
        let (ready, ready_said) = io::pipe().map_err(because(MakeError::Pipe))?;
        let (near, far) = UnixStream::pair().map_err(because(MakeError::Socket))?;
        let Given { report, memberships, mounts, .. } = given;
        let between = match alone.fork().map_err(because(MakeError::Fork))? {
            Side::Parent(between) => between,
            Side::Child => {
                // Before anything else: until it is in the sandbox's cgroup, nothing would end it with the hand.
                let _ = prctl::set_pdeathsig(Signal::SIGKILL);
                // The hand must see the ends of its pipes close with the holder.
                drop((near, mapped, ready));
                let (mapped, ready) = (mapped_seen.into(), ready_said.into());
                pass_on(Holding { order, mounts, mapped, ready, report }, &memberships, &far)
            }
        };
        // The others have ends of their own.
        drop((far, mapped_seen, ready_said));
        let said = message::receive(near.as_fd(), MAX_ERROR_BYTES);
        waitpid(between, None).map_err(because(MakeError::Wait))?;
        let said = said.map_err(because(MakeError::Hear))?.ok_or(MakeError::Wordless)?;
        match said.descriptors.into_iter().next() {
            Some(pidfd) => Ok(Self { pidfd, mapped, ready }),
            None => Err(heard::<BegetError>(&said.body)),
        }
    }

    /// Writes the maps of users and groups, and tells the holder; its number.
    fn write_maps(&mut self, users: &str) -> Result<Pid, MakeError> {
        let number = pidfd::number(self.pidfd.as_fd()).map_err(because(MakeError::Number))?;
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{number}/{map}");
            std::fs::write(&path, users)
                .map_err(|error| MakeError::Map { path: path.into(), source: error.into() })?;
        }
        self.mapped.write_all(b"\0").map_err(because(MakeError::Wake))?;
        Ok(number)
    }

    /// Waits until the holder says that it is ready.
    fn await_ready(&mut self, number: Pid) -> Result<(), MakeError> {
        if !is_readable(&self.ready, HOLDER_PATIENCE).map_err(because(MakeError::Poll))? {
            let name = std::fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
            let at = name.trim().to_owned();
            return Err(MakeError::Late { patience: HOLDER_PATIENCE, at });
        }
        let mut first = [0];
        // The holder keeps its end open until it has said one byte, or failed and said why.
        match self.ready.read(&mut first).map_err(because(MakeError::Ready))? {
            1 if first == *b"\0" => Ok(()),
            read => {
                let mut said = first[..read].to_vec();
                let _ = self.ready.read_to_end(&mut said);
                Err(heard::<HoldError>(&said))
            }
        }
    }
}

/// An error of a process that helped.
fn heard<E: Into<MakeError> + serde::de::DeserializeOwned>(said: &[u8]) -> MakeError {
    serde_json::from_slice::<E>(said)
        .map_or_else(|_| MakeError::Garbled(String::from_utf8_lossy(said).into_owned()), Into::into)
}

/// True if there is something to be read, or an end, within `patience`.
fn is_readable(pipe: &PipeReader, patience: Duration) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            answered => return Ok(answered? > 0),
        }
    }
}

/// In the fork of a hand: begets the holder, and passes its pidfd on, or the error.
fn pass_on(holding: Holding, memberships: &[OwnedFd], hand: &UnixStream) -> ! {
    let outcome = beget(holding, memberships).and_then(|holder| {
        message::send(hand.as_fd(), b"", &[holder.as_fd()]).map_err(because(BegetError::Pass))
    });
    if let Err(error) = &outcome {
        // A hand that hears nothing says so.
        let said = serde_json::to_vec(error).unwrap_or_default();
        let _ = message::send(hand.as_fd(), &said, &[]);
    }
    std::process::exit(i32::from(outcome.is_err()));
}

/// In the fork of a hand, which is in the parent's pid namespace: begets the holder, a sibling.
fn beget(holding: Holding, memberships: &[OwnedFd]) -> Result<OwnedFd, BegetError> {
    // First, so that the new cgroup namespace has the sandbox's cgroup for a root.
    for membership in memberships {
        join(membership.as_fd()).map_err(because(BegetError::Group))?;
    }
    // Before the namespaces, because who makes them owns them.
    let user = holding.order.owner;
    privilege::change_user(user, user)
        .map_err(|error| BegetError::Owner { user, source: error.into() })?;
    match clone::sibling(privilege::namespaces(holding.order.commons.own_network())) {
        Ok(Some(pidfd)) => Ok(pidfd),
        Ok(None) => holder::run(holding),
        Err(error) => Err(BegetError::Namespaces(error.into())),
    }
}

/// Joins the group of a `cgroup.procs`.
pub fn join(membership: BorrowedFd<'_>) -> nix::Result<()> {
    write(membership, b"0").map(drop)
}

fn map_lines(users: &[(u32, u32, u32)]) -> String {
    let lines =
        users.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n"));
    lines.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::sandbox::Commons;

    fn order(is_inside: bool) -> SandboxOrder {
        SandboxOrder {
            hostname: "s1".to_owned(),
            hostnames_around: Vec::new(),
            memberships: 2,
            commons: Commons::of_functions(true, None),
            is_zygote: false,
            is_inside,
            owner: 0,
            users: vec![(0, 7, 1), (1000, 8, 1)],
            shared: 0,
            mounts: vec!["/function".into()],
            tmp_bytes: 0,
        }
    }

    fn descriptors(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| File::open("/dev/null").unwrap().into()).collect()
    }

    #[test]
    fn descriptors_are_sorted_as_they_are_sent() {
        let sent = descriptors(6);
        let numbers: Vec<_> = sent.iter().map(AsRawFd::as_raw_fd).collect();
        let given = Given::sort(&order(true), sent).unwrap();
        let mut sorted = vec![given.commons.as_raw_fd(), given.report.as_raw_fd()];
        sorted.extend(given.memberships.iter().map(AsRawFd::as_raw_fd));
        sorted.extend(given.parent.iter().chain(&given.mounts).map(AsRawFd::as_raw_fd));
        assert_eq!(sorted, numbers);
        assert!(Given::sort(&order(false), descriptors(5)).unwrap().parent.is_none());
    }

    #[test]
    fn an_order_with_other_descriptors_than_it_tells_of_is_refused() {
        for found in [0, 1, 5, 7] {
            let refused = Given::sort(&order(true), descriptors(found)).unwrap_err();
            assert_eq!(refused, MakeError::Descriptors { found, expected: 6 });
        }
    }

    #[test]
    fn maps_have_a_line_for_each_range() {
        assert_eq!(map_lines(&order(false).users), "0 7 1\n1000 8 1\n");
    }
}

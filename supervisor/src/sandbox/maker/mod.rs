//! The process that makes sandboxes: one thread, few mounts, little memory.
//!
//! The supervisor has threads and a mount namespace as large as the host's; a fork of it would be
//! slow and would hold other threads' locks. So `pipsqueakd` starts this once, and each order is
//! carried out by a fork of it, a *hand*, which reads it, enters the parent sandbox's namespaces,
//! does the one thing, answers, and exits.

mod base;
mod confine;
mod etc;
mod heir;
mod holder;
mod hosts;
mod launch;
mod layout;
mod processors;
mod pseudo;
mod reaper;
mod shared;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use pipsqueak_kernel::clone::{self, OneThread, Side};
use pipsqueak_kernel::{message, pidfd, privilege};

use self::confine::Filters;
use self::holder::Holding;
use self::hosts::Names;
use self::reaper::Reaper;
use crate::sandbox::order::{Answer, Order, SandboxOrder};

/// Longest order, in bytes: arguments and variables of a process at worst.
const MAX_ORDER_BYTES: usize = 4 << 20;

/// How long an order may take until it is given up, and whatever carries it out is ended.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a hand waits for a holder: less, so that it can still say what the holder was at.
const HOLDER_PATIENCE: Duration = Duration::from_secs(8);

/// A fork that carries an order out.
struct Hand {
    process: Pid,
    until: Instant,
    /// Kept here as well, so that who waits for an answer hears of a hand that gives none.
    answers: OwnedFd,
}

impl Hand {
    /// Ends it where its time is up, and says so.
    fn is_in_time(&self) -> bool {
        if Instant::now() < self.until {
            return true;
        }
        // It has not been reaped, so the number is its own.
        let _ = kill(self.process, Signal::SIGKILL);
        let reason = format!("who carries the order out was not done within {PATIENCE:?}");
        let _ = answer(self.answers.as_fd(), &Answer::Failed { reason }, &[]);
        false
    }
}

/// Runs the maker until the supervisor closes `orders`, a socket of packets, each of which brings
/// the socket on which an order comes and is answered. Then ends what is left through
/// `kill_switch`, the `cgroup.kill` of the instance, where the kernel has one.
///
/// Reports of exits go out on `orders` as they come.
///
/// Forks: this process becomes the maker's heir.
pub fn run(orders: UnixStream, kill_switch: Option<File>, root: &Path) -> io::Result<()> {
    let alone = OneThread::check()?;
    if let Some(maker) = heir::fork_maker(alone)? {
        drop((orders, kill_switch));
        return heir::stand_by(maker);
    }
    base::enter(root)?;
    privilege::leave_keyring()?;
    let filters = Filters::compile()?;
    let reaper = Reaper::new()?;
    (&orders).write_all(b"\0")?;
    let mut hands: Vec<Hand> = Vec::new();
    'serving: loop {
        for exit in Reaper::exits()? {
            hands.retain(|hand| hand.process.as_raw() != exit.pid);
            if (&orders).write_all(&exit.encode()).is_err() {
                // The supervisor has died, and what it had is to end all the same.
                break 'serving;
            }
        }
        hands.retain(Hand::is_in_time);
        let next = hands.iter().map(|hand| hand.until).min();
        if reaper.wait(orders.as_fd(), next)? {
            match take_conversation(orders.as_fd())? {
                Taken::Conversation(conversation) => {
                    hands.extend(carry_out(alone, &filters, conversation));
                }
                Taken::Nothing => {}
                Taken::End => break,
            }
        }
    }
    if let Some(mut kill_switch) = kill_switch {
        match kill_switch.write_all(b"1") {
            // A supervisor that ends in order has ended them, and removed their groups.
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => {}
            written => written?,
        }
    }
    // Holders end for want of a supervisor, if not by the switch; none is left for others to reap.
    Reaper::wait_for_all()
}

/// What has come on the socket for orders.
#[derive(Debug)]
enum Taken {
    /// A socket on which one order comes and is answered.
    Conversation(OwnedFd),
    /// A packet without one, such as where no descriptor was free for it.
    Nothing,
    /// The supervisor has closed it, or has died, maybe with exits unread.
    End,
}

fn take_conversation(orders: BorrowedFd<'_>) -> io::Result<Taken> {
    let received = match message::receive(orders, 0) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Taken::End),
        // It was one packet, and is gone with this error.
        Err(error)
            if error.kind() == io::ErrorKind::InvalidData
                || error.raw_os_error() == Some(Errno::ENOBUFS as i32) =>
        {
            tracing::error!(%error, "an order that brings no socket for its answer");
            return Ok(Taken::Nothing);
        }
        received => received?,
    };
    let Some(received) = received else { return Ok(Taken::End) };
    Ok(received.descriptors.into_iter().next().map_or(Taken::Nothing, Taken::Conversation))
}

/// Forks a hand that reads an order and answers it: what is wrong with one is nobody else's trouble.
fn carry_out(alone: OneThread, filters: &Filters, conversation: OwnedFd) -> Option<Hand> {
    match alone.fork() {
        Ok(Side::Parent(process)) => {
            Some(Hand { process, until: Instant::now() + PATIENCE, answers: conversation })
        }
        Err(error) => {
            let reason = format!("forking: {error}");
            // A supervisor that has given up waiting is no reason to end.
            let _ = answer(conversation.as_fd(), &Answer::Failed { reason }, &[]);
            None
        }
        Ok(Side::Child) => {
            let outcome =
                receive_order(conversation.as_fd()).and_then(|(order, descriptors)| match order {
                    Order::Sandbox(order) => make_sandbox(alone, order, descriptors),
                    Order::Process(order) => launch::launch(alone, filters, &order, descriptors),
                    Order::Commons => make_commons(),
                    Order::Refresh => refresh(&descriptors),
                });
            let sent = match outcome {
                Ok((told, with)) => {
                    let with: Vec<_> = with.iter().map(AsFd::as_fd).collect();
                    answer(conversation.as_fd(), &told, &with)
                }
                Err(reason) => answer(conversation.as_fd(), &Answer::Failed { reason }, &[]),
            };
            std::process::exit(i32::from(sent.is_err()));
        }
    }
}

fn receive_order(conversation: BorrowedFd<'_>) -> Result<(Order, Vec<OwnedFd>), String> {
    let received = message::receive(conversation, MAX_ORDER_BYTES)
        .map_err(|error| format!("receiving the order: {error}"))?
        .ok_or("the supervisor has sent no order")?;
    let order = serde_json::from_slice(&received.body)
        .map_err(|error| format!("unreadable order: {error}"))?;
    Ok((order, received.descriptors))
}

fn answer(answers: BorrowedFd<'_>, told: &Answer, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    message::send(answers, &serde_json::to_vec(told)?, with)
}

/// In a hand: makes a sandbox; its holder's pidfd.
fn make_sandbox(
    alone: OneThread,
    mut order: SandboxOrder,
    mut descriptors: Vec<OwnedFd>,
) -> Result<(Answer, Vec<OwnedFd>), String> {
    let expected = 2 + order.memberships + usize::from(order.is_inside) + order.mounts.len();
    if descriptors.len() != expected {
        return Err(format!("{} descriptors where {expected} belong", descriptors.len()));
    }
    let mut mounts = descriptors.split_off(expected - order.mounts.len());
    let _names = Names::add(&mut order, &mut mounts)
        .map_err(|error| format!("telling the sandbox its own name: {error}"))?;
    for (inside, taken) in order.mounts.iter().zip(&mounts) {
        let metadata = taken.try_clone().map(File::from).and_then(|file| file.metadata());
        metadata
            .and_then(|metadata| layout::prepare_mountpoint(inside, metadata.is_dir()))
            .map_err(|error| format!("preparing {}: {error}", inside.display()))?;
    }
    enter_commons(descriptors[0].as_fd(), &order, &mut mounts)?;
    let parent = if order.is_inside { descriptors.pop() } else { None };
    let memberships = descriptors.split_off(2);
    let report = descriptors.remove(1);

    let tell = |step: &'static str| move |error: io::Error| format!("{step}: {error}");
    if let Some(parent) = &parent {
        setns(parent, CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
            .map_err(|error| format!("entering the parent sandbox: {error}"))?;
    }
    let (mapped, mut maps_written) = io::pipe().map_err(tell("pipe"))?;
    let (mut ready_seen, ready) = io::pipe().map_err(tell("pipe"))?;
    let (near, far) = UnixStream::pair().map_err(tell("socketpair"))?;
    let (uid_map, gid_map, users) = ("uid_map", "gid_map", map_lines(&order.users));
    let middle = match alone.fork().map_err(tell("forking"))? {
        Side::Parent(middle) => middle,
        Side::Child => {
            // Until it is in the sandbox's cgroup, nothing else would end it with the hand.
            let _ = prctl::set_pdeathsig(Signal::SIGKILL);
            drop((near, maps_written, ready_seen));
            let holding =
                Holding { order, mounts, mapped: mapped.into(), ready: ready.into(), report };
            let outcome = beget(holding, &memberships).and_then(|holder| {
                message::send(far.as_fd(), b"", &[holder.as_fd()])
                    .map_err(tell("passing the holder on"))
            });
            if let Err(reason) = &outcome {
                let _ = message::send(far.as_fd(), reason.as_bytes(), &[]);
            }
            std::process::exit(i32::from(outcome.is_err()));
        }
    };
    drop((far, mapped, ready));
    let begotten = message::receive(near.as_fd(), 4096).map_err(tell("hearing of the holder"));
    waitpid(middle, None).map_err(|error| format!("waiting for the holder's maker: {error}"))?;
    let begotten = begotten?.ok_or("the holder's maker ended without a word")?;
    let Some(holder) = begotten.descriptors.into_iter().next() else {
        return Err(String::from_utf8_lossy(&begotten.body).into_owned());
    };
    let give_up = |reason: String| {
        let _ = pidfd::signal(holder.as_fd(), Signal::SIGKILL);
        reason
    };
    let number = pidfd::number(holder.as_fd())
        .map_err(|error| give_up(format!("finding the holder's number: {error}")))?;
    for map in [uid_map, gid_map] {
        let path = format!("/proc/{number}/{map}");
        std::fs::write(&path, &users)
            .map_err(|error| give_up(format!("writing {path}: {error}")))?;
    }
    maps_written.write_all(b"\0").map_err(tell("waking the holder")).map_err(give_up)?;
    if !is_readable(&ready_seen, HOLDER_PATIENCE).map_err(tell("waiting for the holder"))? {
        let name = std::fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        return Err(give_up(format!(
            "the holder was not ready within {HOLDER_PATIENCE:?}; it was at: {}",
            name.trim()
        )));
    }
    let mut said = Vec::new();
    let mut first = [0];
    // The holder keeps its end open until it has said one byte or failed with a reason.
    match ready_seen.read(&mut first).map_err(tell("hearing from the holder")).map_err(give_up)? {
        1 if first == *b"\0" => {}
        _ => {
            let _ = ready_seen.read_to_end(&mut said);
            said.splice(0..0, first);
            return Err(give_up(String::from_utf8_lossy(&said).into_owned()));
        }
    }
    Ok((Answer::Sandbox { holder: number.as_raw() }, vec![holder]))
}

/// In a hand: enters what the sandbox shares with others, and has it see what is shared as they do.
fn enter_commons(
    namespace: BorrowedFd<'_>,
    order: &SandboxOrder,
    mounts: &mut [OwnedFd],
) -> Result<(), String> {
    let failed = |error| format!("entering what is shared of the system: {error}");
    shared::enter(namespace).map_err(failed)?;
    for shared in mounts.iter_mut().take(order.shared) {
        if let Some(taken) = shared::take(shared.as_fd()).map_err(failed)? {
            *shared = taken;
        }
    }
    // It may have looked for a place to mount on before that was made.
    if order.mounts.iter().all(|inside| layout::is_there(inside)) {
        return Ok(());
    }
    shared::refresh().map_err(failed)
}

/// In a hand: makes what some sandboxes share of the system; its mount namespace.
fn make_commons() -> Result<(Answer, Vec<OwnedFd>), String> {
    let made = shared::make();
    let made = made.map_err(|error| format!("making what is shared of the system: {error}"))?;
    Ok((Answer::Commons, vec![made]))
}

/// In a hand: brings up to date what sandboxes see of the system, for all that run as well. There are mount
/// namespaces, that of the host and of each commons.
fn refresh(descriptors: &[OwnedFd]) -> Result<(Answer, Vec<OwnedFd>), String> {
    let [host, all @ ..] = descriptors else {
        return Err("the host's mount namespace is missing".into());
    };
    let refreshed = || {
        let own = File::open("/proc/self/ns/mnt")?;
        setns(host, CloneFlags::CLONE_NEWNS)?;
        let found = etc::of_host()?;
        setns(own, CloneFlags::CLONE_NEWNS)?;
        etc::update(&Path::new(layout::BASE).join("etc"), found)?;
        all.iter().try_for_each(|one| shared::enter(one.as_fd()).and_then(|()| shared::refresh()))
    };
    refreshed()
        .map_err(|error: io::Error| format!("refreshing what is seen of the system: {error}"))?;
    Ok((Answer::Refreshed, Vec::new()))
}

/// Whether there is something to be read, or an end, within `patience`.
fn is_readable(pipe: &io::PipeReader, patience: Duration) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            answered => return Ok(answered? > 0),
        }
    }
}

/// In the fork of a hand that is in the parent's pid namespace: begets the holder, a sibling.
fn beget(holding: Holding, memberships: &[OwnedFd]) -> Result<OwnedFd, String> {
    // First, so that the new cgroup namespace has the sandbox's cgroup for a root.
    for membership in memberships {
        let joined = membership.try_clone().map(File::from).and_then(|mut f| f.write_all(b"0"));
        joined.map_err(|error| format!("joining the sandbox's cgroup: {error}"))?;
    }
    let owner = holding.order.owner;
    privilege::change_user(owner, owner)
        .map_err(|error| format!("becoming user {owner}, who owns the sandbox: {error}"))?;
    let mut namespaces = privilege::NAMESPACES;
    if holding.order.commons.own_network() {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    match clone::sibling(namespaces) {
        Ok(Some(pidfd)) => Ok(pidfd),
        Ok(None) => holder::run(holding),
        Err(error) => Err(format!("making the sandbox's namespaces: {error}")),
    }
}

fn map_lines(users: &[(u32, u32, u32)]) -> String {
    let lines =
        users.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n"));
    lines.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    #[test]
    fn packets_that_bring_nothing_cost_no_order() {
        let (near, far) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .unwrap();
        let near = UnixStream::from(near);
        for nonsense in [&b"nonsense"[..], &[5, 0, 0, 0, 1], &[0; 4], &[0; 300]] {
            (&near).write_all(nonsense).unwrap();
        }
        message::send(near.as_fd(), b"", &[near.as_fd()]).unwrap();
        for _ in 0..4 {
            let taken = take_conversation(far.as_fd()).unwrap();
            assert!(matches!(taken, Taken::Nothing), "{taken:?}");
        }
        let taken = take_conversation(far.as_fd()).unwrap();
        assert!(matches!(taken, Taken::Conversation(_)), "{taken:?}");
        drop((taken, near));
        assert!(matches!(take_conversation(far.as_fd()).unwrap(), Taken::End));
    }
}

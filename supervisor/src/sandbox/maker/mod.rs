//! The process that makes sandboxes: one thread, few mounts, little memory.
//!
//! The supervisor has threads and a mount namespace as large as the host's; a fork of it would be
//! slow and would hold other threads' locks. So `pipsqueakd` starts this once, and each order is
//! carried out by a fork of it, a *hand* (`hand`), which reads it, makes a sandbox (`making`, `holder`) or starts a
//! program in one (`launch`), answers, and exits. `heir` reaps if the maker is killed.

mod base;
mod confine;
mod etc;
mod hand;
mod heir;
mod holder;
mod hosts;
mod launch;
mod layout;
mod making;
mod processors;
mod pseudo;
mod reaper;
mod shared;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use pipsqueak_kernel::clone::OneThread;
use pipsqueak_kernel::{message, privilege};

use self::base::BaseError;
use self::confine::Filters;
use self::hand::Hand;
pub use self::hand::PATIENCE;
use self::heir::HeirError;
use self::reaper::Reaper;

/// Why the maker ends before the supervisor ends it.
#[derive(Debug, thiserror::Error)]
pub enum MakerError {
    /// Several threads in the maker's process.
    #[error("counting the maker's threads: {0}")]
    Threads(#[source] io::Error),
    /// The maker's heir.
    #[error(transparent)]
    Heir(#[from] HeirError),
    /// The maker's root.
    #[error("making the maker's root: {0}")]
    Base(#[from] BaseError),
    /// keyctl(2).
    #[error("leaving the keyring: {0}")]
    Keyring(#[source] io::Error),
    /// Filters of system calls.
    #[error("compiling filters of system calls: {0}")]
    Filters(#[source] io::Error),
    /// The handler of `SIGCHLD`.
    #[error("listening for ends of processes: {0}")]
    Reaper(#[source] io::Error),
    /// write(2) that tells the supervisor.
    #[error("telling the supervisor that the maker is ready: {0}")]
    Ready(#[source] io::Error),
    /// waitpid(2).
    #[error("reaping processes: {0}")]
    Reap(#[source] io::Error),
    /// poll(2).
    #[error("waiting for orders: {0}")]
    Wait(#[source] io::Error),
    /// recvmsg(2).
    #[error("taking an order: {0}")]
    Take(#[source] io::Error),
    /// write(2) to `cgroup.kill`.
    #[error("ending what is left of the instance: {0}")]
    Kill(#[source] io::Error),
}

/// Runs the maker until the supervisor closes `orders`, a socket of packets, each of which brings
/// the socket on which an order comes and is answered. Then ends what is left through
/// `kill_switch`, the `cgroup.kill` of the instance, if the kernel has one.
///
/// Reports of exits go out on `orders` as they come.
///
/// Forks: this process becomes the maker's heir.
pub fn run(orders: UnixStream, kill_switch: Option<File>, root: &Path) -> Result<(), MakerError> {
    // First: no fork after this may find a lock that another thread has.
    let alone = OneThread::check().map_err(MakerError::Threads)?;
    // Before there is anything that has to be reaped.
    if let Some(maker) = heir::fork_maker(alone)? {
        drop((orders, kill_switch));
        return Ok(heir::stand_by(maker)?);
    }
    base::enter(root)?;
    privilege::leave_keyring().map_err(MakerError::Keyring)?;
    let filters = Filters::compile().map_err(MakerError::Filters)?;
    let reaper = Reaper::new().map_err(MakerError::Reaper)?;
    (&orders).write_all(b"\0").map_err(MakerError::Ready)?;
    serve(alone, &filters, &reaper, &orders)?;
    if let Some(mut kill_switch) = kill_switch {
        match kill_switch.write_all(b"1") {
            // A supervisor that ends in order has ended them, and removed their groups.
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => {}
            written => written.map_err(MakerError::Kill)?,
        }
    }
    // Holders end for want of a supervisor, if not by the switch; none is left for others to reap.
    Reaper::wait_for_all().map_err(MakerError::Reap)
}

/// Has hands carry orders out and reports ends of processes, until the supervisor closes the socket or has died.
fn serve(
    alone: OneThread,
    filters: &Filters,
    reaper: &Reaper,
    orders: &UnixStream,
) -> Result<(), MakerError> {
    let mut orders = orders;
    let mut hands: Vec<Hand> = Vec::new();
    loop {
        for exit in Reaper::exits().map_err(MakerError::Reap)? {
            hands.retain(|hand| !hand.is(exit.pid));
            if orders.write_all(&exit.encode()).is_err() {
                // The supervisor has died, and what it had is to end all the same.
                return Ok(());
            }
        }
        hands.retain(Hand::is_in_time);
        let next = hands.iter().map(Hand::until).min();
        if !reaper.wait(orders.as_fd(), next).map_err(MakerError::Wait)? {
            continue;
        }
        match take_conversation(orders.as_fd()).map_err(MakerError::Take)? {
            Taken::Conversation(conversation) => {
                hands.extend(Hand::fork(alone, filters, conversation));
            }
            Taken::Nothing => {}
            Taken::End => return Ok(()),
        }
    }
}

/// Content of a packet on the socket for orders.
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

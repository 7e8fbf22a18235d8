//! Hands: forks of the maker, each of which carries out one order.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pipsqueak_kernel::clone::{OneThread, Side};
use pipsqueak_kernel::message;

use super::confine::Filters;
use super::launch::launch;
use super::making::make_sandbox;
use super::shared;
use crate::sandbox::failure::{Failure, ShareError, because};
use crate::sandbox::order::{Answer, Order};

/// Longest order, in bytes: arguments and variables of a process at worst.
const MAX_ORDER_BYTES: usize = 4 << 20;

/// Time that an order may take until it is given up, and the hand is ended.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A fork that carries an order out.
pub struct Hand {
    process: Pid,
    until: Instant,
    /// Kept here as well, so that the supervisor hears of a hand that gives no answer.
    answers: OwnedFd,
}

/// An answer, and the descriptors that go with it.
type Done = (Answer, Vec<OwnedFd>);

impl Hand {
    /// Forks a hand that reads an order and answers it: an order that cannot be read is no other order's trouble.
    pub fn fork(alone: OneThread, filters: &Filters, conversation: OwnedFd) -> Option<Self> {
        match alone.fork() {
            Ok(Side::Parent(process)) => {
                Some(Self { process, until: Instant::now() + PATIENCE, answers: conversation })
            }
            Err(error) => {
                let failure = because(Failure::Fork)(error);
                // A supervisor that has given up waiting is no reason to end.
                let _ = answer(conversation.as_fd(), &Answer::Failed(failure), &[]);
                None
            }
            Ok(Side::Child) => {
                let sent = match carry_out(alone, filters, conversation.as_fd()) {
                    Ok((told, with)) => {
                        let with: Vec<_> = with.iter().map(AsFd::as_fd).collect();
                        answer(conversation.as_fd(), &told, &with)
                    }
                    Err(failure) => answer(conversation.as_fd(), &Answer::Failed(failure), &[]),
                };
                std::process::exit(i32::from(sent.is_err()));
            }
        }
    }

    /// True if this is its process number.
    pub fn is(&self, process: i32) -> bool {
        self.process.as_raw() == process
    }

    /// The time at which the hand must be done.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// True if the hand has time left. Else ends it, and says so.
    pub fn is_in_time(&self) -> bool {
        if Instant::now() < self.until {
            return true;
        }
        // It has not been reaped, so the number is its own.
        let _ = kill(self.process, Signal::SIGKILL);
        let _ = answer(self.answers.as_fd(), &Answer::Failed(Failure::Late(PATIENCE)), &[]);
        false
    }
}

/// In a hand: reads an order and carries it out.
fn carry_out(
    alone: OneThread,
    filters: &Filters,
    conversation: BorrowedFd<'_>,
) -> Result<Done, Failure> {
    let received = message::receive(conversation, MAX_ORDER_BYTES)
        .map_err(because(Failure::Receive))?
        .ok_or(Failure::Missing)?;
    let order = serde_json::from_slice(&received.body)
        .map_err(|error| Failure::Unreadable(error.to_string()))?;
    let descriptors = received.descriptors;
    Ok(match order {
        Order::Sandbox(order) => make_sandbox(alone, order, descriptors)?,
        Order::Process(order) => launch(alone, filters, &order, descriptors)?,
        Order::Commons => (Answer::Commons, vec![shared::make().map_err(Failure::Share)?]),
        Order::Refresh => {
            refresh(&descriptors).map_err(Failure::Refresh)?;
            (Answer::Refreshed, Vec::new())
        }
    })
}

/// In a hand: brings up to date what sandboxes see of the system, for all that run as well. The descriptors are mount
/// namespaces, that of the host and of each commons.
fn refresh(descriptors: &[OwnedFd]) -> Result<(), ShareError> {
    let [host, all @ ..] = descriptors else { return Err(ShareError::NoHost) };
    shared::refresh_all(host.as_fd(), all)
}

fn answer(answers: BorrowedFd<'_>, told: &Answer, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    message::send(answers, &serde_json::to_vec(told)?, with)
}

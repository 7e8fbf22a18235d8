//! Output of a process, and the invocation that it belongs to.
//!
//! Processes that a handler leaves running print to the same pipe as the handler's. So after an
//! invocation that may have left such processes, the handler's process gets another pipe: output of the
//! old pipe belongs to no later invocation.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::AbortHandle;

use super::exchange::{Logs, PRINTED_BYTES, read_printed};
use crate::channel;
use crate::logs::Recording;
use crate::protocol::ToFunction;

/// Most old pipes that are read. Beyond that the oldest is closed, so that writing to it fails.
const MOST_OLD: usize = 64;

/// Pipe to which a process prints.
#[derive(Debug)]
pub struct Printed {
    pipe: pipe::Receiver,
    /// True if other processes may print to the pipe, too.
    is_shared: bool,
    old: Old,
}

/// Pipes to which only left processes print.
#[derive(Debug, Default)]
pub struct Old(VecDeque<AbortHandle>);

impl Printed {
    /// A process's pipe, to which no other process prints yet.
    pub fn new(pipe: pipe::Receiver) -> Self {
        Self { pipe, is_shared: false, old: Old::default() }
    }

    /// The pipe that is in use.
    pub fn pipe(&mut self) -> &mut pipe::Receiver {
        &mut self.pipe
    }

    /// Notes an answer's word: true if its process may have left others.
    pub fn note(&mut self, has_left_others: bool) {
        self.is_shared |= has_left_others;
    }

    /// Begins an invocation: output from now on is its own and goes to `logs`. `channel` is the
    /// process's, on which no message waits for an answer.
    pub fn begin(&mut self, channel: BorrowedFd<'_>, logs: &Logs) -> io::Result<()> {
        if self.is_shared {
            let fresh = renew(channel)?;
            self.old.read(std::mem::replace(&mut self.pipe, fresh), logs.of_nobody());
            self.is_shared = false;
            return Ok(());
        }
        let mut nobody = None;
        let mut buffer = [0; PRINTED_BYTES];
        read_printed(&self.pipe, &mut buffer, |bytes| {
            if nobody.is_none() {
                nobody = logs.of_nobody();
            }
            if let Some(nobody) = &mut nobody {
                nobody.print(bytes);
            }
        });
        Ok(())
    }
}

impl Old {
    /// Reads a pipe until nobody can print to it any more, and records the output as belonging to no
    /// invocation.
    pub fn read(&mut self, mut pipe: pipe::Receiver, mut nobody: Option<Recording>) {
        self.0.retain(|reading| !reading.is_finished());
        if self.0.len() >= MOST_OLD
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; PRINTED_BYTES];
            while let Ok(bytes @ 1..) = pipe.read(&mut buffer).await {
                if let Some(nobody) = &mut nobody {
                    nobody.print(&buffer[..bytes]);
                }
            }
        });
        self.0.push_back(reading.abort_handle());
    }
}

/// Gives a process another pipe to print to. Returns the end that is read.
pub fn renew(channel: BorrowedFd<'_>) -> io::Result<pipe::Receiver> {
    let (printed, print) = io::pipe()?;
    let message = channel::compose(&ToFunction::Output, b"")?;
    pipsqueak_kernel::message::send(channel, &message, &[print.as_fd()])?;
    pipe::Receiver::from_owned_fd(printed.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_pipe_that_others_have_is_exchanged_and_read_on() {
        let (near, far) = UnixStream::pair().unwrap();
        let (printed, mut print) = io::pipe().unwrap();
        let mut printed = Printed::new(pipe::Receiver::from_owned_fd(printed.into()).unwrap());
        printed.note(false);
        print.write_all(b"of nobody").unwrap();
        printed.begin(near.as_fd(), &Logs::default()).unwrap();
        print.write_all(b"first").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(printed.pipe().read(&mut buffer).await.unwrap(), 5);

        printed.note(true);
        printed.begin(near.as_fd(), &Logs::default()).unwrap();
        let mut told = pipsqueak_kernel::message::receive(far.as_fd(), 100).unwrap().unwrap();
        assert_eq!(told.body, [&[crate::protocol::kind::OUTPUT], &b"null\n"[..]].concat());
        print.write_all(b"of what was left").unwrap();
        let mut fresh = std::fs::File::from(told.descriptors.pop().unwrap());
        fresh.write_all(b"second").unwrap();
        assert_eq!(printed.pipe().read(&mut buffer).await.unwrap(), 6);
        // The write succeeds, because the old pipe is still read.
        print.write_all(b"more").unwrap();
    }
}

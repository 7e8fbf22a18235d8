//! Ends of processes, as the process that reaped them reports them.
//!
//! A report names a process by its number, and numbers are used again: if the kernel has 32,768 of them, within
//! minutes. So the end of a process is looked for among the reports that came after it was started.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;

use super::order::Exit;

/// Number of ends that are remembered and that nobody has asked for yet.
const REMEMBERED: usize = 1024;

/// The ends that one reaper has reported.
#[derive(Debug, Default)]
pub struct Exits {
    seen: Mutex<Seen>,
    reported: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    /// Count of all reports.
    reports: u64,
    /// Reports that nobody has asked for yet, each with the count of those before it.
    left: VecDeque<(u64, Exit)>,
}

/// The end of one process, which may be still to come.
#[derive(Debug, Clone)]
pub struct End {
    exits: Arc<Exits>,
    pid: i32,
    /// Count of the reports that came before the process was started.
    earlier: u64,
}

impl Exits {
    /// Takes reports in until their source ends.
    pub async fn follow(&self, mut reports: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut bytes = [0; Exit::BYTES];
        loop {
            if let Err(error) = reports.read_exact(&mut bytes).await {
                let ended = error.kind() == io::ErrorKind::UnexpectedEof;
                return if ended { Ok(()) } else { Err(error) };
            }
            self.report(Exit::decode(bytes));
        }
    }

    /// Blocking variant of [`Self::follow`], for a thread of its own.
    pub fn follow_blocking(&self, mut reports: impl Read) {
        let mut bytes = [0; Exit::BYTES];
        while reports.read_exact(&mut bytes).is_ok() {
            self.report(Exit::decode(bytes));
        }
    }

    fn report(&self, exit: Exit) {
        let mut seen = self.lock();
        if seen.left.len() == REMEMBERED {
            seen.left.pop_front();
        }
        let earlier = seen.reports;
        seen.left.push_back((earlier, exit));
        seen.reports += 1;
        drop(seen);
        self.reported.notify_waiters();
    }

    /// Count of the reports so far: to be asked for ahead of the start of a process.
    pub fn reports(&self) -> u64 {
        self.lock().reports
    }

    /// The end of the process `pid`, which was started when there had been `earlier` reports.
    pub fn end_of(self: &Arc<Self>, pid: i32, earlier: u64) -> End {
        End { exits: self.clone(), pid, earlier }
    }

    fn take(&self, pid: i32, earlier: u64) -> Option<Exit> {
        let mut seen = self.lock();
        let is_it = |(count, exit): &(u64, Exit)| *count >= earlier && exit.pid == pid;
        let position = seen.left.iter().position(is_it)?;
        seen.left.remove(position).map(|(_, exit)| exit)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End {
    /// End of the process; waits at most `patience` for the report.
    pub async fn heard(&self, patience: Duration) -> Option<Exit> {
        let search = async {
            loop {
                let reported = self.exits.reported.notified();
                if let Some(exit) = self.exits.take(self.pid, self.earlier) {
                    return exit;
                }
                reported.await;
            }
        };
        tokio::time::timeout(patience, search).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_had_the_number_before_is_another_process() {
        let exits = Arc::new(Exits::default());
        exits.report(Exit { pid: 7, status: 9 });
        let end = exits.end_of(7, exits.reports());
        assert_eq!(end.heard(Duration::ZERO).await, None);
        exits.report(Exit { pid: 8, status: 0 });
        exits.report(Exit { pid: 7, status: 3 << 8 });
        assert_eq!(end.heard(Duration::ZERO).await, Some(Exit { pid: 7, status: 3 << 8 }));
        assert_eq!(end.heard(Duration::ZERO).await, None);
    }
}

//! How processes ended, as whoever reaped them reports it.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;

use super::order::Exit;

/// How many ends are remembered that nobody has asked for yet.
const REMEMBERED: usize = 1024;

/// The ends that one reaper has reported.
#[derive(Debug, Default)]
pub struct Exits {
    seen: Mutex<VecDeque<Exit>>,
    reported: Notify,
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

    /// The same on a thread of its own.
    pub fn follow_blocking(&self, mut reports: impl Read) {
        let mut bytes = [0; Exit::BYTES];
        while reports.read_exact(&mut bytes).is_ok() {
            self.report(Exit::decode(bytes));
        }
    }

    fn report(&self, exit: Exit) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(exit);
        drop(seen);
        self.reported.notify_waiters();
    }

    /// How a process ended, waiting a little for the report of it.
    pub async fn of(&self, pid: i32, patience: Duration) -> Option<Exit> {
        let search = async {
            loop {
                let reported = self.reported.notified();
                if let Some(exit) = self.take(pid) {
                    return exit;
                }
                reported.await;
            }
        };
        tokio::time::timeout(patience, search).await.ok()
    }

    fn take(&self, pid: i32) -> Option<Exit> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let position = seen.iter().position(|exit| exit.pid == pid)?;
        seen.remove(position)
    }
}

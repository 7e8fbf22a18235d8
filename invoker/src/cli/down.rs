//! `pipsqueak down`: stop the supervisor, and wait until it is gone.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pipsqueak::client::{Client, ClientError};
use pipsqueak::settings;
use pipsqueak::wire::{Reply, Request};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::args::Places;
use super::failure::{Exit, Failure};
use super::{output, supervisor};

/// Longest wait for the supervisor's end. It waits for running invocations, then removes what was
/// installed for sandboxes: without the ssd tier an environment for each.
const PATIENCE_SECONDS: u16 = 300;

/// Carries the verb out.
pub fn run(places: &Places) -> Result<Exit, Failure> {
    let run = settings::run_folder(&places.0)?;
    let mut client = Client::connect(&run)?;
    let pid = client.peer_pid();
    // Opened first: once the supervisor has gone, its number may name another process.
    let pidfd = match pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        Some(pid) => match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Some(pidfd),
            Err(rustix::io::Errno::SRCH) => None,
            Err(error) => {
                let step = format!("watching process {}", pid.as_raw_nonzero());
                return Err(Failure::system(step)(error));
            }
        },
        None => None,
    };
    match client.call(&Request::Down, &mut |_| {}) {
        // Another client may have stopped the supervisor, so that it is gone before it answers.
        Ok(Reply::Done { .. }) | Err(ClientError::Ended | ClientError::Broken(_)) => {}
        Ok(_) => return Err(Failure::WrongReply),
        Err(error) => return Err(error.into()),
    }
    let (Some(pidfd), Some(pid)) = (pidfd, pid) else {
        return output::line("told the supervisor to stop; its process cannot be seen from here");
    };
    wait(pidfd, pid, &run)?;
    output::line(format!("stopped the supervisor (process {pid})"))
}

fn wait(pidfd: impl AsFd, pid: u32, run: &Path) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(PATIENCE_SECONDS.into());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let log = run.join(supervisor::LOG);
            return Err(Failure::StillRunning { pid, seconds: PATIENCE_SECONDS, log });
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(Failure::system(format!("waiting for process {pid}"))(error)),
        }
    }
}

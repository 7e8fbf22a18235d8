//! The word of a starting supervisor through its pipe: `ready`, or an exit code and the reason.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cli::failure::Exit;

/// Longest time that a supervisor may take to start: seconds, but after a crash on a slow machine
/// minutes.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The word of a supervisor.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// Requests are served.
    Ready,
    /// The supervisor could not start.
    Failed {
        /// The exit code that the supervisor gave.
        exit: Exit,
        /// The reason.
        message: String,
    },
    /// The supervisor closed the pipe without a word.
    Silence,
    /// The supervisor has not said anything within [`PATIENCE`].
    Late,
}

/// Waits for a word.
pub fn wait(pipe: &OwnedFd) -> io::Result<Word> {
    wait_until(pipe, Instant::now() + PATIENCE)
}

fn wait_until(pipe: &OwnedFd, until: Instant) -> io::Result<Word> {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    // A reason may have several lines, so only the end of the pipe ends it.
    while said != b"ready\n" {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Word::Late);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, timeout) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match nix::unistd::read(pipe, &mut buffer)? {
            0 => break,
            length => said.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(understand(&String::from_utf8_lossy(&said)))
}

fn understand(said: &str) -> Word {
    if said == "ready\n" {
        return Word::Ready;
    }
    match said.trim_end().split_once(' ') {
        Some((code, message)) if matches!(code, "2" | "70") => Word::Failed {
            exit: if code == "2" { Exit::BadInput } else { Exit::Internal },
            message: message.to_owned(),
        },
        _ => Word::Silence,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn after(text: &str) -> Word {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        std::fs::File::from(writer).write_all(text.as_bytes()).unwrap();
        wait(&reader).unwrap()
    }

    #[test]
    fn ready_or_a_reason_or_silence() {
        assert_eq!(after("ready\n"), Word::Ready);
        let failed = |exit, message: &str| Word::Failed { exit, message: message.to_owned() };
        assert_eq!(after("2 no uv\n"), failed(Exit::BadInput, "no uv"));
        assert_eq!(
            after("70 mounting: no\nreally\n"),
            failed(Exit::Internal, "mounting: no\nreally")
        );
        for text in ["", "rea", "panicked at", "1 odd\n"] {
            assert_eq!(after(text), Word::Silence, "{text}");
        }
    }

    #[test]
    fn ready_does_not_wait_for_the_end_of_the_pipe_and_patience_ends() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(wait_until(&reader, soon).unwrap(), Word::Late);
        nix::unistd::write(&writer, b"ready\n").unwrap();
        assert_eq!(wait(&reader).unwrap(), Word::Ready);
    }
}

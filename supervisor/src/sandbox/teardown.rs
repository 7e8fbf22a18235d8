//! Taking sandboxes down: always whole, always in the same order, off everybody's path.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::error::EndError;
use super::handle::{Remains, await_end, kill};
use super::stages::{Noted, Stage, Stages};

/// Time that the end of a sandbox is waited for before the next is taken down.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after an attempt that failed.
const PAUSE: Duration = Duration::from_secs(5);

/// A sandbox that is being taken down, and shown as such.
type Ending = (Remains, Noted);

/// Takes down what comes, until `None` does. A sandbox that cannot be ended is kept with all that it
/// uses, its user number above all, and tried again.
pub fn run(remains: &Receiver<Option<Remains>>, stages: &Arc<Stages>) {
    let mut left: Vec<Ending> = Vec::new();
    let mut next_attempt = Instant::now() + PAUSE;
    loop {
        let received = if left.is_empty() {
            remains.recv().map_err(RecvTimeoutError::from)
        } else {
            remains.recv_timeout(next_attempt.saturating_duration_since(Instant::now()))
        };
        match received {
            Ok(Some(remains)) => {
                let noted = stages.enter(remains.id, remains.standing, Stage::Ending);
                match end(&remains, PATIENCE) {
                    Ok(()) => continue,
                    Err(error) => {
                        let sandbox = &remains.name;
                        tracing::error!(sandbox, %error, "taking a sandbox down; trying again");
                    }
                }
                if left.is_empty() {
                    next_attempt = Instant::now() + PAUSE;
                }
                left.push((remains, noted));
            }
            Err(RecvTimeoutError::Timeout) => {
                left.retain(|(remains, _)| end(remains, Duration::ZERO).is_err());
                next_attempt = Instant::now() + PAUSE;
            }
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Ends a sandbox. Once this has succeeded, nothing is left of it that uses its user number.
fn end(remains: &Remains, patience: Duration) -> Result<(), EndError> {
    let Remains { name, door, group, .. } = remains;
    kill(name, door)?;
    // After the signal, so that nothing goes on: a v1 freezer holds back even that one.
    if let Err(error) = group.thaw() {
        tracing::debug!(sandbox = name, %error, "thawing a sandbox to end it");
    }
    // Before the group is removed, which must have no process.
    await_end(name, door, patience)?;
    group.remove().map_err(|source| EndError::Group { name: name.clone(), source })
}

//! Messages between the supervisor and a zygote.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::error::ZygoteError;
use crate::channel;
use crate::protocol::FromZygote;
use crate::sync::{Mutex, lock};

/// Senders for the answers to orders, by the orders' numbers.
pub type Waiting = Mutex<HashMap<u64, oneshot::Sender<Result<i32, String>>>>;

/// The next message of a zygote that is being started; `None` if it has ended. Errors after `patience`, and
/// if the zygote cannot fork.
pub async fn hear(
    reader: &mut UnixStream,
    patience: Duration,
    what: &'static str,
) -> Result<Option<FromZygote>, ZygoteError> {
    let receive = channel::receive(reader, channel::MAX_MESSAGE_BYTES);
    match tokio::time::timeout(patience, receive).await {
        Err(_) => Err(ZygoteError::Slow(what, patience)),
        Ok(received) => match received?.map(|(answer, _)| answer) {
            Some(FromZygote::Unready { reason }) => Err(ZygoteError::Unready(reason)),
            answer => Ok(answer),
        },
    }
}

/// Passes answers to their waiters until the zygote ends; then all waits end.
pub async fn follow(mut reader: UnixStream, waiting: Arc<Waiting>) {
    loop {
        let answered = match channel::receive(&mut reader, channel::MAX_MESSAGE_BYTES).await {
            Ok(Some((FromZygote::Forked { id, pid }, _))) => (id, Ok(pid)),
            Ok(Some((FromZygote::Refused { id, reason }, _))) => (id, Err(reason)),
            Ok(Some((
                FromZygote::Ready(_)
                | FromZygote::Failed(_)
                | FromZygote::Unready { .. }
                | FromZygote::Tried,
                _,
            ))) => continue,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "a zygote's answer is unreadable");
                break;
            }
        };
        let (id, outcome) = answered;
        let waiter = lock(&waiting).remove(&id);
        if let Some(waiter) = waiter {
            // The waiter may have given up.
            let _ = waiter.send(outcome);
        }
    }
    lock(&waiting).clear();
}

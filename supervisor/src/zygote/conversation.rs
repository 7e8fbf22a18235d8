//! What a zygote is told, and what it tells.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::error::ZygoteError;
use super::imports::{Failed, Imported};
use super::reads::Reads;
use crate::channel;
use crate::sync::{Mutex, lock};

/// What a zygote tells.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It has imported, and what.
    Ready { modules: Vec<Imported>, reads: Reads, tmp_bytes: u64 },
    /// An import has failed.
    Failed(Failed),
    /// It cannot fork.
    Unready { reason: String },
    /// A child has done what each will.
    Tried {},
    /// It has forked, as an order says.
    Forked { id: u64, pid: i32 },
    /// It could not.
    Refused { id: u64, reason: String },
}

/// How a zygote is told to fork.
#[derive(Serialize)]
pub struct ForkOrder {
    /// Comes back with the answer.
    pub id: u64,
    pub role: &'static str,
    pub own_network: bool,
    /// Whether nobody waits for it yet.
    pub waits: bool,
}

/// Who waits for an answer, by the orders' numbers.
pub type Waiting = Mutex<HashMap<u64, oneshot::Sender<Result<i32, String>>>>;

/// What a zygote tells that is being started; nothing where it has ended.
pub async fn hear(
    reader: &mut UnixStream,
    patience: Duration,
    what: &'static str,
) -> Result<Option<Answer>, ZygoteError> {
    let receive = channel::receive(reader, channel::MAX_MESSAGE_BYTES);
    match tokio::time::timeout(patience, receive).await {
        Err(_) => Err(ZygoteError::Slow(what, patience)),
        Ok(received) => match received?.map(|(answer, _)| answer) {
            Some(Answer::Unready { reason }) => Err(ZygoteError::Unready(reason)),
            answer => Ok(answer),
        },
    }
}

/// Hands answers to those who wait for them until the zygote ends; then nobody waits any more.
pub async fn follow(mut reader: UnixStream, waiting: Arc<Waiting>) {
    loop {
        let answered = match channel::receive(&mut reader, channel::MAX_MESSAGE_BYTES).await {
            Ok(Some((Answer::Forked { id, pid }, _))) => (id, Ok(pid)),
            Ok(Some((Answer::Refused { id, reason }, _))) => (id, Err(reason)),
            Ok(Some((
                Answer::Ready { .. }
                | Answer::Failed(_)
                | Answer::Unready { .. }
                | Answer::Tried {},
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
            // Whoever asked may have given up.
            let _ = waiter.send(outcome);
        }
    }
    lock(&waiting).clear();
}

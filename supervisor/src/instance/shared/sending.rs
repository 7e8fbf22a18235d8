//! Sending on a channel that several calls share.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::channel;
use crate::stream::Stream;

/// Writing end of a shared channel.
#[derive(Debug)]
pub struct Writer {
    half: WriteHalf<Stream>,
    /// True once anything was written: the first writer also sends what is said only once.
    has_begun: bool,
}

impl Writer {
    /// A writer without anything written yet.
    pub fn new(half: WriteHalf<Stream>) -> Self {
        Self { half, has_begun: false }
    }
}

/// Messages on their way. A call that is given up does not cut them off, because the channel's next
/// bytes would be taken for their rest.
#[derive(Debug)]
pub struct Sending {
    writer: Option<OwnedMutexGuard<Writer>>,
    frames: Vec<u8>,
    sent: usize,
}

impl Sending {
    /// Waits until no other call sends.
    pub async fn begin(writer: &Arc<Mutex<Writer>>) -> Self {
        let writer = writer.clone().lock_owned().await;
        Self { writer: Some(writer), frames: Vec::new(), sent: 0 }
    }

    /// True if nothing was sent on the channel yet.
    pub fn is_first(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.has_begun)
    }

    /// Sends the messages, whole.
    pub async fn send(mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        self.frames = channel::frames(messages)?;
        channel::unless_ended(self.proceed().await)
    }

    async fn proceed(&mut self) -> io::Result<()> {
        while let Some(writer) = &mut self.writer
            && self.sent < self.frames.len()
        {
            match writer.half.write(&self.frames[self.sent..]).await {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    writer.has_begun = true;
                    self.sent += bytes;
                }
                Err(error) => {
                    self.sent = self.frames.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if (1..self.frames.len()).contains(&self.sent)
            && let Some(mut writer) = self.writer.take()
        {
            let rest = self.frames.split_off(self.sent);
            // The task ends with the process at the latest. Waiting calls learn from the reading end
            // that the process is gone.
            tokio::spawn(async move { writer.half.write_all(&rest).await });
        }
    }
}

//! Sending on a channel that several calls have.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::channel;
use crate::stream::Stream;

/// The end of such a channel that is written to.
#[derive(Debug)]
pub struct Writer {
    half: WriteHalf<Stream>,
    /// Whether anything was written: the first to write says what is said once.
    has_begun: bool,
}

impl Writer {
    /// One that nothing was written to.
    pub fn new(half: WriteHalf<Stream>) -> Self {
        Self { half, has_begun: false }
    }
}

/// Messages on their way. A call that is given up meanwhile does not cut them off: what comes next in
/// the channel would be taken for the rest of them.
#[derive(Debug)]
pub struct Sending {
    writer: Option<OwnedMutexGuard<Writer>>,
    frames: Vec<u8>,
    sent: usize,
}

impl Sending {
    /// Waits until nobody else sends.
    pub async fn begin(writer: &Arc<Mutex<Writer>>) -> Self {
        let writer = writer.clone().lock_owned().await;
        Self { writer: Some(writer), frames: Vec::new(), sent: 0 }
    }

    /// Whether nothing was sent yet.
    pub fn is_first(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.has_begun)
    }

    /// Sends them.
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
            // It ends with its process at the latest. That nobody reads it is told to those who wait.
            tokio::spawn(async move { writer.half.write_all(&rest).await });
        }
    }
}

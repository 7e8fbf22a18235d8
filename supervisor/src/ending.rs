//! How a supervisor ends.

use tokio::sync::watch;

/// What an end leaves to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing.
    Stop,
    /// The mount and the socket, to the process that the service manager starts next.
    Restart,
    /// The same, to the program that this process becomes.
    Upgrade,
    /// Nothing: the mount has ended, and with it what this process is for.
    Lost,
}

/// Ends the supervisor; the first word holds.
#[derive(Debug, Clone)]
pub struct Ender(watch::Sender<Option<Ending>>);

impl Ender {
    /// One, and what hears of it.
    pub fn new() -> (Self, watch::Receiver<Option<Ending>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    /// Hears of it.
    pub fn heard(&self) -> watch::Receiver<Option<Ending>> {
        self.0.subscribe()
    }

    /// Begins the end, unless it has begun.
    pub fn end(&self, how: Ending) {
        self.0.send_if_modified(|ending| {
            let is_first = ending.is_none();
            ending.get_or_insert(how);
            is_first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_holds() {
        let (ender, heard) = Ender::new();
        assert_eq!(*heard.borrow(), None);
        ender.end(Ending::Restart);
        ender.clone().end(Ending::Stop);
        assert_eq!(*heard.borrow(), Some(Ending::Restart));
    }
}

//! The end of a supervisor.

use tokio::sync::watch;

/// Way to end, by what is left to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is left.
    Stop,
    /// The mount and the socket are left to the process that the service manager starts next.
    Restart,
    /// The mount and the socket are left to the program that this process becomes.
    Upgrade,
    /// Nothing is left, because the mount has ended by itself, and the supervisor is useless without it.
    Lost,
}

/// Ends the supervisor. Only the first call counts.
#[derive(Debug, Clone)]
pub struct Ender(watch::Sender<Option<Ending>>);

impl Ender {
    /// An ender, and a receiver of its word.
    pub fn new() -> (Self, watch::Receiver<Option<Ending>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    /// A receiver of the ender's word.
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

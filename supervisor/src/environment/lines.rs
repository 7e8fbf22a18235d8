//! Lines of a stream, passed on while another thread reads it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Pieces that may wait; who writes faster than is listened to is not heard whole.
const WAITING: usize = 64;
/// Longest line that is passed on, in bytes.
const MOST_BYTES: usize = 4096;

/// The end of the thread that reads.
#[derive(Debug)]
pub struct Listener(SyncSender<Vec<u8>>);

/// The end where lines arrive.
#[derive(Debug)]
pub struct Lines {
    pieces: Receiver<Vec<u8>>,
    begun: Vec<u8>,
}

/// Both ends.
pub fn channel() -> (Listener, Lines) {
    let (sender, pieces) = sync_channel(WAITING);
    (Listener(sender), Lines { pieces, begun: Vec::new() })
}

impl Listener {
    /// Passes on what was read. Never blocks.
    pub fn hear(&self, bytes: &[u8]) {
        // What does not fit is lost: lines are for progress alone.
        let _ = self.0.try_send(bytes.to_vec());
    }
}

impl Lines {
    /// Gives `told` the lines that have arrived since.
    pub fn arrived(&mut self, told: &mut dyn FnMut(&str)) {
        for piece in self.pieces.try_iter() {
            for byte in piece {
                if byte == b'\n' {
                    told(&String::from_utf8_lossy(&self.begun));
                    self.begun.clear();
                } else if self.begun.len() < MOST_BYTES {
                    self.begun.push(byte);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_whole_whatever_pieces_they_come_in() {
        let (listener, mut lines) = channel();
        let mut told = Vec::new();
        listener.hear(b"one\ntw");
        lines.arrived(&mut |line| told.push(line.to_owned()));
        assert_eq!(told, ["one"]);
        listener.hear(b"o\n\nfour");
        listener.hear(&[b'x'; 2 * MOST_BYTES]);
        listener.hear(b"\n");
        lines.arrived(&mut |line| told.push(line.to_owned()));
        assert_eq!(told[1..3], ["two", ""]);
        assert_eq!(told[3].len(), MOST_BYTES);
    }
}

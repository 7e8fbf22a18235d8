//! Lines of a stream, passed on while another thread reads it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Most pieces that wait. Further pieces are lost if the writer is faster than the reader.
const WAITING: usize = 64;
/// Longest line that is passed on, in bytes.
const MOST_BYTES: usize = 4096;

/// Sending end, for the thread that reads the stream.
#[derive(Debug)]
pub struct Listener(SyncSender<Vec<u8>>);

/// Receiving end, at which lines arrive.
#[derive(Debug)]
pub struct Lines {
    pieces: Receiver<Vec<u8>>,
    begun: Vec<u8>,
}

/// Both ends of a channel of lines.
pub fn channel() -> (Listener, Lines) {
    let (sender, pieces) = sync_channel(WAITING);
    (Listener(sender), Lines { pieces, begun: Vec::new() })
}

impl Listener {
    /// Passes on bytes of the stream. Never blocks.
    pub fn hear(&self, bytes: &[u8]) {
        // Bytes that do not fit are lost, because lines are for progress only.
        let _ = self.0.try_send(bytes.to_vec());
    }
}

impl Lines {
    /// Gives `told` the lines that have arrived since the last call.
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

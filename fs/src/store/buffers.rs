//! Memory for decoded content, used again: fresh pages cost as much as decoding what they hold.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::sync::Mutex;

/// Buffers that nobody uses at the moment.
#[derive(Debug)]
pub struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    kept: usize,
}

/// A buffer; it goes back to where it was taken from when it is dropped.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Option<Arc<Buffers>>,
}

impl Buffers {
    /// Keeps up to so many.
    pub fn new(kept: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), kept })
    }

    /// An empty buffer with room for `bytes`.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Buffer {
        let mut free = self.free.lock();
        let mut taken = free.pop().unwrap_or_default();
        drop(free);
        taken.clear();
        taken.reserve(bytes);
        Buffer { bytes: taken, home: Some(self.clone()) }
    }

    /// Gives the memory of free ones back to the system.
    pub fn clear(&self) {
        self.free.lock().clear();
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            let mut free = home.free.lock();
            if free.len() < home.kept {
                free.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_empty() {
        let buffers = Buffers::new(1);
        let (mut one, two) = (buffers.take(10), buffers.take(10));
        one.extend_from_slice(b"content");
        let at = one.as_ptr();
        drop(one);
        // More than are kept.
        drop(two);
        let again = buffers.take(5);
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        assert!(again.capacity() >= 10);
        drop(again);
        buffers.clear();
        assert_eq!(buffers.take(0).capacity(), 0);
    }
}

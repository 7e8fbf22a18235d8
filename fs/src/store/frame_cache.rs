//! A few decoded frames: the kernel reads a file in pieces smaller than a frame.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::SegmentId;

/// How many frames are kept: with [`super::segment::FRAME_BYTES`] each, 8 MiB. What was read goes
/// to the page cache, so this only has to outlive the reading of one frame by several readers.
const KEPT: usize = 32;

/// A frame's place: segment and offset.
pub type Place = (SegmentId, u64);

/// Decoded frames by place, least recently decoded first.
#[derive(Debug, Default)]
pub struct FrameCache(Mutex<VecDeque<(Place, Arc<Vec<u8>>)>>);

impl FrameCache {
    /// The frame at `place`, decoded now if it is not kept.
    pub fn get<E>(
        &self,
        place: Place,
        decode: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Arc<Vec<u8>>, E> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = kept.iter().find(|(known, _)| *known == place) {
            return Ok(frame.clone());
        }
        // Two readers may decode the same frame at once; nobody waits for the other's.
        drop(kept);
        let frame = Arc::new(decode()?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((place, frame.clone()));
        Ok(frame)
    }
}

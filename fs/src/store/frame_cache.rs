//! Decoded frames for a short while: those that were read ahead, and those that several readers
//! read parts of.
//!
//! Content that is read goes to the kernel's page cache, which is the one that lasts.

use std::collections::HashMap;
use std::sync::Arc;

use super::buffers::Buffer;
use crate::id::SegmentId;
use crate::sync::Mutex;

/// A frame: its segment and its number there.
pub type FrameId = (SegmentId, u32);

/// Content of a frame.
pub type Frame = Arc<Buffer>;

/// Parts that are locked one at a time, so that readers seldom meet.
const SHARDS: usize = 8;

/// Locked while the frame is decoded: who comes second waits for it instead of decoding it too.
type Slot = Arc<Mutex<Option<Frame>>>;

#[derive(Debug, Default)]
struct Shard {
    /// Each with when it was last asked for.
    slots: HashMap<FrameId, (Slot, u64)>,
    clock: u64,
}

/// Decoded frames by id.
#[derive(Debug)]
pub struct FrameCache {
    shards: [Mutex<Shard>; SHARDS],
    /// Frames kept in each shard.
    kept: usize,
}

impl FrameCache {
    /// A cache of about `frames` frames.
    pub fn new(frames: usize) -> Self {
        Self { shards: Default::default(), kept: frames.div_ceil(SHARDS).max(1) }
    }

    /// The frame at `id`, decoded now if it is not kept.
    pub fn get<E>(
        &self,
        id: FrameId,
        decode: impl FnOnce() -> Result<Buffer, E>,
    ) -> Result<Frame, E> {
        let slot = self.slot(id);
        let mut held = slot.lock();
        if let Some(frame) = &*held {
            return Ok(frame.clone());
        }
        let frame = Arc::new(decode()?);
        *held = Some(frame.clone());
        Ok(frame)
    }

    /// The frame at `id`, where it is kept or just being decoded.
    pub fn kept(&self, id: FrameId) -> Option<Frame> {
        let shard = self.shard(id).lock();
        let slot = shard.slots.get(&id).map(|(slot, _)| slot.clone());
        drop(shard);
        slot.and_then(|slot| slot.lock().clone())
    }

    /// Forgets all frames.
    pub fn clear(&self) {
        for shard in &self.shards {
            shard.lock().slots.clear();
        }
    }

    /// Neighbours are in different shards.
    fn shard(&self, (segment, number): FrameId) -> &Mutex<Shard> {
        &self.shards[(segment ^ number) as usize % SHARDS]
    }

    fn slot(&self, id: FrameId) -> Slot {
        let mut shard = self.shard(id).lock();
        shard.clock += 1;
        let now = shard.clock;
        if let Some((slot, asked)) = shard.slots.get_mut(&id) {
            *asked = now;
            return slot.clone();
        }
        if shard.slots.len() >= self.kept {
            let oldest = shard.slots.iter().min_by_key(|(_, (_, asked))| *asked);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                shard.slots.remove(&oldest);
            }
        }
        let slot = Slot::default();
        shard.slots.insert(id, (slot.clone(), now));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(content: u8) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.push(content);
        buffer
    }

    #[test]
    fn what_was_asked_for_last_is_kept_and_a_failure_is_not() {
        let cache = FrameCache::new(2 * SHARDS);
        let content = |id, content| cache.get(id, || Ok::<_, ()>(buffer(content))).unwrap()[0];
        assert!(cache.get((1, 0), || Err::<Buffer, _>("no")).is_err());
        assert!(cache.kept((1, 0)).is_none());
        // Three frames of one shard, which keeps two.
        assert_eq!(content((1, 0), 1), 1);
        assert_eq!(content((1, 8), 2), 2);
        assert_eq!(content((1, 0), 9), 1);
        assert_eq!(content((1, 16), 3), 3);
        assert_eq!(content((1, 0), 9), 1);
        assert_eq!(content((1, 8), 4), 4);
        cache.clear();
        assert_eq!(content((1, 0), 5), 5);
    }

    #[test]
    fn a_frame_that_many_want_is_decoded_once() {
        let cache = FrameCache::new(8);
        let times = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let decode = || {
                        times.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        std::thread::sleep(std::time::Duration::from_millis(5));
                        Ok::<_, ()>(buffer(7))
                    };
                    assert_eq!(**cache.get((3, 3), decode).unwrap(), [7]);
                });
            }
        });
        assert_eq!(times.into_inner(), 1);
    }
}

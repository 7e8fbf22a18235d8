//! Reading objects from sealed segments.
//!
//! Compressed bytes leave the page cache once their frame is decoded: its content goes there as the
//! mount's.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::buffers::{Buffer, Buffers};
use super::frame_cache::{Frame, FrameCache};
use super::readahead::{Streams, WIDEST_BYTES};
use super::sealed::Segment;
use super::segment::FRAME_BYTES;
use super::segments::{Advice, Segments};
use super::{Location, StoreError};
use crate::id::SegmentId;
use crate::sync::{Mutex, RwLock};

/// Orders to read ahead that may wait; what does not fit is read when it is asked for.
const WAITING: usize = 64;
/// Decoded frames are forgotten when nothing was read ahead for so long.
const IDLE: Duration = Duration::from_secs(10);
/// Buffers for joined content that are kept: one for each thread that answers.
const JOINED: usize = 4;
/// Frames that are kept: the widest of three streams.
const KEPT: usize = 3 * WIDEST_BYTES / FRAME_BYTES;

/// Content that was read.
#[derive(Debug)]
pub enum Content {
    /// Part of one frame.
    Within(Frame, Range<usize>),
    /// Joined from several.
    Joined(Buffer),
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Within(frame, range) => frame.get(range.clone()).unwrap_or_default(),
            Self::Joined(bytes) => bytes,
        }
    }
}

/// Reads from segments; each is opened when it is first needed.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    streams: Mutex<Streams>,
    orders: SyncSender<(Arc<Segment>, Range<u32>)>,
}

#[derive(Debug)]
struct Shared {
    segments: Arc<dyn Segments>,
    open: RwLock<HashMap<SegmentId, Arc<Segment>>>,
    cache: FrameCache,
    /// Buffers for frames in the cache.
    frames: Arc<Buffers>,
    /// Buffers for content that is joined from several frames.
    joined: Arc<Buffers>,
    decoded: AtomicU64,
}

impl Reader {
    /// A reader of segments, and a thread that reads ahead for it.
    pub fn new(segments: Arc<dyn Segments>) -> io::Result<Self> {
        let cache = FrameCache::new(KEPT);
        let shared = Arc::new(Shared {
            segments,
            open: RwLock::default(),
            cache,
            frames: Buffers::new(KEPT),
            joined: Buffers::new(JOINED),
            decoded: AtomicU64::new(0),
        });
        let (orders, ordered) = sync_channel(WAITING);
        let ahead = shared.clone();
        thread::Builder::new()
            .name("readahead".to_owned())
            .spawn(move || ahead.read_ahead(&ordered))?;
        Ok(Self { shared, streams: Mutex::default(), orders })
    }

    /// Reads up to `length` bytes of an object's content from `offset` on, fewer only at its end.
    pub fn read(
        &self,
        location: Location,
        offset: u64,
        length: usize,
    ) -> Result<Content, StoreError> {
        let size = location.size.saturating_sub(offset).min(length as u64);
        if size == 0 {
            return Ok(Content::Joined(Buffer::default()));
        }
        let segment = self.shared.segment(location.segment)?;
        let from = location.position.saturating_add(offset);
        let end = from.saturating_add(size);
        if end > segment.directory().content() {
            let reason = "an object lies beyond its end".to_owned();
            return Err(StoreError::Damaged { segment: segment.id(), offset: from, reason });
        }
        let (first, last) = (frame_of(from), frame_of(end - 1));
        if location.size < FRAME_BYTES as u64 {
            self.read_ahead(&segment, first);
        } else {
            // One read of the disk instead of one a frame.
            segment.advise(&(first..last + 1), Advice::WillRead);
        }
        let within = usize::try_from(from % FRAME_BYTES as u64).unwrap_or(0);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if first == last {
            let frame = self.shared.frame(&segment, first)?;
            return Ok(Content::Within(frame, within..within + size));
        }
        let mut content = self.shared.joined.take(size);
        for number in first..=last {
            let from = if number == first { within } else { 0 };
            let left = size - content.len();
            let length = segment.directory().frame_content(number);
            let frame = if from > 0 || length > left {
                self.shared.frame(&segment, number)?
            } else if let Some(frame) = self.shared.cache.kept((segment.id(), number)) {
                frame
            } else {
                // Nobody will ask for a part of it: the kernel has all of it then.
                self.shared.decoded.fetch_add(1, Ordering::Relaxed);
                segment.frame(number, &mut content)?;
                continue;
            };
            let part = frame.get(from..).unwrap_or_default();
            content.extend_from_slice(&part[..part.len().min(left)]);
        }
        Ok(Content::Joined(content))
    }

    /// Closes segments that are not among these: removed files are on disk as long as they are open.
    pub fn retain(&self, segments: &HashSet<SegmentId>) {
        let mut open = self.shared.open.write();
        open.retain(|id, _| segments.contains(id));
    }

    /// Takes note that a small object's frame is read, and orders those after it to be decoded.
    fn read_ahead(&self, segment: &Arc<Segment>, frame: u32) {
        let mut streams = self.streams.lock();
        let ahead = streams.read((segment.id(), frame), segment.directory().frames());
        drop(streams);
        if !ahead.is_empty() {
            // A queue that is full has enough to do.
            let _ = self.orders.try_send((segment.clone(), ahead));
        }
    }

    /// Frames that were decoded so far.
    pub fn decoded(&self) -> u64 {
        self.shared.decoded.load(Ordering::Relaxed)
    }
}

/// The frame with the byte at a position of a segment's content.
fn frame_of(position: u64) -> u32 {
    u32::try_from(position / FRAME_BYTES as u64).unwrap_or(u32::MAX)
}

impl Shared {
    fn segment(&self, id: SegmentId) -> Result<Arc<Segment>, StoreError> {
        let known = self.open.read().get(&id).cloned();
        if let Some(segment) = known {
            return Ok(segment);
        }
        let segment = Arc::new(Segment::open(&*self.segments, id)?);
        let mut open = self.open.write();
        Ok(open.entry(id).or_insert(segment).clone())
    }

    fn frame(&self, segment: &Segment, number: u32) -> Result<Frame, StoreError> {
        self.cache.get((segment.id(), number), || {
            self.decoded.fetch_add(1, Ordering::Relaxed);
            let mut content = self.frames.take(segment.directory().frame_content(number));
            segment.frame(number, &mut content)?;
            Ok(content)
        })
    }

    /// Decodes what is ordered until nobody orders any more.
    fn read_ahead(&self, orders: &Receiver<(Arc<Segment>, Range<u32>)>) {
        loop {
            match orders.recv_timeout(IDLE) {
                Ok((segment, frames)) => {
                    segment.advise(&frames, Advice::WillRead);
                    for number in frames.clone() {
                        // Whoever reads it is told.
                        if self.frame(&segment, number).is_err() {
                            break;
                        }
                    }
                    segment.advise(&frames, Advice::HasRead);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.cache.clear();
                    self.frames.clear();
                    self.joined.clear();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::append::Appender;
    use super::super::local::Local;
    use super::super::segment::{FrameWriter, HEADER_BYTES};
    use super::*;
    use proptest::prelude::*;

    /// The segments of an empty folder.
    fn segments() -> (tempfile::TempDir, Arc<Local>) {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::of(folder.path());
        local.create().unwrap();
        (folder, local)
    }

    fn write(segments: &Local, id: SegmentId, content: &[u8]) {
        let mut appender = Appender::begin(segments, id).unwrap();
        let mut writer = FrameWriter::new().unwrap();
        for chunk in content.chunks(FRAME_BYTES) {
            appender.append(&writer.frame(chunk).unwrap()).unwrap();
        }
        appender.seal(content.len() as u64).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_part_of_any_object_is_what_was_written(
            sizes in proptest::collection::vec(0..(3 * FRAME_BYTES), 1..6),
            parts in proptest::collection::vec((any::<prop::sample::Index>(), 0..(3 * FRAME_BYTES as u64), 0..400_000_usize), 1..20),
        ) {
            let (_folder, segments) = segments();
            let mut stream = Vec::new();
            let objects: Vec<_> = sizes.iter().enumerate().map(|(seed, size)| {
                let content: Vec<u8> = (0..*size).map(|i| u8::try_from((i * i / 7 + seed) % 251).unwrap()).collect();
                let position = stream.len() as u64;
                stream.extend_from_slice(&content);
                (content, position)
            }).collect();
            write(&segments, 7, &stream);
            let reader = Reader::new(segments).unwrap();
            for (which, from, length) in parts {
                let (content, position) = which.get(&objects);
                let location = Location { segment: 7, position: *position, size: content.len() as u64 };
                let read = reader.read(location, from, length).unwrap();
                let from = usize::try_from(from).unwrap().min(content.len());
                let to = (from + length).min(content.len());
                prop_assert_eq!(&*read, &content[from..to]);
            }
        }
    }

    #[test]
    fn damage_is_an_error_and_an_unsealed_segment_leaves_nothing() {
        let (_folder, segments) = segments();
        write(&segments, 1, &[9; 1000]);
        drop(Appender::begin(&*segments, 2).unwrap());
        assert_eq!(segments.list().unwrap().len(), 1);
        let path = segments.path(1);
        let whole = std::fs::read(&path).unwrap();
        let location = Location { segment: 1, position: 0, size: 1000 };
        let read = |location| {
            let reader = Reader::new(segments.clone()).unwrap();
            reader.read(location, 0, 10).map(|content| content.to_vec())
        };
        assert_eq!(read(location).unwrap(), [9; 10]);
        let beyond = Location { position: 1 << 40, ..location };
        assert!(matches!(read(beyond), Err(StoreError::Damaged { .. })));
        for at in [0, HEADER_BYTES + 4, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(read(location), Err(StoreError::Damaged { .. })), "{at}");
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(matches!(read(location), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_segment_that_is_cut_while_it_is_open_is_an_error_to_its_reader() {
        let (_folder, segments) = segments();
        write(&segments, 1, &[9; 1000]);
        let segment = Segment::open(&*segments, 1).unwrap();
        std::fs::write(segments.path(1), b"short").unwrap();
        assert!(matches!(segment.frame(0, &mut Vec::new()), Err(StoreError::Damaged { .. })));
    }
}

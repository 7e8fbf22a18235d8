//! Reading objects from sealed segments.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use zerocopy::little_endian::U32;

use super::frame_cache::FrameCache;
use super::mapping::Mapping;
use super::segment::{self, FRAME_BYTES, frame_content};
use super::{StoreError, segment_path};
use crate::id::SegmentId;

/// Where an object's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location<'a> {
    /// The segment.
    pub segment: SegmentId,
    /// Where its first frame begins in the segment's file.
    pub offset: u64,
    /// Size of the content in bytes.
    pub size: u64,
    /// Length of each frame in bytes, as in a mapped index.
    pub frames: &'a [U32],
}

/// Reads from the segments in a folder; each is mapped when it is first needed.
#[derive(Debug)]
pub struct Reader {
    segments: PathBuf,
    mapped: RwLock<HashMap<SegmentId, Arc<Mapping>>>,
    cache: FrameCache,
}

impl Reader {
    /// A reader of the segments in `segments`.
    pub fn new(segments: PathBuf) -> Self {
        Self { segments, mapped: RwLock::default(), cache: FrameCache::default() }
    }

    /// Reads up to `length` bytes of an object's content from `offset` on, fewer only at its end.
    pub fn read(
        &self,
        location: Location<'_>,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, StoreError> {
        let end = location.size.min(offset.saturating_add(length as u64));
        let mut content =
            Vec::with_capacity(usize::try_from(end.saturating_sub(offset)).unwrap_or(0));
        let mut position = offset;
        while position < end {
            let number = usize::try_from(position / FRAME_BYTES as u64).unwrap_or(usize::MAX);
            let begin = number as u64 * FRAME_BYTES as u64;
            let frame = self.frame(location, number)?;
            let from = usize::try_from(position - begin).unwrap_or(usize::MAX);
            let to = frame.len().min(usize::try_from(end - begin).unwrap_or(usize::MAX));
            content.extend_from_slice(&frame[from..to]);
            position = begin + to as u64;
        }
        Ok(content)
    }

    fn frame(&self, location: Location<'_>, number: usize) -> Result<Arc<Vec<u8>>, StoreError> {
        let before = location.frames.iter().take(number);
        let offset = location.offset + before.map(|length| u64::from(length.get())).sum::<u64>();
        let damaged =
            |reason: String| StoreError::Damaged { segment: location.segment, offset, reason };
        let length =
            location.frames.get(number).map(|length| length.get()).ok_or_else(|| {
                damaged("the catalog knows too few frames of an object".to_owned())
            })?;
        self.cache.get((location.segment, offset), || {
            let segment = self.segment(location.segment)?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let frame = segment
                .get(from..from.saturating_add(length as usize))
                .ok_or_else(|| damaged("the file ends before it".to_owned()))?;
            segment::decode_frame(frame, frame_content(location.size, number)).map_err(damaged)
        })
    }

    fn segment(&self, id: SegmentId) -> Result<Arc<Mapping>, StoreError> {
        let known = self.mapped.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(mapping) = known {
            return Ok(mapping);
        }
        let mapping = Arc::new(Mapping::open(&segment_path(&self.segments, id))?);
        if !segment::has_header(&mapping) {
            let reason = "it does not begin as a segment does".to_owned();
            return Err(StoreError::Damaged { segment: id, offset: 0, reason });
        }
        let mut mapped = self.mapped.write().unwrap_or_else(PoisonError::into_inner);
        Ok(mapped.entry(id).or_insert(mapping).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::append::Appender;
    use super::super::segment::FrameWriter;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_part_of_any_object_is_what_was_written(
            sizes in proptest::collection::vec(0..(3 * FRAME_BYTES), 1..6),
            parts in proptest::collection::vec((any::<prop::sample::Index>(), 0..(3 * FRAME_BYTES as u64), 0..400_000_usize), 1..20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut appender = Appender::begin(folder.path(), 7).unwrap();
            let mut writer = FrameWriter::new().unwrap();
            let mut objects = Vec::new();
            for (seed, size) in sizes.iter().enumerate() {
                let content: Vec<u8> = (0..*size).map(|i| u8::try_from((i * i / 7 + seed) % 251).unwrap()).collect();
                let frames = writer.frames(&content).unwrap();
                let offset = appender.append(&frames).unwrap();
                let lengths: Vec<U32> = frames.iter().map(|f| U32::new(u32::try_from(f.len()).unwrap())).collect();
                objects.push((content, offset, lengths));
            }
            appender.seal().unwrap();
            let reader = Reader::new(folder.path().to_owned());
            for (which, from, length) in parts {
                let (content, offset, frames) = which.get(&objects);
                let location = Location { segment: 7, offset: *offset, size: content.len() as u64, frames };
                let read = reader.read(location, from, length).unwrap();
                let from = usize::try_from(from).unwrap().min(content.len());
                let to = (from + length).min(content.len());
                prop_assert_eq!(&read, &content[from..to]);
            }
        }
    }

    #[test]
    fn damage_is_an_error_and_an_unsealed_segment_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let frames = FrameWriter::new().unwrap().frames(&[9; 1000]).unwrap();
        let mut appender = Appender::begin(folder.path(), 1).unwrap();
        let offset = appender.append(&frames).unwrap();
        appender.seal().unwrap();
        drop(Appender::begin(folder.path(), 2).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let path = segment_path(folder.path(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let lengths = [U32::new(u32::try_from(frames[0].len()).unwrap())];
        let location = Location { segment: 1, offset, size: 1000, frames: &lengths };
        let reader = Reader::new(folder.path().to_owned());
        assert!(matches!(reader.read(location, 0, 10), Err(StoreError::Damaged { .. })));
        let beyond = Location { offset: 1 << 40, ..location };
        assert!(matches!(reader.read(beyond, 0, 10), Err(StoreError::Damaged { .. })));
    }
}

//! New objects' contents, one after the other, into a segment: cut into frames, compressed on all
//! processors, appended in order.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use super::append::Appender;
use super::segment::{FRAME_BYTES, FrameWriter};
use super::{Location, StoreError};
use crate::id::{Digest, SegmentId};

/// Frames that wait for the appending thread, at most.
const WAITING: usize = 64;

/// A part of an object's content, and where in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    object: usize,
    from: u64,
    at: usize,
    length: usize,
}

/// Lays objects of these sizes out. Returns where their contents begin, and where the last one ends.
///
/// Small ones follow each other. One that fills a frame begins with a new one, so that aligned
/// reads of it touch no frame more than they must; what is left empty before it compresses to
/// nothing.
fn lay_out(sizes: &[u64]) -> (Vec<u64>, u64) {
    let mut end = 0_u64;
    let positions = sizes.iter().map(|size| {
        if *size >= FRAME_BYTES as u64 {
            end = end.next_multiple_of(FRAME_BYTES as u64);
        }
        let position = end;
        end += size;
        position
    });
    (positions.collect(), end)
}

/// Cuts objects at these positions and of these sizes into the parts that are in each frame.
fn cut(positions: &[u64], sizes: &[u64]) -> Vec<Vec<Slice>> {
    let mut frames = Vec::new();
    for (object, (position, size)) in positions.iter().zip(sizes).enumerate() {
        let mut from = 0;
        while from < *size {
            let number = usize::try_from((position + from) / FRAME_BYTES as u64);
            let at = usize::try_from((position + from) % FRAME_BYTES as u64).unwrap_or(0);
            let left = usize::try_from(size - from).unwrap_or(usize::MAX);
            let slice = Slice { object, from, at, length: left.min(FRAME_BYTES - at) };
            from += slice.length as u64;
            frames.resize_with(number.unwrap_or(usize::MAX) + 1, Vec::new);
            if let Some(frame) = frames.last_mut() {
                frame.push(slice);
            }
        }
    }
    frames
}

/// A segment that is sealed and not yet in the catalog.
#[derive(Debug)]
pub struct SealedSegment {
    /// Number.
    pub id: SegmentId,
    /// Length in bytes.
    pub bytes: u64,
    /// Digest of all its bytes.
    pub digest: Digest,
    /// Locations of the objects that were written, in their order.
    pub locations: Vec<Location>,
}

/// Writes a segment of objects of these sizes and seals it.
///
/// `read` fills a buffer with an object's content from an offset on. `told` hears how many bytes of
/// content are done, and of how many.
pub fn write<E: From<StoreError> + Send>(
    mut appender: Appender,
    sizes: &[u64],
    read: impl Fn(usize, u64, &mut [u8]) -> Result<(), E> + Sync,
    told: &mut dyn FnMut(u64, u64),
) -> Result<SealedSegment, E> {
    let (positions, end) = lay_out(sizes);
    let frames = cut(&positions, sizes);
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| -> Result<(), E> {
        let (packed, arriving) = sync_channel(WAITING);
        for _ in 0..workers {
            let (packed, frames, next, read) = (packed.clone(), &frames, &next, &read);
            scope.spawn(move || {
                let mut writer = match FrameWriter::new().map_err(failed) {
                    Ok(writer) => writer,
                    Err(error) => return drop(packed.send(Err(error.into()))),
                };
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slices) = frames.get(number) else { return };
                    let is_last = number + 1 == frames.len();
                    let frame = pack(slices, is_last, &mut writer, read);
                    let frame = frame.map(|frame| (number, frame));
                    // Where nobody listens, the appending thread has failed and says why.
                    if packed.send(frame).is_err() {
                        return;
                    }
                }
            });
        }
        drop(packed);
        let mut early = BTreeMap::new();
        let mut next_due = 0;
        for frame in arriving {
            let (number, frame) = frame?;
            early.insert(number, frame);
            while let Some(frame) = early.remove(&next_due) {
                appender.append(&frame)?;
                next_due += 1;
            }
            told((next_due as u64 * FRAME_BYTES as u64).min(end), end);
        }
        Ok(())
    })?;
    let id = appender.id();
    let location =
        |(position, size): (&u64, &u64)| Location { segment: id, position: *position, size: *size };
    let locations = positions.iter().zip(sizes).map(location).collect();
    let (bytes, digest) = appender.seal(end)?;
    Ok(SealedSegment { id, bytes, digest, locations })
}

/// A failure of the compressor.
fn failed(error: io::Error) -> StoreError {
    StoreError::at(Path::new("zstd"))(error)
}

/// Compresses a frame; only the last one may be less than full.
fn pack<E: From<StoreError>>(
    slices: &[Slice],
    is_last: bool,
    writer: &mut FrameWriter,
    read: &impl Fn(usize, u64, &mut [u8]) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let end = slices.last().map_or(0, |slice| slice.at + slice.length);
    let mut content = vec![0; if is_last { end } else { FRAME_BYTES }];
    for slice in slices {
        if let Some(part) = content.get_mut(slice.at..slice.at + slice.length) {
            read(slice.object, slice.from, part)?;
        }
    }
    Ok(writer.frame(&content).map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::local::Local;
    use crate::store::read::Reader;
    use crate::store::segments::Segments;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_is_in_one_frame_in_order(
            sizes in proptest::collection::vec(0..(3 * FRAME_BYTES as u64), 0..20),
        ) {
            let (positions, end) = lay_out(&sizes);
            let frames = cut(&positions, &sizes);
            prop_assert_eq!(frames.len() as u64, end.div_ceil(FRAME_BYTES as u64));
            let mut seen = vec![0; sizes.len()];
            for frame in &frames {
                let mut free = 0;
                for slice in frame {
                    prop_assert!(slice.at >= free && slice.length > 0);
                    free = slice.at + slice.length;
                    prop_assert!(free <= FRAME_BYTES);
                    prop_assert_eq!(seen[slice.object], slice.from);
                    seen[slice.object] += slice.length as u64;
                }
            }
            prop_assert_eq!(&seen, &sizes);
            for (position, size) in positions.iter().zip(&sizes) {
                prop_assert!(*size < FRAME_BYTES as u64 || position % FRAME_BYTES as u64 == 0);
            }
        }
    }

    #[test]
    fn what_is_written_is_read_and_what_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let segments = Local::of(folder.path());
        segments.create().unwrap();
        let contents: Vec<Vec<u8>> = (1..40_u8).map(|n| vec![n; usize::from(n) * 9973]).collect();
        let sizes: Vec<u64> = contents.iter().map(|content| content.len() as u64).collect();
        let read = |object: usize, from: u64, part: &mut [u8]| {
            let from = usize::try_from(from).unwrap();
            part.copy_from_slice(&contents[object][from..from + part.len()]);
            Ok::<(), StoreError>(())
        };
        let mut told = (0, 0);
        let appender = Appender::begin(&*segments, 5).unwrap();
        let written = write(appender, &sizes, read, &mut |done, total| told = (done, total));
        let locations = written.unwrap().locations;
        assert!(told.0 == told.1 && told.1 > 1 << 20);
        let reader = Reader::new(segments.clone()).unwrap();
        for (location, content) in locations.iter().zip(&contents) {
            assert_eq!(*reader.read(*location, 0, content.len()).unwrap(), content[..]);
        }
        let appender = Appender::begin(&*segments, 6).unwrap();
        let failing = |object, _, _: &mut [u8]| match object {
            20 => Err(failed(io::ErrorKind::InvalidData.into())),
            _ => Ok(()),
        };
        assert!(write(appender, &sizes, failing, &mut |_, _| {}).is_err());
        assert_eq!(segments.list().unwrap().len(), 1);
    }
}

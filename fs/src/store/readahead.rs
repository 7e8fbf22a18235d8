//! Readahead: which frames to decode ahead of their reader. Pure.
//!
//! A segment's content is in the order in which imports read it, so the frames after the one that a
//! small object is read from are the next. (Of large ones, such as libraries, which are mapped, the
//! kernel itself asks for more than is needed at once.) Each run of reads through a segment is a
//! *stream*: it begins narrow, and doubles each time that what was read ahead is what is read.

use std::ops::Range;

use super::frame_cache::FrameId;
use super::segment::FRAME_BYTES;
use crate::id::SegmentId;

/// First width of a stream, in frames: a read that goes nowhere costs no more.
const NARROWEST: u32 = 2;
/// Largest width of a stream, in bytes of content.
pub const WIDEST_BYTES: usize = 8 << 20;
/// Streams that are followed at once.
const STREAMS: usize = 16;

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const WIDEST: u32 = (WIDEST_BYTES / FRAME_BYTES) as u32;

/// A run of reads through a segment.
#[derive(Debug, Clone, Copy)]
struct Stream {
    segment: SegmentId,
    /// The frame that was read last.
    at: u32,
    /// The first that was not read ahead.
    ahead: u32,
    width: u32,
    used: u64,
}

/// The streams that are being read.
#[derive(Debug, Default)]
pub struct Streams {
    streams: Vec<Stream>,
    clock: u64,
}

impl Streams {
    /// Takes note that a frame is read, of a segment with `frames` of them, for an object of
    /// less than one. Returns which frames to decode ahead now.
    pub fn read(&mut self, (segment, frame): FrameId, frames: u32) -> Range<u32> {
        self.clock += 1;
        let used = self.clock;
        let follows = |stream: &&mut Stream| {
            stream.segment == segment && (stream.at..=stream.ahead).contains(&frame)
        };
        let Some(stream) = self.streams.iter_mut().find(follows) else {
            let ahead = frame.saturating_add(1 + NARROWEST).min(frames);
            let stream = Stream { segment, at: frame, ahead, width: NARROWEST, used };
            let is_full = self.streams.len() == STREAMS;
            match self.streams.iter_mut().min_by_key(|stream| stream.used) {
                Some(oldest) if is_full => *oldest = stream,
                _ => self.streams.push(stream),
            }
            return frame.saturating_add(1).min(frames)..ahead;
        };
        stream.used = used;
        if frame == stream.at {
            return 0..0;
        }
        stream.at = frame;
        // Not for each frame: half a width at a time keeps disk and decoder busy with few words.
        if stream.ahead.saturating_sub(frame) > stream.width / 2 {
            return 0..0;
        }
        stream.width = (stream.width * 2).min(WIDEST);
        let from = stream.ahead.max(frame + 1).min(frames);
        stream.ahead = frame.saturating_add(1 + stream.width).min(frames);
        from..stream.ahead.max(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_is_read_ahead_of_and_widens() {
        let mut streams = Streams::default();
        let mut ahead = 0;
        let mut asked = 0;
        for frame in 0..1000 {
            let wanted = streams.read((1, frame), 1000);
            if frame > 0 {
                assert!(ahead > frame || wanted.start == frame + 1, "{frame}");
            }
            if !wanted.is_empty() {
                assert!(wanted.start >= ahead, "{frame}: {wanted:?}");
                asked += 1;
                ahead = wanted.end;
            }
        }
        assert_eq!(ahead, 1000);
        assert!(asked < 60, "{asked}");
    }

    #[test]
    fn reads_here_and_there_stay_narrow() {
        let mut streams = Streams::default();
        for n in 0..100_u32 {
            let wanted = streams.read((1, n * 7919 % 10_000), 10_000);
            assert!(wanted.len() <= NARROWEST as usize);
        }
    }

    proptest! {
        #[test]
        fn nothing_outside_the_segment_is_wanted(
            reads in proptest::collection::vec((0..3_u32, 0..50_u32), 0..200),
        ) {
            let mut streams = Streams::default();
            for (segment, frame) in reads {
                let wanted = streams.read((segment, frame), 50);
                prop_assert!(wanted.end <= 50 && wanted.start <= wanted.end);
                prop_assert!(wanted.is_empty() || wanted.start > frame);
                prop_assert!(streams.streams.len() <= STREAMS);
            }
        }
    }
}

//! Comparing objects in sealed segments with their digests.

use std::collections::BTreeMap;

use super::Location;
use super::sealed::Segment;
use super::segment::FRAME_BYTES;
use super::segments::Segments;
use crate::id::{Digest, ObjectId, SegmentId};

/// An object that should be in a segment.
pub type StoredObject = (ObjectId, Location, Digest);

/// Reads the frames of a segment that have a part of `objects`, which are in the order of their
/// positions. Returns those whose content is not what was stored, and why. `told` hears of bytes
/// that were read.
pub fn read_segment(
    segments: &dyn Segments,
    id: SegmentId,
    objects: &[StoredObject],
    told: &mut dyn FnMut(u64),
) -> BTreeMap<ObjectId, String> {
    let mut damaged = BTreeMap::new();
    let segment = match Segment::open(segments, id) {
        Ok(segment) => segment,
        Err(error) => {
            let reason = error.to_string();
            return objects.iter().map(|(object, ..)| (*object, reason.clone())).collect();
        }
    };
    let mut coming = objects.iter().peekable();
    let mut open: Vec<(&StoredObject, blake3::Hasher)> = Vec::new();
    let mut content = Vec::with_capacity(FRAME_BYTES);
    for number in 0..segment.directory().frames() {
        let begin = u64::from(number) * FRAME_BYTES as u64;
        let end = begin + segment.directory().frame_content(number) as u64;
        while let Some(next) = coming.next_if(|(_, location, _)| location.position < end) {
            open.push((next, blake3::Hasher::new()));
        }
        if open.is_empty() {
            // Damage there is nobody's.
            continue;
        }
        let bytes = segment.directory().frame(number).map_or(0, |(_, length)| length as u64);
        content.clear();
        match segment.frame(number, &mut content) {
            Ok(()) => {
                for ((_, location, _), hasher) in &mut open {
                    let from = location.position.saturating_sub(begin);
                    let to = location.end().saturating_sub(begin);
                    let within =
                        |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
                    hasher.update(&content[within(from)..within(to)]);
                }
            }
            Err(error) => {
                damaged.extend(open.iter().map(|((id, ..), _)| (*id, error.to_string())));
            }
        }
        told(bytes);
        open.retain(|((object, location, digest), hasher)| {
            let is_over = location.end() <= end;
            if is_over && hasher.finalize().as_bytes() != &digest.0 {
                let differs = || format!("its content in segment {id} has another digest");
                damaged.entry(*object).or_insert_with(differs);
            }
            !is_over
        });
    }
    let beyond = open.into_iter().map(|(object, _)| object).chain(coming);
    for (object, ..) in beyond {
        let reason = || format!("segment {id} ends before its content does");
        damaged.entry(*object).or_insert_with(reason);
    }
    damaged
}

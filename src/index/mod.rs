//! The segments of a root together: (origin, block number) → pieces of frames.

mod places;

use std::collections::HashMap;

use crate::format::{FrameRecord, Id, Segment};
use crate::storage::Bytes;

/// A frame: the segment that lists it, and its ordinal there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId {
    /// Place of the segment in the root.
    pub segment: u32,
    /// Ordinal of the frame in the segment.
    pub frame: u32,
}

/// Part of an inflated frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The frame.
    pub frame: FrameId,
    /// Length of the whole frame once inflated, in bytes.
    pub inflated: u32,
    /// Where the piece begins in it.
    pub offset: u32,
    /// How long the piece is, in bytes.
    pub length: u32,
}

impl Piece {
    /// Where it ends in the frame; beyond any frame, if that is what the index says.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.offset.saturating_add(self.length)
    }
}

/// Where the blocks of one origin are listed: segments and their slots for it, newest first.
#[derive(Debug, Clone, Default)]
pub struct Origin(Vec<(u32, u32)>);

/// Blocks that the index does not have, or not as long as was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the index has no such blocks")]
pub struct Missing;

/// All segments of a root.
#[derive(Debug)]
pub struct Index {
    segments: Vec<Segment<Bytes>>,
    origins: HashMap<Id, Origin>,
}

impl Index {
    /// The index made of `segments`, oldest first.
    #[must_use]
    pub fn new(segments: Vec<Segment<Bytes>>) -> Self {
        let mut origins: HashMap<Id, Origin> = HashMap::new();
        for (at, segment) in segments.iter().enumerate().rev() {
            for (slot, home) in segment.homes().iter().enumerate() {
                let place = (u32::try_from(at), u32::try_from(slot));
                if let (Ok(at), Ok(slot)) = place {
                    origins.entry(*home).or_default().0.push((at, slot));
                }
            }
        }
        Self { segments, origins }
    }

    /// Where the blocks of `origin` are listed; nowhere if it is unknown.
    #[must_use]
    pub fn origin(&self, origin: &Id) -> Origin {
        self.origins.get(origin).cloned().unwrap_or_default()
    }

    /// The record of a frame, and the pack that it lies in.
    #[must_use]
    pub fn frame(&self, id: FrameId) -> Option<(FrameRecord, Id)> {
        let segment = self.segments.get(id.segment as usize)?;
        let (record, pack) = segment.frame(id.frame as usize)?;
        Some((record, segment.packs().get(pack as usize)?.0))
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[Segment<Bytes>] {
        &self.segments
    }

    /// The ordinal of a block in the newest segment that has it, and how many that follow it are
    /// sure to follow it there.
    fn local(&self, origin: &Origin, number: u32) -> Option<(u32, u32, u32)> {
        for (segment, slot) in &origin.0 {
            if let Some((local, run)) = self.segments[*segment as usize].local(*slot, number) {
                // A newer segment may give any of the blocks that follow another place.
                let run = if origin.0.len() == 1 { run } else { 1 };
                return Some((*segment, local, run));
            }
        }
        None
    }

    /// Calls `each` with the segment, the first ordinal there and the count of blocks of `origin`
    /// that follow one another, from number `first` on; `count` in all, but those that it has not.
    pub fn stretches(
        &self,
        origin: &Origin,
        first: u32,
        count: u32,
        mut each: impl FnMut(u32, u32, u32),
    ) {
        let (mut number, mut left) = (first, count);
        while left > 0 {
            let run = match self.local(origin, number) {
                Some((segment, local, run)) => {
                    let run = run.clamp(1, left);
                    each(segment, local, run);
                    run
                }
                None => 1,
            };
            number = number.wrapping_add(run);
            left -= run;
        }
    }

    /// Where a block lies: its frame, and its offset and length in that, in bytes.
    #[must_use]
    pub fn block(&self, origin: &Origin, number: u32) -> Option<(FrameId, u32, u32)> {
        let (segment, local, _) = self.local(origin, number)?;
        let listed = self.segments.get(segment as usize)?;
        let (frame, offset) = listed.locate(local)?;
        let frame = FrameId { segment, frame: u32::try_from(frame).ok()? };
        Some((frame, offset, listed.length(local as usize)))
    }

    /// The lengths in bytes of the blocks of a run, one after another.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn lengths(&self, origin: &Origin, run: Run) -> Result<Vec<u32>, Missing> {
        let mut lengths = Vec::new();
        let (mut number, mut left) = (run.first, run.count);
        while left > 0 {
            let (segment, local, count) = self.local(origin, number).ok_or(Missing)?;
            let count = count.clamp(1, left);
            let listed = &self.segments[segment as usize];
            lengths.extend((0..count).map(|at| listed.length((local + at) as usize)));
            number = number.wrapping_add(count);
            left -= count;
        }
        let bytes: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        if bytes == run.bytes { Ok(lengths) } else { Err(Missing) }
    }

    /// Calls `each` with the pieces that hold bytes `from..to` of a run of `count` blocks.
    ///
    /// `bytes` is what the run was said to come to; if its blocks do not, it is [`Missing`], and
    /// `each` may have been called for some of it.
    ///
    /// # Errors
    /// [`Missing`], or what `each` returns.
    pub fn pieces<E: From<Missing>>(
        &self,
        origin: &Origin,
        run: Run,
        from: u64,
        to: u64,
        mut each: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut number, mut left, mut at) = (run.first, run.count, 0u64);
        while left > 0 {
            let (segment, local, length) = self.local(origin, number).ok_or(Missing)?;
            let length = length.min(left);
            at = self.stretch(segment, local, length, at, from, to, &mut each)?;
            number = number.wrapping_add(length);
            left -= length;
        }
        if at == run.bytes { Ok(()) } else { Err(Missing.into()) }
    }

    /// The pieces of `count` blocks that follow one another in a segment; `at` is where the first
    /// begins in the run. Returns where the last ends.
    #[expect(clippy::too_many_arguments, reason = "a loop body with a name")]
    fn stretch<E: From<Missing>>(
        &self,
        segment: u32,
        local: u32,
        count: u32,
        mut at: u64,
        from: u64,
        to: u64,
        each: &mut impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<u64, E> {
        let listed = &self.segments[segment as usize];
        let blocks = local as usize..local as usize + count as usize;
        let end = at + listed.sum(blocks);
        let (mut frame, mut offset) = listed.locate(local).ok_or(Missing)?;
        while at < end {
            let (record, _) = listed.frame(frame).ok_or(Missing)?;
            let inflated = record.inflated;
            let here = u64::from(inflated.checked_sub(offset).ok_or(Missing)?).min(end - at);
            let (first, last) = (from.max(at), to.min(at + here));
            if first < last {
                let frame = u32::try_from(frame).map_err(|_| Missing)?;
                let within = |position: u64| u32::try_from(position - at).unwrap_or(u32::MAX);
                each(Piece {
                    frame: FrameId { segment, frame },
                    inflated,
                    offset: offset + within(first),
                    length: within(last) - within(first),
                })?;
            }
            at += here;
            frame += 1;
            offset = 0;
        }
        Ok(end)
    }
}

/// A run of consecutive blocks of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first block's number.
    pub first: u32,
    /// How many blocks.
    pub count: u32,
    /// What they come to, in bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Codec, IndexBuilder};

    fn frame(inflated: u32, first_block: u32) -> FrameRecord {
        let codec = Codec::Zstd;
        FrameRecord { offset: 48, stored: 1, inflated, first_block, codec, checksum: 0 }
    }

    fn pieces(index: &Index, run: Run, from: u64, to: u64) -> Vec<(u32, u32, u32, u32)> {
        let mut found = Vec::new();
        let origin = index.origin(&[9; 32]);
        index
            .pieces::<Missing>(&origin, run, from, to, |piece| {
                let FrameId { segment, frame } = piece.frame;
                found.push((segment, frame, piece.offset, piece.length));
                Ok(())
            })
            .unwrap();
        found
    }

    #[test]
    fn pieces_cross_frames_and_follow_moved_blocks() {
        let mut old = IndexBuilder::default();
        old.add_pack([1; 32], 500, &[frame(30, 0), frame(70, 2)], &[10, 20, 30, 40]);
        old.add_range([9; 32], 0, 4, 0);
        let run = Run { first: 1, count: 3, bytes: 90 };
        let open = |builder: IndexBuilder| Segment::open(Bytes::Owned(builder.finish().0)).unwrap();
        let index = Index::new(vec![open(old)]);
        assert_eq!(pieces(&index, run, 0, 90), [(0, 0, 10, 20), (0, 1, 0, 70)]);
        assert_eq!(pieces(&index, run, 19, 21), [(0, 0, 29, 1), (0, 1, 0, 1)]);
        assert_eq!(pieces(&index, run, 89, 90), [(0, 1, 69, 1)]);
        let wrong = Run { bytes: 91, ..run };
        let lies = index.pieces(&index.origin(&[9; 32]), wrong, 0, 91, |_| Ok::<_, Missing>(()));
        assert_eq!(lies, Err(Missing));
        let beyond = Run { first: 3, count: 2, bytes: 41 };
        assert!(
            index.pieces(&index.origin(&[9; 32]), beyond, 0, 1, |_| Ok::<_, Missing>(())).is_err()
        );

        let mut old = IndexBuilder::default();
        old.add_pack([1; 32], 500, &[frame(30, 0), frame(70, 2)], &[10, 20, 30, 40]);
        old.add_range([9; 32], 0, 4, 0);
        let mut new = IndexBuilder::default();
        new.add_pack([2; 32], 500, &[frame(30, 0)], &[30]);
        new.add_range([9; 32], 2, 1, 0);
        let index = Index::new(vec![open(old), open(new)]);
        assert_eq!(pieces(&index, run, 0, 90), [(0, 0, 10, 20), (1, 0, 0, 30), (0, 1, 30, 40)]);
    }
}

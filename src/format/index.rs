//! The index segment, read in place: block number → frame and offset.
//! Layout: `format-spec.md`, "Index segment".

use std::collections::HashMap;

use super::pack::frames_cover;
use super::wire::{Cursor, Put};
use super::{
    Codec, ENVELOPE_LEN, FormatError, FrameRecord, ID_LEN, Id, MAX_BLOCK, MAX_FRAME_BLOCKS,
    MAX_TABLE, Problem, Range, Section, check_plain, seal,
};

/// Length of a frame record in a segment, in bytes.
pub const FRAME_RECORD_LEN: usize = 40;
/// Length of a pack record in a segment, in bytes.
const PACK_RECORD_LEN: usize = 48;
/// What a range takes at most, in bytes.
const RANGE_LEN: usize = 20;
/// Length of the fixed fields before a segment's tables, in bytes.
const FIXED_LEN: usize = 32;
/// What is read in place lies at multiples of this, in bytes.
const ALIGN: usize = 8;

/// An index segment over the bytes that hold it (a map of a file, or memory).
#[derive(Debug)]
pub struct Segment<B> {
    bytes: B,
    homes: Vec<Id>,
    packs: Vec<(Id, u64)>,
    ranges: Vec<Range>,
    frames_at: usize,
    frame_count: usize,
    lengths_at: usize,
    block_count: usize,
}

impl<B: AsRef<[u8]>> Segment<B> {
    /// Checks a segment that must fill `bytes`, and keeps them to answer from.
    ///
    /// # Errors
    /// If the segment is damaged, malformed or over a limit.
    pub fn open(bytes: B) -> Result<Self, FormatError> {
        check_plain(Section::Index, bytes.as_ref())?;
        let mut ranges_at = 0..0;
        let segment = Self::parse(bytes, &mut ranges_at);
        let mut segment = segment.map_err(|problem| problem.of(Section::Index))?;
        let ranges = &segment.bytes.as_ref()[ranges_at];
        segment.ranges = Range::decode_all(ranges, segment.homes.len(), segment.block_count)?;
        Ok(segment)
    }

    /// Parses all but the ranges, and says where these lie.
    fn parse(bytes: B, ranges_at: &mut std::ops::Range<usize>) -> Result<Self, Problem> {
        let all = bytes.as_ref();
        let payload = all.get(ENVELOPE_LEN..).ok_or(Problem::Truncated)?;
        let mut cursor = Cursor::new(payload);
        let home_count = cursor.count(ID_LEN)?;
        let pack_count = cursor.count(PACK_RECORD_LEN)?;
        let frame_count = cursor.count(FRAME_RECORD_LEN)?;
        let block_count = cursor.count(2)?;
        let ranges_len = cursor.count(1)?;
        if (cursor.u32()?, cursor.u64()?) != (0, 0) {
            return Err(Problem::Malformed("tables without their feature"));
        }
        let homes: Vec<Id> = cursor.records(home_count, ID_LEN)?.as_chunks().0.to_vec();
        let mut packs = Vec::with_capacity(pack_count);
        for _ in 0..pack_count {
            packs.push((cursor.array()?, cursor.u64()?));
            cursor.u64()?;
        }
        cursor.take(ranges_len.next_multiple_of(ALIGN))?;
        cursor.records(frame_count, FRAME_RECORD_LEN)?;
        cursor.records(block_count, 2)?;
        cursor.end()?;
        let frames_at = ENVELOPE_LEN
            + FIXED_LEN
            + home_count * ID_LEN
            + pack_count * PACK_RECORD_LEN
            + ranges_len.next_multiple_of(ALIGN);
        *ranges_at = frames_at - ranges_len.next_multiple_of(ALIGN)..frames_at;
        ranges_at.end = ranges_at.start + ranges_len;
        let ranges = Vec::new();
        let lengths_at = frames_at + frame_count * FRAME_RECORD_LEN;
        let segment =
            Self { bytes, homes, packs, ranges, frames_at, frame_count, lengths_at, block_count };
        segment.check_frames()?;
        Ok(segment)
    }

    fn check_frames(&self) -> Result<(), Problem> {
        for frame in 0..self.frame_count {
            let (record, pack) = self.parse_frame(frame)?;
            record.valid()?;
            let (_, length) = self
                .packs
                .get(pack as usize)
                .ok_or(Problem::Malformed("a frame without a pack"))?;
            if record.offset + u64::from(record.stored) > *length {
                return Err(Problem::Malformed("a frame beyond the end of its pack"));
            }
        }
        let frames = (0..self.frame_count).filter_map(|frame| Some(self.frame(frame)?.0));
        frames_cover(frames, |blocks| self.sum(blocks), self.block_count)
    }

    fn parse_frame(&self, frame: usize) -> Result<(FrameRecord, u32), Problem> {
        let at = self.frames_at + frame * FRAME_RECORD_LEN;
        let mut cursor = Cursor::new(&self.bytes.as_ref()[at..at + FRAME_RECORD_LEN]);
        let (offset, checksum) = (cursor.u64()?, cursor.u64()?);
        let (stored, inflated) = (cursor.u32()?, cursor.u32()?);
        let (first_block, pack) = (cursor.u32()?, cursor.u32()?);
        let codec = Codec::parse(cursor.u8()?)?;
        Ok((FrameRecord { offset, stored, inflated, first_block, codec, checksum }, pack))
    }

    /// The frame of ordinal `frame`, and which of the packs it lies in.
    ///
    /// Checked again at each use: a mapped file may change below us, whatever we agreed on.
    #[must_use]
    pub fn frame(&self, frame: usize) -> Option<(FrameRecord, u32)> {
        if frame >= self.frame_count {
            return None;
        }
        let (record, pack) = self.parse_frame(frame).ok()?;
        record.valid().ok()?;
        Some((record, pack))
    }

    /// Length of the block of ordinal `block`, in bytes.
    #[must_use]
    pub fn length(&self, block: usize) -> u32 {
        let at = self.lengths_at + block * 2;
        let bytes = self.bytes.as_ref();
        Range::unpack_length([bytes[at], bytes[at + 1]])
    }

    /// How many bytes some blocks are together.
    #[must_use]
    pub fn sum(&self, blocks: std::ops::Range<usize>) -> u64 {
        let at = self.lengths_at + blocks.start * 2..self.lengths_at + blocks.end * 2;
        let (lengths, _) = self.bytes.as_ref()[at].as_chunks();
        lengths.iter().map(|stored| u64::from(Range::unpack_length(*stored))).sum()
    }

    fn first_block(&self, frame: usize) -> u32 {
        let at = self.frames_at + frame * FRAME_RECORD_LEN + 24;
        let bytes = self.bytes.as_ref();
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// The frame that holds the block of ordinal `block`, and the block's offset once inflated.
    #[must_use]
    pub fn locate(&self, block: u32) -> Option<(usize, u32)> {
        if block as usize >= self.block_count {
            return None;
        }
        let (mut low, mut high) = (0, self.frame_count);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.first_block(middle) <= block { low = middle } else { high = middle }
        }
        let first = self.first_block(low);
        // So many at most, even if the map changed below us.
        if block.checked_sub(first)? >= MAX_FRAME_BLOCKS {
            return None;
        }
        let offset = self.sum(first as usize..block as usize);
        Some((low, u32::try_from(offset).ok()?))
    }

    /// Ordinal of block `number` of `home` (a slot in [`Segment::homes`]), and how many blocks
    /// from it on follow one another here.
    #[must_use]
    pub fn local(&self, home: u32, number: u32) -> Option<(u32, u32)> {
        let after =
            self.ranges.partition_point(|range| (range.home, range.first) <= (home, number));
        let range = self.ranges.get(after.checked_sub(1)?)?;
        // The range before may be of another home, and begin anywhere.
        let into = number.checked_sub(range.first).filter(|_| range.home == home)?;
        (into < range.count).then(|| (range.local + into, range.count - into))
    }

    /// Which numbers its blocks have, in the order of (home, number).
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The origins whose block numbers this segment knows.
    #[must_use]
    pub fn homes(&self) -> &[Id] {
        &self.homes
    }

    /// The packs its frames lie in, each with its length in bytes.
    #[must_use]
    pub fn packs(&self) -> &[(Id, u64)] {
        &self.packs
    }

    /// How many frames it lists.
    #[must_use]
    pub fn frame_count(&self) -> usize {
        self.frame_count
    }

    /// How many blocks it lists.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.block_count
    }
}

/// Collects packs, in order, into a segment.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    homes: Vec<Id>,
    /// The place of each among the homes.
    slots: HashMap<Id, u32>,
    packs: Vec<(Id, u64)>,
    ranges: Vec<Range>,
    frames: Vec<u8>,
    frame_count: usize,
    lengths: Vec<u8>,
    block_count: u32,
}

impl IndexBuilder {
    /// Adds a pack's frames and blocks after those already there.
    pub fn add_pack(&mut self, id: Id, length: u64, frames: &[FrameRecord], lengths: &[u32]) {
        let pack = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        self.packs.push((id, length));
        frames.iter().for_each(|frame| self.add_frame(frame, pack));
        self.lengths.extend(lengths.iter().flat_map(|length| Range::pack_length(*length)));
        let count = u32::try_from(lengths.len()).unwrap_or(u32::MAX);
        self.block_count = self.block_count.saturating_add(count);
    }

    /// Adds a frame whose first block is counted from those already there.
    fn add_frame(&mut self, frame: &FrameRecord, pack: u32) {
        self.frames.put_u64(frame.offset);
        self.frames.put_u64(frame.checksum);
        self.frames.put_u32(frame.stored);
        self.frames.put_u32(frame.inflated);
        self.frames.put_u32(self.block_count.saturating_add(frame.first_block));
        self.frames.put_u32(pack);
        self.frames.push(frame.codec as u8);
        self.frames.extend([0; 7]);
        self.frame_count += 1;
    }

    /// Adds all that another segment lists after what is already there. None of its numbers may be.
    pub fn add_segment<B: AsRef<[u8]>>(&mut self, segment: &Segment<B>) {
        let packs = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        self.packs.extend(segment.packs());
        for frame in 0..segment.frame_count() {
            // A frame that is gone meanwhile, since a map changed, makes a segment that does not
            // check out.
            let Some((record, pack)) = segment.frame(frame) else { continue };
            self.add_frame(&record, packs.saturating_add(pack));
        }
        let before = self.block_count;
        for block in 0..segment.block_count() {
            self.lengths.extend(Range::pack_length(segment.length(block)));
        }
        let count = u32::try_from(segment.block_count()).unwrap_or(u32::MAX);
        self.block_count = before.saturating_add(count);
        for range in segment.ranges() {
            let home = segment.homes()[range.home as usize];
            self.add_range(home, range.first, range.count, before.saturating_add(range.local));
        }
    }

    /// States that blocks `local..` of this segment are blocks `first..` of `home`.
    pub fn add_range(&mut self, home: Id, first: u32, count: u32, local: u32) {
        let next = u32::try_from(self.homes.len()).unwrap_or(u32::MAX);
        let home = *self.slots.entry(home).or_insert_with(|| {
            self.homes.push(home);
            next
        });
        self.ranges.push(Range { home, first, count, local });
    }

    /// How many blocks were added.
    #[must_use]
    pub fn block_count(&self) -> u32 {
        self.block_count
    }

    /// Whether the segment has become longer than a reader takes.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        let packs = self.packs.len() * PACK_RECORD_LEN + self.ranges.len() * RANGE_LEN;
        packs + self.frames.len() + self.lengths.len() > MAX_TABLE - MAX_TABLE / 16
    }

    /// The segment's bytes and checksum.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, u64) {
        self.ranges.sort_by_key(|range| (range.home, range.first));
        let ranges = Range::encode_all(&self.ranges);
        let mut out = Vec::with_capacity(FIXED_LEN + self.frames.len() + self.lengths.len());
        out.put_len(self.homes.len());
        out.put_len(self.packs.len());
        out.put_len(self.frame_count);
        out.put_u32(self.block_count);
        out.put_len(ranges.len());
        out.put_u32(0); // reserved: references
        out.put_u64(0); // reserved: table of hashes
        self.homes.iter().for_each(|home| out.extend(home));
        for (id, length) in &self.packs {
            out.extend(id);
            out.put_u64(*length);
            out.put_u64(0);
        }
        out.extend(&ranges);
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        out.extend(&self.frames);
        out.extend(&self.lengths);
        seal(Section::Index, &out, None)
    }
}

const _: () = assert!(MAX_BLOCK == 1 << 16, "a block's length less one is stored in 16 bits");

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(offset: u64, inflated: u32, first_block: u32) -> FrameRecord {
        let (codec, checksum) = (Codec::Zstd, offset);
        FrameRecord { offset, stored: 5, inflated, first_block, codec, checksum }
    }

    fn built() -> Vec<u8> {
        let mut builder = IndexBuilder::default();
        builder.add_pack(
            [1; 32],
            500,
            &[frame(48, 30, 0), frame(53, 65_536, 2)],
            &[10, 20, 65_536],
        );
        builder.add_pack([2; 32], 100, &[frame(48, 7, 0)], &[3, 4]);
        builder.add_range([9; 32], 0, 3, 0);
        builder.add_range([8; 32], 70, 2, 3);
        builder.finish().0
    }

    #[test]
    fn finds_each_block_by_origin_and_number() {
        let segment = Segment::open(built()).unwrap();
        assert_eq!(segment.homes(), [[9; 32], [8; 32]]);
        assert_eq!(segment.local(0, 1), Some((1, 2)));
        assert_eq!(segment.local(0, 3), None);
        assert_eq!(segment.local(1, 71), Some((4, 1)));
        assert_eq!(segment.local(1, 69), None);
        assert_eq!(segment.locate(1), Some((0, 10)));
        assert_eq!(segment.locate(2), Some((1, 0)));
        assert_eq!(segment.locate(4), Some((2, 3)));
        assert_eq!(segment.locate(5), None);
        assert_eq!(segment.frame(2), Some((frame(48, 7, 3), 1)));
        assert_eq!(segment.frame(3), None);
    }

    #[test]
    fn a_frame_must_lie_in_its_pack_and_hold_its_blocks() {
        let mut short = IndexBuilder::default();
        short.add_pack([1; 32], 52, &[frame(48, 30, 0)], &[30]);
        assert!(Segment::open(short.finish().0).is_err());
        let mut long = IndexBuilder::default();
        long.add_pack([1; 32], 500, &[frame(48, 30, 0)], &[31]);
        assert!(Segment::open(long.finish().0).is_err());
        let mut lost = IndexBuilder::default();
        lost.add_pack([1; 32], 500, &[frame(48, 30, 0)], &[30]);
        lost.add_range([9; 32], 0, 2, 0);
        assert!(Segment::open(lost.finish().0).is_err());
    }
}

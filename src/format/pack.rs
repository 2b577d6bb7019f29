//! The pack: frames, then a footer that lists them and their blocks.
//! Layout: `format-spec.md`, "Pack".

use super::wire::{Cursor, Put};
use super::{
    BlockHash, ENVELOPE_LEN, FormatError, ID_LEN, Id, MAX_BLOCK, MAX_FRAME, MAX_FRAME_BLOCKS,
    MAX_PACK, Problem, Range, Section, open, seal,
};

/// How the bytes of a frame are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Codec {
    /// As they are: what does not compress.
    None = 0,
    /// One zstd frame, without its magic number.
    Zstd = 1,
    /// One lz4 block.
    Lz4 = 2,
}

impl Codec {
    pub(super) fn parse(byte: u8) -> Result<Self, Problem> {
        match byte {
            0 => Ok(Self::None),
            1 => Ok(Self::Zstd),
            2 => Ok(Self::Lz4),
            _ => Err(Problem::Malformed("unknown codec")),
        }
    }

    /// The codec's name, as the command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }
}

/// Where a frame lies in its pack, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRecord {
    /// Offset of its stored bytes from the pack's start.
    pub offset: u64,
    /// Length of its stored bytes.
    pub stored: u32,
    /// Length of its bytes once inflated: the sum of its blocks' lengths.
    pub inflated: u32,
    /// Ordinal, in the pack or index segment that lists it, of its first block.
    pub first_block: u32,
    /// How it is stored.
    pub codec: Codec,
    /// XXH3-64 of its stored bytes.
    pub checksum: u64,
}

impl FrameRecord {
    /// Checks what holds for every frame, wherever it is listed.
    pub(super) fn valid(&self) -> Result<(), Problem> {
        if self.inflated == 0 || self.inflated as usize > MAX_FRAME {
            return Err(Problem::Limit("length of a frame"));
        }
        if self.stored > self.inflated {
            return Err(Problem::Malformed("a frame stored longer than it is"));
        }
        if self.codec == Codec::None && self.stored != self.inflated {
            return Err(Problem::Malformed("two lengths for a frame stored as it is"));
        }
        if self.offset.checked_add(u64::from(self.stored)).is_none_or(|end| end > MAX_PACK) {
            return Err(Problem::Limit("length of a pack"));
        }
        Ok(())
    }
}

/// Checks that frames split the blocks between them and inflate to just their blocks; `sum` is how
/// many bytes some of these are together.
pub(super) fn frames_cover(
    frames: impl Iterator<Item = FrameRecord>,
    sum: impl Fn(std::ops::Range<usize>) -> u64,
    blocks: usize,
) -> Result<(), Problem> {
    let mut frames = frames.peekable();
    let mut next = 0;
    while let Some(frame) = frames.next() {
        let end = frames.peek().map_or(blocks, |after| after.first_block as usize);
        if frame.first_block as usize != next || end <= next || end > blocks {
            return Err(Problem::Malformed("frames that do not split the blocks between them"));
        }
        if end - next > MAX_FRAME_BLOCKS as usize {
            return Err(Problem::Limit("number of blocks in a frame"));
        }
        if sum(next..end) != u64::from(frame.inflated) {
            return Err(Problem::Malformed("a frame that is not as long as its blocks"));
        }
        next = end;
    }
    if next == blocks { Ok(()) } else { Err(Problem::Malformed("blocks without a frame")) }
}

/// What a pack says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFooter {
    /// The pack before it in the chain that one index segment introduced; zeros for the first.
    pub previous: Id,
    /// Block number of its first block, in that chain.
    pub first_number: u32,
    /// Its frames, in the order of their blocks.
    pub frames: Vec<FrameRecord>,
    /// Lengths of its blocks.
    pub lengths: Vec<u32>,
    /// Which hash names its blocks.
    pub hash: BlockHash,
    /// The blocks' hashes, `hash_len` bytes each.
    pub hashes: Vec<u8>,
    /// How many bytes of each hash are kept.
    pub hash_len: usize,
    /// Origins of blocks that were moved here from other packs.
    pub homes: Vec<Id>,
    /// Which blocks were moved here; empty in a pack that introduces its blocks.
    pub moved: Vec<Range>,
}

impl PackFooter {
    /// The section's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let moved = Range::encode_all(&self.moved);
        let mut out = Vec::with_capacity(64 + self.frames.len() * 32 + self.hashes.len());
        out.extend(self.previous);
        out.put_u32(self.first_number);
        out.put_len(self.frames.len());
        out.put_len(self.lengths.len());
        out.push(self.hash as u8);
        out.push(self.hash_len.to_le_bytes()[0]);
        out.put_u16(0);
        out.put_len(self.homes.len());
        out.put_len(moved.len());
        out.put_u64(0); // reserved: references of frames to their prefixes
        self.frames.iter().for_each(|frame| out.put_u64(frame.checksum));
        out.put_delta_column(self.frames.iter().map(|frame| frame.offset));
        out.put_column(self.frames.iter().map(|frame| u64::from(frame.stored)));
        out.put_column(self.frames.iter().map(|frame| u64::from(frame.inflated)));
        out.put_delta_column(self.frames.iter().map(|frame| u64::from(frame.first_block)));
        out.put_column(self.frames.iter().map(|frame| frame.codec as u64));
        out.extend(self.lengths.iter().flat_map(|length| Range::pack_length(*length)));
        out.extend(&self.hashes);
        self.homes.iter().for_each(|home| out.extend(home));
        out.extend(moved);
        // Only what is not hashes compresses, and that is little: the footer stays as it is.
        seal(Section::PackFooter, &out, None).0
    }

    /// Reads a section that must fill `bytes`, and lies at offset `at` of its pack.
    ///
    /// # Errors
    /// If the section is damaged, malformed or over a limit, or a frame does not lie before it.
    pub fn decode(bytes: &[u8], at: u64) -> Result<Self, FormatError> {
        let payload = open(Section::PackFooter, bytes)?;
        let fail = |problem: Problem| problem.of(Section::PackFooter);
        let (mut footer, moved) = Self::parse(&payload).map_err(fail)?;
        footer.moved = Range::decode_all(moved, footer.homes.len(), footer.lengths.len())?;
        footer.check(at).map_err(fail)?;
        Ok(footer)
    }

    /// Checks where frames lie, and that moved blocks are all there is in a pack that has any.
    fn check(&self, footer_at: u64) -> Result<(), Problem> {
        let mut end = ENVELOPE_LEN as u64;
        for frame in &self.frames {
            if frame.offset < end {
                return Err(Problem::Malformed("frames that overlap"));
            }
            end = frame.offset + u64::from(frame.stored);
        }
        if end > footer_at {
            return Err(Problem::Malformed("a frame beyond the footer"));
        }
        let chained = self.previous != Id::default() || self.first_number != 0;
        if !self.moved.is_empty() && (chained || !self.are_moved()) {
            return Err(Problem::Malformed("a pack of moved blocks that has others"));
        }
        Ok(())
    }

    /// Whether all blocks have a number of another chain.
    fn are_moved(&self) -> bool {
        let mut ranges: Vec<(u32, u32)> =
            self.moved.iter().map(|range| (range.local, range.count)).collect();
        ranges.sort_unstable();
        let covered = ranges.iter().try_fold(0u32, |end, (local, count)| {
            (*local <= end).then(|| end.max(local.saturating_add(*count)))
        });
        covered.is_some_and(|end| end as usize == self.lengths.len())
    }

    /// Parses all but the moved ranges, and finds these.
    fn parse(payload: &[u8]) -> Result<(Self, &[u8]), Problem> {
        let mut cursor = Cursor::new(payload);
        let previous = cursor.array()?;
        let first_number = cursor.u32()?;
        let frame_count = cursor.count(8)?;
        let block_count = cursor.count(2)?;
        let hash = BlockHash::parse(cursor.u8()?)?;
        let hash_len = usize::from(cursor.u8()?);
        hash.check_len(hash_len)?;
        cursor.u16()?;
        let (home_count, moved_len) = (cursor.count(ID_LEN)?, cursor.count(1)?);
        if cursor.u64()? != 0 {
            return Err(Problem::Malformed("frame references without their feature"));
        }
        let frames = parse_frames(&mut cursor, frame_count)?;
        let lengths = cursor.records(block_count, 2)?;
        let lengths: Vec<u32> =
            lengths.as_chunks().0.iter().map(|pair| Range::unpack_length(*pair)).collect();
        let hashes = cursor.records(block_count, hash_len)?.to_vec();
        let homes: Vec<Id> = cursor.records(home_count, ID_LEN)?.as_chunks().0.to_vec();
        let ranges = cursor.take(moved_len)?;
        cursor.end()?;
        if (first_number as usize).checked_add(block_count).is_none_or(|n| n > u32::MAX as usize) {
            return Err(Problem::Limit("number of blocks in a segment"));
        }
        let sum =
            |blocks: std::ops::Range<usize>| lengths[blocks].iter().copied().map(u64::from).sum();
        frames_cover(frames.iter().copied(), sum, lengths.len())?;
        let moved = Vec::new();
        let footer =
            Self { previous, first_number, frames, lengths, hash, hashes, hash_len, homes, moved };
        Ok((footer, ranges))
    }
}

fn parse_frames(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<FrameRecord>, Problem> {
    let mut checksums = Vec::with_capacity(count);
    for _ in 0..count {
        checksums.push(cursor.u64()?);
    }
    let offsets = cursor.delta_column(count)?;
    let stored = cursor.column_u32(count)?;
    let inflated = cursor.column_u32(count)?;
    let first_blocks = super::wire::narrow(cursor.delta_column(count)?)?;
    let codecs = cursor.column(count)?;
    let frame = |at: usize| {
        let frame = FrameRecord {
            offset: offsets[at],
            stored: stored[at],
            inflated: inflated[at],
            first_block: first_blocks[at],
            codec: Codec::parse(u8::try_from(codecs[at]).unwrap_or(u8::MAX))?,
            checksum: checksums[at],
        };
        frame.valid()?;
        Ok(frame)
    };
    (0..count).map(frame).collect()
}

const _: () = assert!(MAX_BLOCK == 1 << 16, "a block's length less one is stored in 16 bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_round_trips_and_is_checked() {
        let footer = PackFooter {
            previous: [0; 32],
            first_number: 0,
            frames: vec![
                FrameRecord {
                    offset: 48,
                    stored: 10,
                    inflated: 65_537,
                    first_block: 0,
                    codec: Codec::Zstd,
                    checksum: 1,
                },
                FrameRecord {
                    offset: 58,
                    stored: 9,
                    inflated: 9,
                    first_block: 2,
                    codec: Codec::None,
                    checksum: 2,
                },
            ],
            lengths: vec![65_536, 1, 9],
            hash: BlockHash::Blake3,
            hashes: vec![5; 48],
            hash_len: 16,
            homes: vec![[9; 32]],
            moved: vec![Range { home: 0, first: 4, count: 3, local: 0 }],
        };
        let decode = |footer: &PackFooter, at| PackFooter::decode(&footer.encode(), at);
        assert_eq!(decode(&footer, 67).unwrap(), footer);
        assert!(decode(&footer, 66).is_err());
        let mut chained = footer.clone();
        chained.previous = [3; 32];
        assert!(decode(&chained, 67).is_err());
        let mut long = footer.clone();
        long.frames[1].inflated = 10;
        long.frames[1].stored = 10;
        assert!(decode(&long, 68).is_err());
        let mut gap = footer.clone();
        gap.frames[1].first_block = 3;
        assert!(decode(&gap, 67).is_err());
        let mut twice = footer.clone();
        twice.moved.push(Range { home: 0, first: 9, count: 1, local: 1 });
        assert_eq!(decode(&twice, 67).unwrap(), twice, "a block may have two numbers");
        let mut beyond = footer;
        beyond.moved[0].count = 4;
        assert!(decode(&beyond, 67).is_err());
    }
}

//! Which numbers blocks have. Layout: `format-spec.md`, "Ranges".

use super::wire::{Cursor, Put, narrow};
use super::{FormatError, MAX_TABLE, Problem, Section, open, seal};

/// Compression of a section of ranges.
const LEVEL: i32 = 9;

/// A run of block numbers of one origin, and where it begins among a segment's or pack's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Which of the listed origins numbered the blocks.
    pub home: u32,
    /// The first block number.
    pub first: u32,
    /// How many follow one another.
    pub count: u32,
    /// Ordinal of the first among the blocks of the segment or pack.
    pub local: u32,
}

impl Range {
    /// Length of a range in memory, in bytes.
    const LEN: usize = 16;

    /// The section of these ranges; no bytes if there are none.
    #[must_use]
    pub fn encode_all(ranges: &[Self]) -> Vec<u8> {
        if ranges.is_empty() {
            return Vec::new();
        }
        let mut out = Vec::new();
        out.put_len(ranges.len());
        out.put_column(ranges.iter().map(|range| u64::from(range.home)));
        out.put_delta_column(ranges.iter().map(|range| u64::from(range.first)));
        out.put_column(ranges.iter().map(|range| u64::from(range.count)));
        out.put_delta_column(ranges.iter().map(|range| u64::from(range.local)));
        seal(Section::Ranges, &out, Some(LEVEL)).0
    }

    /// Reads a section of ranges that must fill `bytes`, of blocks and origins of that many; no
    /// bytes are no ranges.
    ///
    /// # Errors
    /// If the section is damaged, or ranges are out of order, lie over one another, or lead
    /// nowhere.
    pub fn decode_all(bytes: &[u8], homes: usize, blocks: usize) -> Result<Vec<Self>, FormatError> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let payload = open(Section::Ranges, bytes)?;
        let parse = || {
            let mut cursor = Cursor::new(&payload);
            // No range has a count of 0, so each takes a byte at least.
            let rows = cursor.count(1)?;
            if rows > MAX_TABLE / Self::LEN {
                return Err(Problem::Limit("number of ranges"));
            }
            let homes = cursor.column_u32(rows)?;
            let firsts = narrow(cursor.delta_column(rows)?)?;
            let counts = cursor.column_u32(rows)?;
            let locals = narrow(cursor.delta_column(rows)?)?;
            cursor.end()?;
            let range = |at: usize| Self {
                home: homes[at],
                first: firsts[at],
                count: counts[at],
                local: locals[at],
            };
            Ok((0..rows).map(range).collect::<Vec<_>>())
        };
        let check = |ranges: Vec<Self>| Self::check(&ranges, homes, blocks).map(|()| ranges);
        parse().and_then(check).map_err(|problem| problem.of(Section::Ranges))
    }

    /// Checks ranges: in order, not over one another, and within homes and blocks.
    fn check(ranges: &[Self], homes: usize, blocks: usize) -> Result<(), Problem> {
        let mut last = (0u32, 0u64);
        for range in ranges {
            let end = u64::from(range.first) + u64::from(range.count);
            let local_end = u64::from(range.local) + u64::from(range.count);
            let ordered = (range.home, u64::from(range.first)) >= last;
            if range.count == 0 || !ordered || end > u64::from(u32::MAX) {
                return Err(Problem::Malformed("ranges of block numbers out of order"));
            }
            if range.home as usize >= homes || local_end > blocks as u64 {
                return Err(Problem::Malformed("a range of block numbers that leads nowhere"));
            }
            last = (range.home, end);
        }
        Ok(())
    }

    /// A block's length as it is stored: less one, in 16 bits.
    pub(super) fn pack_length(length: u32) -> [u8; 2] {
        u16::try_from(length.wrapping_sub(1)).unwrap_or(u16::MAX).to_le_bytes()
    }

    /// A block's length from its stored form.
    pub(super) fn unpack_length(stored: [u8; 2]) -> u32 {
        u32::from(u16::from_le_bytes(stored)) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_round_trip(
            steps in prop::collection::vec((0u32..2, 0u32..9, 1u32..99, 0u32..999), 0..60)
        ) {
            let (mut home, mut next) = (0, 0);
            let ranges: Vec<Range> = steps.iter().map(|(leap, gap, count, local)| {
                home += leap;
                next = if *leap > 0 { *gap } else { next + gap };
                let range = Range { home, first: next, count: *count, local: *local };
                next += count;
                range
            }).collect();
            let bytes = Range::encode_all(&ranges);
            prop_assert_eq!(Range::decode_all(&bytes, 99, 2000).unwrap(), ranges.clone());
            prop_assert_eq!(Range::decode_all(&bytes, 0, 2000).is_err(), !ranges.is_empty());
        }
    }

    #[test]
    fn ranges_lead_somewhere_and_are_in_order() {
        let range = Range { home: 0, first: 5, count: 3, local: 1 };
        let decode = |ranges: &[Range]| Range::decode_all(&Range::encode_all(ranges), 1, 4);
        assert!(decode(&[range]).is_ok());
        assert!(decode(&[range, Range { first: 7, ..range }]).is_err());
        assert!(decode(&[Range { count: 0, ..range }]).is_err());
        assert!(decode(&[Range { local: 2, ..range }]).is_err());
        assert!(decode(&[Range { first: u32::MAX - 1, ..range }]).is_err());
    }
}

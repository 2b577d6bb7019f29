//! Tree pages of file extents. Layout: `format-spec.md`, "Page of extents".

use super::wire::{Cursor, Put, narrow, unzigzag, zigzag};
use super::{FormatError, MAX_BLOCK, MAX_PAGE_ROWS, MAX_RUN, Problem, Section, open_with, seal};

/// Page flag: the last extent is not the last of its file.
const FLAG_GOES_ON: u32 = 1;

/// A stretch of a file: a run of consecutive blocks, or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The file.
    pub inode: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is, in bytes; [`Extent::REST`] in the last one of its file.
    pub bytes: u64,
    /// 0 for a hole, else one more than the blocks' origin among those of the tree.
    pub origin: u32,
    /// The first block's number.
    pub first: u32,
    /// How many blocks.
    pub count: u32,
}

impl Extent {
    /// The length of the last extent of a file: up to where the file ends, as its inode says.
    pub const REST: u64 = 0;

    /// Offset of the first byte after it; boundless where that is for the inode to say.
    #[must_use]
    pub fn end(&self) -> u64 {
        match self.bytes {
            Self::REST => u64::MAX,
            bytes => self.offset.saturating_add(bytes),
        }
    }

    /// The extent with its length in a file of `size` bytes; `None` if that ends before it.
    #[must_use]
    pub fn within(self, size: u64) -> Option<Self> {
        let bytes = match self.bytes {
            Self::REST => size.checked_sub(self.offset).filter(|rest| *rest > 0)?,
            bytes => bytes,
        };
        Some(Self { bytes, ..self })
    }
}

/// A page: consecutive extents in the order of (inode, offset).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtentPage {
    /// The extents; those of one file follow one another without a gap. The last one of each file
    /// has length [`Extent::REST`], and no other has.
    pub extents: Vec<Extent>,
}

impl ExtentPage {
    /// The section's payload, for a [`Sealer`](super::Sealer).
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let each = || self.extents.iter();
        let goes_on = each().next_back().is_some_and(|last| last.bytes != Extent::REST);
        out.put_u64(each().next().map_or(0, |extent| extent.offset));
        out.put_len(self.extents.len());
        out.put_u32(if goes_on { FLAG_GOES_ON } else { 0 });
        out.put_delta_column(each().map(|extent| extent.inode));
        out.put_column(each().map(|extent| u64::from(extent.origin)));
        let mut expected = 0u64;
        out.put_column(each().filter(|extent| extent.origin != 0).map(|extent| {
            let difference = u64::from(extent.first).wrapping_sub(expected);
            expected = u64::from(extent.first) + u64::from(extent.count);
            zigzag(difference)
        }));
        out.put_column(each().map(|extent| u64::from(extent.count)));
        let mut next = each().skip(1);
        let stated =
            |extent: &&Extent| next.next().map_or(goes_on, |next| next.inode == extent.inode);
        out.put_column(each().filter(stated).map(|extent| extent.bytes));
        out
    }

    /// The section's bytes and checksum, without a dictionary.
    #[must_use]
    pub fn encode(&self, level: i32) -> (Vec<u8>, u64) {
        seal(Section::Extents, &self.payload(), Some(level))
    }

    /// Reads a section that must fill `bytes`, and that may need a dictionary (empty: none).
    ///
    /// # Errors
    /// If the section is damaged, malformed or over a limit.
    pub fn decode(bytes: &[u8], dictionary: &[u8]) -> Result<Self, FormatError> {
        let payload = open_with(Section::Extents, bytes, dictionary)?;
        Self::parse(&payload).map_err(|problem| problem.of(Section::Extents))
    }

    fn parse(payload: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(payload);
        let mut offset = cursor.u64()?;
        let rows = cursor.u32()? as usize;
        if rows > MAX_PAGE_ROWS {
            return Err(Problem::Limit("rows of a page"));
        }
        let flags = cursor.u32()?;
        if flags & !FLAG_GOES_ON != 0 {
            return Err(Problem::Malformed("unknown page flags"));
        }
        let inodes = cursor.delta_column(rows)?;
        let origins = cursor.column_u32(rows)?;
        let runs = origins.iter().filter(|origin| **origin != 0).count();
        // Stored against where the last run ended, which the counts below tell.
        let steps = cursor.column(runs)?;
        let counts = cursor.column_u32(rows)?;
        let stated = |row: usize| match inodes.get(row + 1) {
            Some(next) => *next == inodes[row],
            None => flags & FLAG_GOES_ON != 0,
        };
        let lengths = cursor.column((0..rows).filter(|row| stated(*row)).count())?;
        cursor.end()?;
        let firsts = narrow(firsts(&steps, &origins, &counts))?;
        let (mut firsts, mut lengths) = (firsts.into_iter(), lengths.into_iter());
        let mut extents: Vec<Extent> = Vec::with_capacity(rows);
        for row in 0..rows {
            let bytes = match stated(row) {
                true => lengths.next().filter(|bytes| *bytes != Extent::REST),
                false => Some(Extent::REST),
            };
            let bytes = bytes.ok_or(Problem::Malformed("length of an extent"))?;
            let first = if origins[row] == 0 { 0 } else { firsts.next().unwrap_or(0) };
            let (inode, origin, count) = (inodes[row], origins[row], counts[row]);
            let extent = Extent { inode, offset, bytes, origin, first, count };
            check_extent(&extent)?;
            if extents.last().is_some_and(|last| last.inode > extent.inode) {
                return Err(Problem::Malformed("extents out of order"));
            }
            offset = if bytes == Extent::REST { 0 } else { extent.end() };
            extents.push(extent);
        }
        Ok(Self { extents })
    }
}

fn firsts(steps: &[u64], origins: &[u32], counts: &[u32]) -> Vec<u64> {
    let runs = origins.iter().zip(counts).filter(|(origin, _)| **origin != 0);
    let mut expected = 0u64;
    let first = |(step, (_, count)): (&u64, (&u32, &u32))| {
        let first = expected.wrapping_add(unzigzag(*step));
        expected = first.wrapping_add(u64::from(*count));
        first
    };
    steps.iter().zip(runs).map(first).collect()
}

fn check_extent(extent: &Extent) -> Result<(), Problem> {
    let end = extent.offset.checked_add(extent.bytes);
    if end.is_none_or(|end| end > i64::MAX.cast_unsigned()) {
        return Err(Problem::Malformed("length of an extent"));
    }
    if extent.origin == 0 {
        let empty = extent.count == 0;
        return if empty { Ok(()) } else { Err(Problem::Malformed("a hole with blocks")) };
    }
    let (count, bytes) = (u64::from(extent.count), extent.bytes);
    if extent.count > MAX_RUN || extent.first.checked_add(extent.count).is_none() {
        return Err(Problem::Limit("blocks of a run"));
    }
    let fits = bytes == Extent::REST || (count..=count * MAX_BLOCK as u64).contains(&bytes);
    if count == 0 || !fits {
        return Err(Problem::Malformed("a run that is not as long as its blocks"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_round_trips() {
        let run = |inode, offset, bytes, first, count| Extent {
            inode,
            offset,
            bytes,
            origin: 1,
            first,
            count,
        };
        let hole = Extent { inode: 5, offset: 30, bytes: 1 << 45, origin: 0, first: 0, count: 0 };
        let page = ExtentPage {
            extents: vec![run(5, 10, 20, 100, 2), hole, run(5, 30 + (1 << 45), 0, 102, 1)],
        };
        assert_eq!(ExtentPage::decode(&page.encode(3).0, b"").unwrap(), page);
        let rest = [run(6, 0, 0, 3, 7), run(9, 0, 5, 90, 1), run(9, 5, 8, 91, 1)];
        let whole = ExtentPage { extents: [&page.extents[..], &rest[..]].concat() };
        assert_eq!(ExtentPage::decode(&whole.encode(3).0, b"").unwrap(), whole);
        let mut bad = page.clone();
        bad.extents[0].bytes = 1;
        assert!(ExtentPage::decode(&bad.encode(3).0, b"").is_err());
        let mut endless = page;
        endless.extents[1].bytes = u64::MAX;
        assert!(ExtentPage::decode(&endless.encode(3).0, b"").is_err());
    }

    #[test]
    fn the_last_extent_of_a_file_is_as_long_as_the_file() {
        let last = Extent { inode: 2, offset: 10, bytes: 0, origin: 1, first: 0, count: 1 };
        assert_eq!(last.within(15).map(|extent| extent.bytes), Some(5));
        assert_eq!(last.within(10), None);
        assert_eq!(last.within(3), None);
        let inner = Extent { bytes: 4, ..last };
        assert_eq!(inner.within(11), Some(inner));
    }
}

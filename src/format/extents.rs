//! Tree pages of file extents. Layout: `format-spec.md`, "Page of extents".

use super::wire::{Cursor, Put, narrow, zigzag};
use super::{FormatError, MAX_BLOCK, MAX_PAGE_ROWS, MAX_RUN, Problem, Section, open, seal};

/// A stretch of a file: a run of consecutive blocks, or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The file.
    pub inode: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// 0 for a hole, else one more than the blocks' origin among those of the tree.
    pub origin: u32,
    /// The first block's number.
    pub first: u32,
    /// How many blocks.
    pub count: u32,
}

impl Extent {
    /// Offset of the first byte after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.bytes
    }
}

/// A page: consecutive extents in the order of (inode, offset).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtentPage {
    /// The extents; those of one file follow one another without a gap.
    pub extents: Vec<Extent>,
}

impl ExtentPage {
    /// The section's bytes and checksum.
    #[must_use]
    pub fn encode(&self, level: i32) -> (Vec<u8>, u64) {
        let mut out = Vec::new();
        let each = || self.extents.iter();
        out.put_u64(each().next().map_or(0, |extent| extent.offset));
        out.put_len(self.extents.len());
        out.put_u32(0);
        out.put_delta_column(each().map(|extent| extent.inode));
        out.put_column(each().map(|extent| u64::from(extent.origin)));
        let mut expected = 0u64;
        out.put_column(each().filter(|extent| extent.origin != 0).map(|extent| {
            let difference = u64::from(extent.first).wrapping_sub(expected);
            expected = u64::from(extent.first) + u64::from(extent.count);
            zigzag(difference)
        }));
        out.put_column(each().map(|extent| u64::from(extent.count)));
        out.put_column(each().map(|extent| extent.bytes));
        seal(Section::Extents, &out, Some(level))
    }

    /// Reads a section that must fill `bytes`.
    ///
    /// # Errors
    /// If the section is damaged, malformed or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = open(Section::Extents, bytes)?;
        Self::parse(&payload).map_err(|problem| problem.of(Section::Extents))
    }

    fn parse(payload: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(payload);
        let mut offset = cursor.u64()?;
        let rows = cursor.u32()? as usize;
        if rows > MAX_PAGE_ROWS {
            return Err(Problem::Limit("rows of a page"));
        }
        cursor.u32()?;
        let inodes = cursor.delta_column(rows)?;
        let origins = cursor.column_u32(rows)?;
        let runs = origins.iter().filter(|origin| **origin != 0).count();
        // Stored against where the last run ended, which the counts below tell.
        let steps = cursor.column(runs)?;
        let counts = cursor.column_u32(rows)?;
        let bytes = cursor.column(rows)?;
        cursor.end()?;
        let firsts = narrow(firsts(&steps, &origins, &counts))?;
        let mut firsts = firsts.into_iter();
        let mut extents: Vec<Extent> = Vec::with_capacity(rows);
        for row in 0..rows {
            if extents.last().is_some_and(|last| last.inode != inodes[row]) {
                offset = 0;
            }
            let first = if origins[row] == 0 { 0 } else { firsts.next().unwrap_or(0) };
            let extent = Extent {
                inode: inodes[row],
                offset,
                bytes: bytes[row],
                origin: origins[row],
                first,
                count: counts[row],
            };
            check_extent(&extent)?;
            if extents.last().is_some_and(|last| last.inode > extent.inode) {
                return Err(Problem::Malformed("extents out of order"));
            }
            offset = extent.end();
            extents.push(extent);
        }
        Ok(Self { extents })
    }
}

fn firsts(steps: &[u64], origins: &[u32], counts: &[u32]) -> Vec<u64> {
    let runs = origins.iter().zip(counts).filter(|(origin, _)| **origin != 0);
    let mut expected = 0u64;
    let first = |(step, (_, count)): (&u64, (&u32, &u32))| {
        let difference = (step >> 1) ^ (step & 1).wrapping_neg();
        let first = expected.wrapping_add(difference);
        expected = first.wrapping_add(u64::from(*count));
        first
    };
    steps.iter().zip(runs).map(first).collect()
}

fn check_extent(extent: &Extent) -> Result<(), Problem> {
    let end = extent.offset.checked_add(extent.bytes);
    if extent.bytes == 0 || end.is_none_or(|end| end > i64::MAX.cast_unsigned()) {
        return Err(Problem::Malformed("length of an extent"));
    }
    if extent.origin == 0 {
        let empty = extent.count == 0;
        return if empty { Ok(()) } else { Err(Problem::Malformed("a hole with blocks")) };
    }
    let count = u64::from(extent.count);
    if extent.count > MAX_RUN || extent.first.checked_add(extent.count).is_none() {
        return Err(Problem::Limit("blocks of a run"));
    }
    if extent.bytes < count || extent.bytes > count * MAX_BLOCK as u64 {
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
            extents: vec![run(5, 10, 20, 100, 2), hole, run(6, 0, 1, 102, 1), run(9, 0, 7, 3, 7)],
        };
        assert_eq!(ExtentPage::decode(&page.encode(3).0).unwrap(), page);
        let mut bad = page.clone();
        bad.extents[0].bytes = 1;
        assert!(ExtentPage::decode(&bad.encode(3).0).is_err());
        let mut endless = page;
        endless.extents[1].bytes = u64::MAX;
        assert!(ExtentPage::decode(&endless.encode(3).0).is_err());
    }
}

//! Whether a file has the same bytes in two trees: by its blocks, and only then by reading it.

use std::ops::Range;
use std::sync::Arc;

use super::walk::Pair;
use crate::format::Id;
use crate::fs::{ArchiveFs, FsError};
use crate::storage::StorageError;
use crate::store;

/// Bytes that are read at once.
const CHUNK: u64 = 1 << 20;

/// What is in a stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocks {
    Hole,
    /// So many blocks of an origin, from a number on.
    Run(Id, u32, u32),
    /// The rest of a run from within a block on, or blocks of no origin.
    Unknown,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    blocks: Blocks,
    bytes: u64,
}

impl Stretch {
    /// How long both go on alike, or unlike; and whether they are alike: the same blocks, so the
    /// same bytes. The other way round that does not hold.
    fn beside(&self, other: &Self) -> (u64, bool) {
        let shorter = self.bytes.min(other.bytes);
        let alike = match (self.blocks, other.blocks) {
            (Blocks::Hole, Blocks::Hole) => true,
            // The same blocks come to the same bytes: the shorter run is how far they go.
            (Blocks::Run(id, first, _), Blocks::Run(beside, number, _)) => {
                (id, first) == (beside, number)
            }
            _ => false,
        };
        (shorter, alike)
    }

    /// What is left of it after so many bytes, which were a whole number of `blocks`, if known.
    fn after(self, bytes: u64, passed: Option<u32>) -> Option<Self> {
        let left = self.bytes.checked_sub(bytes).filter(|left| *left > 0)?;
        let blocks = match (self.blocks, passed) {
            (Blocks::Hole, _) => Blocks::Hole,
            (Blocks::Run(id, first, count), Some(passed)) if passed < count => {
                Blocks::Run(id, first.saturating_add(passed), count - passed)
            }
            _ => Blocks::Unknown,
        };
        Some(Self { blocks, bytes: left })
    }

    fn count(&self) -> Option<u32> {
        match self.blocks {
            Blocks::Run(_, _, count) => Some(count),
            _ => None,
        }
    }
}

/// Whether a file of `size` bytes on both sides has other bytes on one than on the other.
pub(super) fn differs(
    sides: Pair<&ArchiveFs>,
    inodes: Pair<u64>,
    size: u64,
) -> Result<bool, FsError> {
    let [old, new] = sides.map(|side| side.store().tree());
    if inodes[0] == inodes[1] && old.shares_extents(new, inodes[0]) {
        return Ok(false);
    }
    let (old, new) = (stretches(sides[0], inodes[0], size)?, stretches(sides[1], inodes[1], size)?);
    for range in unlike(old, new, size) {
        if bytes_differ(sides, inodes, range)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The stretches of a file, in order.
fn stretches(fs: &ArchiveFs, inode: u64, size: u64) -> Result<Vec<Stretch>, FsError> {
    let tree = fs.store().tree();
    let origins = &tree.footer().origins;
    let mut found = Vec::new();
    let listed = tree.extents(inode, size, 0, |extent| {
        let origin = (extent.origin as usize).checked_sub(1).map(|slot| origins.get(slot));
        let blocks = match origin {
            None => Blocks::Hole,
            Some(Some(id)) => Blocks::Run(*id, extent.first, extent.count),
            Some(None) => Blocks::Unknown,
        };
        found.push(Stretch { blocks, bytes: extent.bytes });
        Ok::<_, StorageError>(true)
    });
    let damaged = |error: StorageError| FsError::Damaged(Arc::new(store::Error::from(error)));
    listed.map(|()| found).map_err(damaged)
}

/// The ranges of a file for which its blocks do not tell that it has the same bytes.
fn unlike(old: Vec<Stretch>, new: Vec<Stretch>, size: u64) -> Vec<Range<u64>> {
    let (mut old, mut new) = (old.into_iter(), new.into_iter());
    let (mut left, mut right) = (old.next(), new.next());
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < size {
        let (bytes, alike) = match (&left, &right) {
            (Some(left), Some(right)) => left.beside(right),
            // Extents that stop too early: reading will say so.
            _ => (size - at, false),
        };
        let end = at.saturating_add(bytes).min(size);
        match ranges.last_mut() {
            _ if alike => {}
            Some(last) if last.end == at => last.end = end,
            _ => ranges.push(at..end),
        }
        // Of runs that are alike, the shorter one's blocks were passed in both.
        let counts = [&left, &right].map(|side| side.as_ref().and_then(Stretch::count));
        let passed = counts[0].zip(counts[1]).filter(|_| alike).map(|(a, b)| a.min(b));
        left = left.and_then(|left| left.after(bytes, passed)).or_else(|| old.next());
        right = right.and_then(|right| right.after(bytes, passed)).or_else(|| new.next());
        at = end;
    }
    ranges
}

fn bytes_differ(
    sides: Pair<&ArchiveFs>,
    inodes: Pair<u64>,
    range: Range<u64>,
) -> Result<bool, FsError> {
    let mut at = range.start;
    while at < range.end {
        let want = u32::try_from((range.end - at).min(CHUNK)).unwrap_or(u32::MAX);
        let (old, new) = (sides[0].read(inodes[0], at, want)?, sides[1].read(inodes[1], at, want)?);
        if *old != *new {
            return Ok(true);
        }
        if old.is_empty() {
            return Err(FsError::NoData);
        }
        at += old.len() as u64;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(origin: u8, first: u32, count: u32, bytes: u64) -> Stretch {
        Stretch { blocks: Blocks::Run([origin; 32], first, count), bytes }
    }

    fn hole(bytes: u64) -> Stretch {
        Stretch { blocks: Blocks::Hole, bytes }
    }

    fn ranges(old: Vec<Stretch>, new: Vec<Stretch>, size: u64) -> Vec<(u64, u64)> {
        unlike(old, new, size).into_iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn the_same_blocks_are_alike_however_they_are_split() {
        let whole = vec![run(1, 10, 5, 50), hole(30), run(2, 0, 1, 7)];
        let split = vec![run(1, 10, 2, 15), run(1, 12, 3, 35), hole(10), hole(20), run(2, 0, 1, 7)];
        assert_eq!(ranges(whole.clone(), split.clone(), 87), []);
        assert_eq!(ranges(split, whole, 87), []);
    }

    #[test]
    fn what_follows_a_changed_block_within_a_run_is_not_known() {
        let old = vec![run(1, 0, 9, 90), run(1, 50, 1, 10)];
        let new = vec![run(1, 0, 4, 40), run(2, 0, 1, 10), run(1, 5, 4, 40), run(1, 50, 1, 10)];
        assert_eq!(ranges(old.clone(), new.clone(), 100), [(40, 90)]);
        assert_eq!(ranges(new, old, 100), [(40, 90)]);
    }

    #[test]
    fn blocks_of_another_origin_or_number_are_unlike() {
        assert_eq!(ranges(vec![run(1, 0, 1, 9)], vec![run(2, 0, 1, 9)], 9), [(0, 9)]);
        assert_eq!(ranges(vec![run(1, 0, 1, 9)], vec![run(1, 1, 1, 9)], 9), [(0, 9)]);
        assert_eq!(ranges(vec![run(1, 0, 1, 9)], vec![hole(9)], 9), [(0, 9)]);
    }

    #[test]
    fn extents_that_do_not_hold_together_are_unlike() {
        assert_eq!(ranges(vec![], vec![hole(9)], 9), [(0, 9)]);
        assert_eq!(ranges(vec![hole(4)], vec![hole(9)], 9), [(4, 9)]);
        // One of these lies about its bytes.
        assert_eq!(ranges(vec![run(1, 0, 1, 4)], vec![run(1, 0, 1, 9)], 9), [(4, 9)]);
        assert_eq!(ranges(vec![run(1, 0, 2, 4), hole(5)], vec![run(1, 0, 1, 9)], 9), [(4, 9)]);
    }
}

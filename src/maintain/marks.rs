//! Which blocks of an index the trees refer to.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::Error;
use crate::format::{Id, PageKind, Root, Segment};
use crate::index::{Index, Origin};
use crate::storage::Storage;
use crate::tree::{Place, Tree};

/// A bit for each block of each segment.
#[derive(Debug, Clone)]
pub struct Marks(Vec<Vec<u64>>);

impl Marks {
    /// No block of `index` yet.
    #[must_use]
    pub fn none(index: &Index) -> Self {
        let words = |segment: &Segment<_>| vec![0; segment.block_count().div_ceil(64)];
        Self(index.segments().iter().map(words).collect())
    }

    /// Marks a block.
    pub fn set(&mut self, segment: u32, local: u32) {
        self.0[segment as usize][local as usize / 64] |= 1 << (local % 64);
    }

    /// Takes a mark away; false if there was none.
    pub fn take(&mut self, segment: u32, local: u32) -> bool {
        let had = self.has(segment, local);
        self.0[segment as usize][local as usize / 64] &= !(1 << (local % 64));
        had
    }

    /// Whether a block is marked.
    #[must_use]
    pub fn has(&self, segment: u32, local: u32) -> bool {
        self.0[segment as usize][local as usize / 64] & (1 << (local % 64)) != 0
    }
}

/// Marks all blocks of `index` that trees refer to, those of the pages that they share once.
///
/// What a tree refers to and no index has is lost already: that keeps nothing.
///
/// # Errors
/// If a page cannot be read: then nobody knows what is needed.
pub fn mark<'a>(index: &Index, trees: impl IntoIterator<Item = &'a Tree>) -> Result<Marks, Error> {
    let mut marks = Marks::none(index);
    let mut seen: HashSet<Place> = HashSet::new();
    let mut origins: Vec<Id> = Vec::new();
    for tree in trees {
        // A page says which origin by a slot, which means the same in trees that follow one
        // another.
        let listed = &tree.footer().origins;
        let same = listed.len().min(origins.len());
        if listed[..same] != origins[..same] {
            seen.clear();
            origins.clear();
        }
        if listed.len() > origins.len() {
            origins.clone_from(listed);
        }
        let places: Vec<Origin> = listed.iter().map(|origin| index.origin(origin)).collect();
        for (at, page) in tree.footer().table(PageKind::Extents).iter().enumerate() {
            if !seen.insert(tree.place(page)) {
                continue;
            }
            for extent in tree.extents_of(at)?.extents {
                let origin = (extent.origin as usize).checked_sub(1).and_then(|it| places.get(it));
                let Some(origin) = origin else { continue };
                index.stretches(origin, extent.first, extent.count, |segment, local, count| {
                    (local..local + count).for_each(|local| marks.set(segment, local));
                });
            }
        }
    }
    Ok(marks)
}

/// Consecutive blocks of a segment that lie in one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The segment's place in the index.
    pub segment: u32,
    /// The pack, and its length in bytes.
    pub pack: (Id, u64),
    /// Its frames in the segment.
    pub frames: Range<usize>,
    /// Its blocks in the segment.
    pub blocks: Range<u32>,
}

/// The units of a segment, in order.
#[must_use]
pub fn units<B: AsRef<[u8]>>(at: u32, segment: &Segment<B>) -> Vec<Unit> {
    let mut units: Vec<(u32, Unit)> = Vec::new();
    let all = u32::try_from(segment.block_count()).unwrap_or(u32::MAX);
    for frame in 0..segment.frame_count() {
        let Some((record, slot)) = segment.frame(frame) else { continue };
        // A map that has changed since it was checked must not lead out of it.
        let first = record.first_block.min(all);
        match units.last_mut() {
            Some((last, unit)) if *last == slot => unit.frames.end = frame + 1,
            last => {
                if let Some((_, unit)) = last {
                    unit.blocks.end = first;
                }
                let Some(pack) = segment.packs().get(slot as usize) else { continue };
                let blocks = first..first;
                let unit = Unit { segment: at, pack: *pack, frames: frame..frame + 1, blocks };
                units.push((slot, unit));
            }
        }
    }
    if let Some((_, unit)) = units.last_mut() {
        unit.blocks.end = all;
    }
    units.into_iter().map(|(_, unit)| unit).collect()
}

/// What the blocks of a unit come to, in bytes: those that are marked, and all.
#[must_use]
pub fn weigh<B: AsRef<[u8]>>(unit: &Unit, segment: &Segment<B>, marks: &Marks) -> (u64, u64) {
    let lengths = unit.blocks.clone().map(|block| (block, segment.length(block as usize)));
    lengths.fold((0, 0), |(live, all), (block, length)| {
        let length = u64::from(length);
        let marked = if marks.has(unit.segment, block) { length } else { 0 };
        (live + marked, all + length)
    })
}

/// Opens trees, as roots name them.
///
/// # Errors
/// If one cannot be opened.
pub fn open_trees<'a>(
    storage: &Arc<dyn Storage>,
    roots: impl IntoIterator<Item = &'a Root>,
) -> Result<Vec<Tree>, Error> {
    let mut trees: Vec<Tree> = Vec::new();
    let mut seen = HashSet::new();
    for root in roots {
        if seen.insert(root.tree.id) {
            trees.push(Tree::open(Arc::clone(storage), &root.tree)?);
        }
    }
    Ok(trees)
}

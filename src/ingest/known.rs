//! Blocks that were seen, or that a store has, by their names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::format::{Id, Segment};
use crate::pack;
use crate::storage::Bytes;
use crate::store::Store;

/// Bytes of a name that tell blocks apart.
pub const NAME_LEN: usize = 16;

/// Where a block is: its number, and one more than its origin's place among those of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The origin.
    pub origin: u32,
    /// The number. Of a new block: in the order they came in.
    pub number: u32,
}

/// The names of all blocks so far.
#[derive(Debug)]
pub struct Known {
    places: HashMap<[u8; NAME_LEN], Place>,
    /// The place of the next new block.
    next: Place,
}

impl Default for Known {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Known {
    /// No blocks yet; new ones get this `origin`.
    #[must_use]
    pub fn new(origin: u32) -> Self {
        Self { places: HashMap::new(), next: Place { origin, number: 0 } }
    }

    /// All blocks of a store, and the origins that they and new ones refer to: those of its tree,
    /// then others that its index knows. That of new blocks comes after them.
    ///
    /// Blocks of a pack whose footer cannot be read are not known: what they hold is stored anew.
    #[must_use]
    pub fn of(store: &Store) -> (Self, Vec<Id>) {
        let mut origins = store.tree().footer().origins.clone();
        let segments = store.index().segments();
        for home in segments.iter().flat_map(Segment::homes) {
            if !origins.contains(home) {
                origins.push(*home);
            }
        }
        let mut known = Self::new(one_more(origins.len()));
        // A newer segment says where a block is now; its number is the same in all.
        segments.iter().for_each(|segment| known.learn(store, segment, &origins));
        (known, origins)
    }

    fn learn(&mut self, store: &Store, segment: &Segment<Bytes>, origins: &[Id]) {
        let names = names(store, segment);
        for range in segment.ranges() {
            let home = &segment.homes()[range.home as usize];
            let Some(origin) = origins.iter().position(|origin| origin == home) else { continue };
            for at in 0..range.count {
                if let Some(Some(name)) = names.get((range.local + at) as usize) {
                    let place = Place { origin: one_more(origin), number: range.first + at };
                    self.places.entry(*name).or_insert(place);
                }
            }
        }
    }

    /// Where a block is, and whether it is new; `None` if there are no numbers left.
    pub fn place(&mut self, name: Id) -> Option<(Place, bool)> {
        match self.places.entry(*name.first_chunk()?) {
            Entry::Occupied(known) => Some((*known.get(), false)),
            Entry::Vacant(new) => {
                let place = self.next;
                // The count of all blocks must fit, too.
                self.next.number = place.number.checked_add(1)?;
                Some((*new.insert(place), true))
            }
        }
    }

    /// Whether a block is one of those that came in new.
    #[must_use]
    pub fn came_in(&self, place: Place) -> bool {
        place.origin == self.next.origin
    }
}

fn one_more(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

/// The name of each block of a segment, from the footers of its packs.
fn names(store: &Store, segment: &Segment<Bytes>) -> Vec<Option<[u8; NAME_LEN]>> {
    let mut names = vec![None; segment.block_count()];
    let footers = segment.packs().iter().map(|(id, length)| {
        let footer = pack::footer(store.storage(), id, *length);
        let warn = |error| log::warn!("{error}; what it holds is stored anew where it comes again");
        footer.map_err(warn).ok().filter(|footer| footer.hash == store.config().hash)
    });
    let footers: Vec<_> = footers.collect();
    for frame in 0..segment.frame_count() {
        let Some((listed, pack)) = segment.frame(frame) else { continue };
        let Some(Some(footer)) = footers.get(pack as usize) else { continue };
        let own = footer.frames.partition_point(|own| own.offset < listed.offset);
        let Some(own) = footer.frames.get(own).filter(|own| own.checksum == listed.checksum) else {
            continue;
        };
        let named = footer.hashes.chunks_exact(footer.hash_len).skip(own.first_block as usize);
        let blocks = names.iter_mut().skip(listed.first_block as usize);
        let count = segment.frame(frame + 1).map_or(usize::MAX, |(next, _)| {
            next.first_block.saturating_sub(listed.first_block) as usize
        });
        for (block, name) in blocks.zip(named).take(count) {
            *block = name.first_chunk().copied();
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_numbered_as_they_come_and_once() {
        let mut known = Known::default();
        let number = |name| {
            let (place, new) = known.place([name; 32]).unwrap();
            assert_eq!(place.origin, 1);
            (place.number, new)
        };
        let numbers: Vec<_> = [7, 9, 7, 8].map(number).into();
        assert_eq!(numbers, [(0, true), (1, true), (0, false), (2, true)]);
    }
}

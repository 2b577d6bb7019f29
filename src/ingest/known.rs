//! Blocks that were seen, or that a store has, by their names.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::format::{FrameRecord, Id, NO_PACK, PackFooter, Segment};
use crate::monitor::Monitor;
use crate::pack;
use crate::storage::Bytes;
use crate::store::Store;

/// Bytes of a name that tell blocks apart.
pub const NAME_LEN: usize = 16;
type Name = [u8; NAME_LEN];

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
    places: HashMap<Name, Place>,
    /// Numbers of blocks that were lost, and are to be found again where they come again.
    lost: HashMap<Name, Vec<(Id, u32)>>,
    /// Of those that came again: origin, number, and the place among the blocks that were packed.
    healed: Vec<(Id, u32, u32)>,
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
        let (places, lost, healed) = Default::default();
        Self { places, lost, healed, next: Place { origin, number: 0 } }
    }

    /// All blocks of a store, and the origins that they and new ones refer to: those of its tree,
    /// then others that its index knows. That of new blocks comes after them.
    ///
    /// Blocks of a pack whose footer cannot be read are not known, nor are those that a repair gave
    /// up: what they hold is stored anew.
    /// Where the monitor says stop, the rest is not looked at.
    #[must_use]
    pub fn of(store: &Store, monitor: &dyn Monitor) -> (Self, Vec<Id>) {
        let mut origins = store.tree().footer().origins.clone();
        let mut slots: HashMap<Id, u32> = HashMap::new();
        for (at, origin) in origins.iter().enumerate() {
            slots.entry(*origin).or_insert(one_more(at));
        }
        let segments = store.index().segments();
        for home in segments.iter().flat_map(Segment::homes) {
            slots.entry(*home).or_insert_with(|| {
                origins.push(*home);
                one_more(origins.len() - 1)
            });
        }
        let mut known = Self::new(one_more(origins.len()));
        let lost = lost_numbers(segments);
        // A newer segment says where a block is now; its number is the same in all.
        for segment in segments {
            known.learn(&names(store, segment, monitor), segment, &slots, &lost);
        }
        (known, origins)
    }

    fn learn(
        &mut self,
        names: &[Option<Name>],
        segment: &Segment<Bytes>,
        slots: &HashMap<Id, u32>,
        lost: &HashSet<(Id, u32)>,
    ) {
        // Ranges may overlap, but need not: no more of them than there are blocks.
        let mut room = segment.block_count();
        for range in segment.ranges() {
            let home = segment.homes()[range.home as usize];
            let Some(origin) = slots.get(&home) else { continue };
            let blocks = names.iter().skip(range.local as usize).take(range.count as usize);
            for (name, number) in blocks.take(room).zip(range.first..) {
                room -= 1;
                if let Some(name) = name {
                    if lost.contains(&(home, number)) {
                        self.lost.entry(*name).or_default().push((home, number));
                        continue;
                    }
                    let place = Place { origin: *origin, number };
                    self.places.entry(*name).or_insert(place);
                }
            }
        }
    }

    /// Where a block is, if it is known.
    #[must_use]
    pub fn find(&self, name: Id) -> Option<Place> {
        self.places.get(name.first_chunk()?).copied()
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

    /// A block was packed, at that place among all that were: it may be one that was lost.
    pub fn packed(&mut self, name: &Id, local: u32) {
        if self.lost.is_empty() {
            return;
        }
        let lost = name.first_chunk().and_then(|name| self.lost.get(name));
        let numbers = lost.into_iter().flatten().map(|(home, number)| (*home, *number, local));
        self.healed.extend(numbers);
    }

    /// The blocks that were lost and came again: origin, number, and place among those packed.
    pub fn healed(&mut self) -> Vec<(Id, u32, u32)> {
        let mut healed = std::mem::take(&mut self.healed);
        healed.sort_unstable();
        healed.dedup_by_key(|(home, number, _)| (*home, *number));
        healed
    }

    /// What came in is a part of the tree now; what comes in next gets this `origin`.
    pub fn go_on(&mut self, origin: u32) {
        self.next = Place { origin, number: 0 };
    }

    /// Whether a block is one of those that came in new.
    #[must_use]
    pub fn came_in(&self, place: Place) -> bool {
        place.origin == self.next.origin
    }
}

/// The numbers whose newest place is none: a repair gave their blocks up.
fn lost_numbers(segments: &[Segment<Bytes>]) -> HashSet<(Id, u32)> {
    let mut lost = HashSet::new();
    for segment in segments {
        let none = segment.packs().iter().any(|(id, _)| *id == NO_PACK);
        if !none && lost.is_empty() {
            continue;
        }
        for range in segment.ranges() {
            let home = segment.homes()[range.home as usize];
            for (number, local) in (range.first..).zip(range.local..).take(range.count as usize) {
                let at = segment.locate(local).and_then(|(frame, _)| segment.frame(frame));
                let pack = at.and_then(|(_, slot)| segment.packs().get(slot as usize));
                match pack.is_some_and(|(id, _)| *id == NO_PACK) {
                    true => _ = lost.insert((home, number)),
                    false => _ = lost.remove(&(home, number)),
                }
            }
        }
    }
    lost
}

fn one_more(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

/// The name of each block of a segment, from the footers of its packs: one at a time, each once.
fn names(store: &Store, segment: &Segment<Bytes>, monitor: &dyn Monitor) -> Vec<Option<Name>> {
    let mut names = vec![None; segment.block_count()];
    let mut seen: HashSet<Id> = HashSet::new();
    let mut last: Option<(u32, PackFooter)> = None;
    for frame in 0..segment.frame_count() {
        let Some((listed, pack)) = segment.frame(frame) else { continue };
        if last.as_ref().is_none_or(|(last, _)| *last != pack) {
            let Some((id, length)) = segment.packs().get(pack as usize) else { continue };
            if monitor.cancelled() {
                break;
            }
            last =
                seen.insert(*id).then(|| footer(store, id, *length)).flatten().map(|it| (pack, it));
        }
        if let Some((_, footer)) = &last {
            take_names(footer, &listed, segment, &mut names);
        }
    }
    names
}

fn footer(store: &Store, id: &Id, length: u64) -> Option<PackFooter> {
    if *id == NO_PACK {
        return None;
    }
    let warn = |error| log::warn!("{error}; what it holds is stored anew where it comes again");
    let footer = pack::footer(store.storage(), id, length).map_err(warn).ok()?;
    (footer.hash == store.config().hash).then_some(footer)
}

/// Takes the names of the blocks of one frame, which its pack must list just so.
fn take_names(
    footer: &PackFooter,
    listed: &FrameRecord,
    segment: &Segment<Bytes>,
    names: &mut [Option<Name>],
) {
    let at = footer.frames.partition_point(|own| own.offset < listed.offset);
    let same =
        |own: &&FrameRecord| FrameRecord { first_block: listed.first_block, ..**own } == *listed;
    let Some(own) = footer.frames.get(at).filter(same) else { return };
    let (mut own, mut here, mut end) = (own.first_block as usize, listed.first_block as usize, 0);
    while end < listed.inflated && here < names.len() {
        let length = segment.length(here);
        if footer.lengths.get(own) != Some(&length) {
            return;
        }
        let name = footer.hashes.chunks_exact(footer.hash_len).nth(own);
        names[here] = name.and_then(|name| name.first_chunk().copied());
        end = end.saturating_add(length);
        own += 1;
        here += 1;
    }
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

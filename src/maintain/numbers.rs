//! Which numbers lead to which blocks, in segments of which a later one overrides an earlier one.

use std::collections::{BTreeMap, HashMap};

use crate::format::Id;
use crate::index::Index;

/// Consecutive numbers of one origin, of blocks that follow one another in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The origin's place among [`Numbers::homes`].
    pub home: u32,
    /// The first number.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// The segment's place in the index.
    pub segment: u32,
    /// Ordinal of the first block there.
    pub local: u32,
}

/// All numbers of an index, each once: where a reader finds it.
#[derive(Debug, Default)]
pub struct Numbers {
    /// The origins.
    pub homes: Vec<Id>,
    /// By (home, first).
    pub stretches: Vec<Stretch>,
}

/// Of one origin: first number → count, segment, ordinal.
type Places = BTreeMap<u32, (u32, u32, u32)>;

impl Numbers {
    /// Of that index.
    #[must_use]
    pub fn of(index: &Index) -> Self {
        let mut slots: HashMap<Id, usize> = HashMap::new();
        let (mut homes, mut places): (Vec<Id>, Vec<Places>) = (Vec::new(), Vec::new());
        for (at, segment) in (0u32..).zip(index.segments()) {
            // Where one segment lists an origin twice, a reader takes the first.
            for range in segment.ranges().iter().rev() {
                let home = segment.homes()[range.home as usize];
                let slot = *slots.entry(home).or_insert_with(|| {
                    homes.push(home);
                    places.push(Places::new());
                    homes.len() - 1
                });
                put(&mut places[slot], range.first, (range.count, at, range.local));
            }
        }
        let stretches = (0u32..).zip(&places).flat_map(|(home, places)| {
            places.iter().map(move |(first, (count, segment, local))| Stretch {
                home,
                first: *first,
                count: *count,
                segment: *segment,
                local: *local,
            })
        });
        Self { stretches: stretches.collect(), homes }
    }
}

/// Gives numbers from `first` on a place, whichever they had.
fn put(places: &mut Places, first: u32, (count, segment, local): (u32, u32, u32)) {
    let end = first.saturating_add(count);
    // What begins before, and what goes on behind, keeps its place there.
    let before = places.range(..first).next_back().map(|(first, place)| (*first, *place));
    let within: Vec<u32> = places.range(first..end).map(|(first, _)| *first).collect();
    let behind = |at: u32, (count, segment, local): (u32, u32, u32)| {
        let left = at.saturating_add(count).checked_sub(end).filter(|left| *left > 0)?;
        Some((left, segment, local.saturating_add(count - left)))
    };
    let mut rest = None;
    if let Some((at, place)) = before.filter(|(at, place)| at.saturating_add(place.0) > first) {
        rest = behind(at, place);
        places.insert(at, (first - at, place.1, place.2));
    }
    for at in within {
        rest = places.remove(&at).and_then(|place| behind(at, place)).or(rest);
    }
    if let Some(rest) = rest {
        places.insert(end, rest);
    }
    places.insert(first, (count, segment, local));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_to_say_where_a_number_is_says_it(
            ranges in prop::collection::vec((0u32..40, 1u32..20, 0u32..1000), 1..30)
        ) {
            let (mut places, mut model) = (Places::new(), BTreeMap::new());
            for (segment, (first, count, local)) in (0u32..).zip(&ranges) {
                put(&mut places, *first, (*count, segment, *local));
                model.extend((0..*count).map(|at| (first + at, (segment, local + at))));
            }
            let said = places.iter().flat_map(|(first, (count, segment, local))| {
                (0..*count).map(move |at| (first + at, (*segment, local + at)))
            });
            prop_assert_eq!(said.collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
        }
    }
}

//! Blocks that were seen, by their names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::format::Id;

/// The names of all blocks so far, and the numbers that these got in the order they came in.
#[derive(Debug, Default)]
pub struct Known {
    numbers: HashMap<Id, u32>,
}

impl Known {
    /// The number of a block, and whether it is new; `None` if there are no numbers left.
    pub fn number(&mut self, name: Id) -> Option<(u32, bool)> {
        let next = u32::try_from(self.numbers.len());
        match self.numbers.entry(name) {
            Entry::Occupied(known) => Some((*known.get(), false)),
            Entry::Vacant(new) => {
                // The count of all blocks must fit, too.
                let next = next.ok().filter(|next| *next < u32::MAX)?;
                Some((*new.insert(next), true))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_numbered_as_they_come_and_once() {
        let mut known = Known::default();
        let numbers: Vec<_> = [7, 9, 7, 8].map(|name| known.number([name; 32]).unwrap()).into();
        assert_eq!(numbers, [(0, true), (1, true), (0, false), (2, true)]);
    }
}

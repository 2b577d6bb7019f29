//! What two trees have in common, told by where their pages lie: nothing is read.
//!
//! Bytes of the same object at the same place are the same. So where all pages that can hold the
//! rows of an inode, a folder or a file are, neither tree has rows that the other has not.

use std::ops::Range;

use super::Tree;
use crate::format::{Id, PageKind, PageRef};

/// The object that a page lies in, and where in it; its checksum, which the page must match.
type Where = (Id, u64, u32, u64);

impl Tree {
    /// Whether both trees have the same inode `number`, for all that can be told without reading.
    #[must_use]
    pub fn shares_inode(&self, other: &Self, number: u64) -> bool {
        self.shares(other, PageKind::Inodes, |table| {
            let end = table.partition_point(|page| page.key <= number);
            end.saturating_sub(1)..end
        })
    }

    /// As [`Tree::shares_inode`], for the entries of a folder.
    #[must_use]
    pub fn shares_folder(&self, other: &Self, folder: u64) -> bool {
        self.shares(other, PageKind::Entries, |table| of_key(table, folder))
    }

    /// As [`Tree::shares_inode`], for the extents of a file: the same blocks, if its size is the
    /// same.
    #[must_use]
    pub fn shares_extents(&self, other: &Self, file: u64) -> bool {
        let (ours, theirs) = (&self.footer().origins, &other.footer().origins);
        // Slots among the origins must mean the same; a tree lists those of the one before first.
        ours.iter().zip(theirs).all(|(ours, theirs)| ours == theirs)
            && self.shares(other, PageKind::Extents, |table| of_key(table, file))
    }

    fn shares(
        &self,
        other: &Self,
        kind: PageKind,
        find: impl Fn(&[PageRef]) -> Range<usize>,
    ) -> bool {
        let (ours, theirs) = (self.footer().table(kind), other.footer().table(kind));
        let (here, there) = (find(ours), find(theirs));
        let same = |(at, beside): (&PageRef, &PageRef)| self.lies(at) == other.lies(beside);
        here.len() == there.len() && ours[here].iter().zip(&theirs[there]).all(same)
    }

    /// Where a page lies, and the dictionary that it needs.
    fn lies(&self, page: &PageRef) -> (Where, Option<Where>) {
        let place = |page: &PageRef| {
            let other = (page.tree as usize).checked_sub(1);
            let object = other.and_then(|other| self.footer().others.get(other));
            (object.unwrap_or(&self.object()).id, page.offset, page.length, page.checksum)
        };
        let slot = (page.dictionary as usize).checked_sub(1);
        let dictionary = slot.and_then(|slot| self.footer().dictionaries.get(slot));
        (place(page), dictionary.map(place))
    }
}

/// The pages that can hold rows of that key: those that begin with it, and the one before.
fn of_key(table: &[PageRef], key: u64) -> Range<usize> {
    let first = table.partition_point(|page| page.key < key);
    first.saturating_sub(1)..table.partition_point(|page| page.key <= key)
}

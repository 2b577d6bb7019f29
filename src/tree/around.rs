//! Reads what damage leaves of a tree: each page that cannot be read is told, and what the others
//! hold is found all the same, just as far as a reader finds it.

use std::collections::HashSet;
use std::sync::Arc;

use super::reader::Page;
use super::{Found, Tree};
use crate::format::{Extent, ExtentPage, Id, ObjectRef, PageKind, PageRef};
use crate::storage::StorageError;

/// Where a page lies: the tree's object, and the offset in it.
pub type Place = (Id, u64);

/// What a page that cannot be read would hold.
#[derive(Debug)]
pub struct Gap<T> {
    /// Where it begins.
    pub from: T,
    /// Where what follows begins, if anything does.
    pub to: Option<T>,
    /// The page, by its place in its table.
    pub page: usize,
    /// Why it cannot be read.
    pub error: StorageError,
}

impl Tree {
    /// Where a page lies.
    #[must_use]
    pub fn place(&self, page: &PageRef) -> Place {
        let other = (page.tree as usize).checked_sub(1);
        let object = other.and_then(|other| self.footer().others.get(other));
        (object.map_or(self.object().id, |other| other.id), page.offset)
    }

    /// The other trees that it has pages of.
    pub fn shared(&self) -> impl Iterator<Item = &ObjectRef> {
        let footer = self.footer();
        let tables = [&footer.inodes, &footer.entry_pages, &footer.extents, &footer.dictionaries];
        let used: HashSet<u32> =
            tables.into_iter().flatten().map(|page| page.tree).filter(|tree| *tree > 0).collect();
        let others = (1..).zip(&footer.others);
        others.filter(move |(slot, _)| used.contains(slot)).map(|(_, other)| other)
    }

    /// Where the page lies that would hold an inode.
    #[must_use]
    pub fn inode_page(&self, number: u64) -> Option<usize> {
        self.footer().inodes.partition_point(|page| page.key <= number).checked_sub(1)
    }

    /// Reads a page, to see whether that can be done.
    ///
    /// # Errors
    /// If it is not what its table says, or its dictionary is not.
    pub fn check_page(&self, kind: PageKind, at: usize) -> Result<(), StorageError> {
        self.page(kind, at).map(drop)
    }

    /// The extents that a page holds.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn extents_of(&self, at: usize) -> Result<ExtentPage, StorageError> {
        match &*self.page(PageKind::Extents, at)? {
            Page::Extents(page) => Ok(page.clone()),
            _ => Ok(ExtentPage::default()),
        }
    }

    /// Calls `each` with the entries of a folder in the order of their names, and `gap` with the
    /// names that cannot be looked up, and because of which the folder cannot be listed.
    pub fn list_around(
        &self,
        folder: u64,
        mut each: impl FnMut(&[u8], Found),
        mut gap: impl FnMut(Gap<&[u8]>),
    ) {
        let table = &self.footer().entry_pages;
        let first = table.partition_point(|page| (page.key, page.name.as_slice()) <= (folder, b""));
        for at in first.saturating_sub(1)..table.len() {
            let listed = &table[at];
            if listed.key > folder {
                return;
            }
            match self.page(PageKind::Entries, at).as_deref() {
                Ok(Page::Entries(page)) => {
                    let rows = &page.entries;
                    let row = rows.partition_point(|entry| entry.folder < folder);
                    for entry in &rows[row..] {
                        if entry.folder != folder {
                            return;
                        }
                        each(page.name(entry), Found { inode: entry.inode, kind: entry.kind });
                    }
                }
                Ok(_) => return,
                Err(error) => {
                    let begins = |page: &'_ PageRef| page.key == folder;
                    let from = if begins(listed) { listed.name.as_slice() } else { &[] };
                    let next = table.get(at + 1).filter(|next| begins(next));
                    let to = next.map(|next| next.name.as_slice());
                    gap(Gap { from, to, page: at, error: error.clone() });
                }
            }
        }
    }

    /// Calls `each` with the extents of a file of `size` bytes, and `gap` with the ranges whose
    /// extents cannot be read or are not there; of the latter it says so, without a page.
    pub fn extents_around(
        &self,
        inode: u64,
        size: u64,
        mut each: impl FnMut(&Extent),
        mut gap: impl FnMut(u64, u64, Option<(usize, StorageError)>),
    ) {
        let table = &self.footer().extents;
        let mut at = 0u64;
        while at < size {
            let start = at;
            let read = self.extents(inode, size, at, |extent| {
                each(extent);
                at = extent.end();
                Ok::<_, StorageError>(at < size)
            });
            match read {
                Ok(()) if at >= size => return,
                Ok(()) if at > start => {}
                Ok(()) => {
                    // They stop before the file does, or are those of a forger.
                    let next = table.partition_point(|page| (page.key, page.before) <= (inode, at));
                    let after = table.get(next).filter(|page| page.key == inode);
                    let to = after.map_or(size, |page| page.before).clamp(at + 1, size);
                    gap(at, to, None);
                    at = to;
                }
                Err(error) => {
                    let from = at;
                    let next = table.partition_point(|page| (page.key, page.before) <= (inode, at));
                    // What the reader was at: the page that would hold what follows, or the next.
                    let page = self.first_unreadable(next.saturating_sub(1));
                    let after = table.get(page + 1).filter(|page| page.key == inode);
                    at = after.map_or(size, |page| page.before).clamp(from + 1, size);
                    gap(from, at, Some((page, error)));
                }
            }
        }
    }

    /// The first of the pages of extents from `at` on that cannot be read.
    fn first_unreadable(&self, at: usize) -> usize {
        let readable = |at: usize| -> Result<Arc<Page>, _> { self.page(PageKind::Extents, at) };
        (at..self.footer().extents.len()).find(|at| readable(*at).is_err()).unwrap_or(at)
    }
}

//! Changes to a tree: what comes of them is a tree of its own, which shares with the one before the
//! pages that no change touches. So a commit costs what it changes, not what there is.

use std::collections::BTreeMap;

use super::reader::{Found, Page, Row, Tree};
use super::writer::{TreeWriter, page_rows};
use crate::format::{Extent, PageKind, PageRef};
use crate::storage::StorageError;

/// Once a tree shares pages with so many others, it keeps those of one of them only: each other
/// tree is an object to be opened.
const MAX_OTHERS: usize = 32;

/// Changes to what a tree has. New inodes, the entries of new folders and the extents of new files
/// are not among them: these go to the [`writer`](Self::writer), in order.
#[derive(Debug)]
pub struct TreeEdit<'a> {
    base: &'a Tree,
    /// Mode 0: there is none any more.
    inodes: BTreeMap<u64, Row>,
    entries: BTreeMap<(u64, Box<[u8]>), Option<Found>>,
    extents: BTreeMap<u64, Vec<Extent>>,
}

impl<'a> TreeEdit<'a> {
    /// No changes to `base` yet.
    #[must_use]
    pub fn new(base: &'a Tree) -> Self {
        let (inodes, entries, extents) = Default::default();
        Self { base, inodes, entries, extents }
    }

    /// The tree that is changed.
    #[must_use]
    pub fn base(&self) -> &'a Tree {
        self.base
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inodes.is_empty() && self.entries.is_empty() && self.extents.is_empty()
    }

    /// Gives the inode `number`, which the tree must have, all that it has anew.
    pub fn set_inode(&mut self, number: u64, row: Row) {
        self.inodes.insert(number, row);
    }

    /// Takes the inode `number` away, and its extents.
    pub fn remove_inode(&mut self, number: u64) {
        self.inodes.insert(number, Row::default());
        self.extents.insert(number, Vec::new());
    }

    /// Adds or changes an entry of a folder that the tree has; with `None` takes it away.
    pub fn set_entry(&mut self, folder: u64, name: &[u8], entry: Option<Found>) {
        self.entries.insert((folder, name.into()), entry);
    }

    /// Gives a file that the tree has these extents, in order, instead of its own.
    pub fn set_extents(&mut self, inode: u64, extents: Vec<Extent>) {
        self.extents.insert(inode, extents);
    }

    /// The changed tree, being written; it goes on after what the base had. Pages are compressed
    /// with zstd at `level`.
    ///
    /// # Errors
    /// If a page that must change cannot be read.
    pub fn writer(&self, level: i32) -> Result<TreeWriter, StorageError> {
        let mut writer = TreeWriter::over(self.base, level)?;
        let kept = self.kept();
        self.write_inodes(&mut writer, kept)?;
        self.write_entries(&mut writer, kept)?;
        self.write_extents(&mut writer, kept)?;
        writer.skip_to(self.base.footer().next_inode);
        writer.room_for_any();
        Ok(writer)
    }

    /// The slot of the only tree whose pages are kept; `None`: pages of all are.
    fn kept(&self) -> Option<u32> {
        let footer = self.base.footer();
        if footer.others.len() < MAX_OTHERS {
            return None;
        }
        let mut rows = vec![0u64; footer.others.len() + 1];
        let pages = footer.inodes.iter().chain(&footer.entry_pages).chain(&footer.extents);
        pages.for_each(|page| rows[page.tree as usize] += u64::from(page.rows));
        (0u32..).zip(rows).max_by_key(|(slot, rows)| (*rows, *slot)).map(|(slot, _)| slot)
    }

    /// Whether a page is to be written anew though nothing in it changes: it lies in one tree too
    /// many, or it is a short last page, which what is new would follow in another short one.
    fn gathers(&self, kind: PageKind, at: usize, kept: Option<u32>) -> bool {
        let table = self.base.footer().table(kind);
        let short = at + 1 == table.len() && (table[at].rows as usize) < page_rows(kind) / 2;
        short || kept.is_some_and(|kept| table[at].tree != kept)
    }

    fn write_inodes(&self, writer: &mut TreeWriter, kept: Option<u32>) -> Result<(), StorageError> {
        let table = &self.base.footer().inodes;
        for (at, listed) in table.iter().enumerate() {
            let numbers = listed.key..listed.key.saturating_add(listed.rows.into());
            let touched = self.inodes.range(numbers).next().is_some();
            if !touched && !self.gathers(PageKind::Inodes, at, kept) {
                writer.keep(PageKind::Inodes, listed);
                continue;
            }
            let page = self.base.page(PageKind::Inodes, at)?;
            let Page::Inodes(page) = &*page else { continue };
            writer.room_for(PageKind::Inodes, page.inodes.len());
            writer.skip_to(page.first);
            for (inode, number) in page.inodes.iter().zip(page.first..) {
                let (inode, target, xattrs) = match self.inodes.get(&number) {
                    Some((inode, target, xattrs)) => (inode, &**target, xattrs.as_slice()),
                    None => (inode, page.target_of(inode), page.xattrs(inode)),
                };
                writer.inode(inode.clone(), target, xattrs);
            }
        }
        Ok(())
    }

    fn write_entries(
        &self,
        writer: &mut TreeWriter,
        kept: Option<u32>,
    ) -> Result<(), StorageError> {
        let table = &self.base.footer().entry_pages;
        let changes = self.entries.iter().map(|((folder, name), to)| ((*folder, &**name), to));
        let mut changes = changes.peekable();
        let put = |writer: &mut TreeWriter,
                   ((folder, name), to): ((u64, &[u8]), &Option<Found>)| {
            to.iter().for_each(|to| writer.entry(folder, name, to.inode, to.kind));
        };
        for (at, listed) in table.iter().enumerate() {
            let end = first_entry(table.get(at + 1));
            let here = |change: (u64, &[u8])| end.is_none_or(|end| change < end);
            let touched = changes.peek().is_some_and(|(change, _)| here(*change));
            if !touched && !self.gathers(PageKind::Entries, at, kept) {
                writer.keep(PageKind::Entries, listed);
                continue;
            }
            let page = self.base.page(PageKind::Entries, at)?;
            let Page::Entries(page) = &*page else { continue };
            let more = changes.clone().take_while(|(change, _)| here(*change)).count();
            writer.room_for(PageKind::Entries, page.entries.len() + more);
            for entry in &page.entries {
                let key = (entry.folder, page.name(entry));
                while let Some(change) = changes.next_if(|(change, _)| *change < key) {
                    put(writer, change);
                }
                match changes.next_if(|(change, _)| *change == key) {
                    Some(change) => put(writer, change),
                    None => writer.entry(key.0, key.1, entry.inode, entry.kind),
                }
            }
            while let Some(change) = changes.next_if(|(change, _)| here(*change)) {
                put(writer, change);
            }
        }
        changes.for_each(|change| put(writer, change));
        Ok(())
    }

    fn write_extents(
        &self,
        writer: &mut TreeWriter,
        kept: Option<u32>,
    ) -> Result<(), StorageError> {
        let table = &self.base.footer().extents;
        let mut changes = self.extents.iter().peekable();
        let put = |writer: &mut TreeWriter, (inode, extents): (&u64, &Vec<Extent>)| {
            extents.iter().for_each(|extent| writer.extent(*extent));
            Some(*inode)
        };
        // The file whose extents were changed last: those it had go on into further pages.
        let mut changed = None;
        for (at, listed) in table.iter().enumerate() {
            let next = table.get(at + 1);
            let here = |inode: u64| next.is_none_or(|next| inode < next.key);
            let into_next = |inode| next.is_some_and(|next| next.key == inode && next.before > 0);
            let change = changes.peek().map(|(inode, _)| **inode);
            let touched = changed == Some(listed.key)
                || change.is_some_and(|inode| here(inode) || into_next(inode));
            if !touched && !self.gathers(PageKind::Extents, at, kept) {
                writer.keep(PageKind::Extents, listed);
                continue;
            }
            let page = self.base.page(PageKind::Extents, at)?;
            let Page::Extents(page) = &*page else { continue };
            let more = changes.clone().take_while(|(inode, _)| here(**inode));
            let more: usize = more.map(|(_, extents)| extents.len()).sum();
            writer.room_for(PageKind::Extents, page.extents.len() + more);
            for extent in &page.extents {
                while let Some(change) = changes.next_if(|(inode, _)| **inode <= extent.inode) {
                    changed = put(writer, change);
                }
                if changed != Some(extent.inode) {
                    writer.extent(*extent);
                }
            }
            while let Some(change) = changes.next_if(|(inode, _)| here(**inode)) {
                changed = put(writer, change);
            }
        }
        changes.for_each(|change| {
            put(writer, change);
        });
        Ok(())
    }
}

/// The first entry of a page.
fn first_entry(page: Option<&PageRef>) -> Option<(u64, &[u8])> {
    page.map(|page| (page.key, page.name.as_slice()))
}

#[cfg(test)]
mod tests;

//! Writes a tree: rows come in order, and leave as pages.

use crate::format::{
    EntryPage, Extent, ExtentPage, Id, Inode, InodePage, Kind, ObjectRef, PageRef, TreeFooter,
    XattrSet, tail,
};

/// Rows of a page of inodes or entries.
const PAGE_ROWS: usize = 2048;
/// Rows of a page of extents, which are narrower.
const EXTENT_ROWS: usize = 4096;
/// A page is cut once its symlink targets, attributes or names come to so many bytes.
const PAGE_BYTES: usize = 256 * 1024;

/// What an extended attribute counts beside its bytes, so that a page never has too many.
const ATTRIBUTE: usize = 16;

/// A tree being written. Inodes come in the order of their numbers, entries in the order of
/// (folder, name), extents in the order of (inode, offset).
#[derive(Debug)]
pub struct TreeWriter {
    level: i32,
    bytes: Vec<u8>,
    footer: TreeFooter,
    inodes: InodePage,
    inode_bytes: usize,
    entries: EntryPage,
    extents: ExtentPage,
}

impl TreeWriter {
    /// Begins a tree; pages are compressed with zstd at `level`.
    #[must_use]
    pub fn new(level: i32) -> Self {
        Self {
            level,
            bytes: Vec::new(),
            footer: TreeFooter { next_inode: super::ROOT, ..TreeFooter::default() },
            inodes: InodePage::new(super::ROOT),
            inode_bytes: 0,
            entries: EntryPage::default(),
            extents: ExtentPage::default(),
        }
    }

    /// Adds the inode of the next number, with its symlink target and extended attributes.
    pub fn inode(&mut self, mut inode: Inode, target: &[u8], xattrs: &XattrSet) {
        if self.inodes.inodes.len() == PAGE_ROWS || self.inode_bytes > PAGE_BYTES {
            self.end_inodes();
        }
        if !xattrs.is_empty() {
            self.footer.has_xattrs = true;
            inode.xattrs = self.set_of(xattrs);
        }
        self.inode_bytes += target.len();
        self.inodes.push(inode, target);
        self.footer.next_inode += 1;
    }

    /// The reference to a set of attributes of the current page; equal sets are kept once.
    fn set_of(&mut self, xattrs: &XattrSet) -> u32 {
        let sets = &mut self.inodes.sets;
        let at = sets.iter().rposition(|set| set == xattrs).unwrap_or_else(|| {
            self.inode_bytes += xattrs
                .iter()
                .map(|(name, value)| ATTRIBUTE + name.len() + value.len())
                .sum::<usize>();
            sets.push(xattrs.clone());
            sets.len() - 1
        });
        u32::try_from(at + 1).unwrap_or(u32::MAX)
    }

    /// Adds an entry.
    pub fn entry(&mut self, folder: u64, name: &[u8], inode: u64, kind: Kind) {
        if self.entries.entries.len() == PAGE_ROWS || self.entries.name_bytes() > PAGE_BYTES {
            self.end_entries();
        }
        self.entries.push(folder, name, inode, kind);
        self.footer.entries += 1;
    }

    /// Adds an extent.
    pub fn extent(&mut self, extent: Extent) {
        if self.extents.extents.len() == EXTENT_ROWS {
            self.end_extents();
        }
        self.extents.extents.push(extent);
    }

    fn add_page(&mut self, key: u64, name: Vec<u8>, before: u64, page: (Vec<u8>, u64)) -> PageRef {
        let (bytes, checksum) = page;
        let offset = self.bytes.len() as u64;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend(bytes);
        PageRef { key, name, before, tree: 0, offset, length, checksum }
    }

    fn end_inodes(&mut self) {
        let page = std::mem::replace(&mut self.inodes, InodePage::new(self.footer.next_inode));
        self.inode_bytes = 0;
        if !page.inodes.is_empty() {
            let page = self.add_page(page.first, Vec::new(), 0, page.encode(self.level));
            self.footer.inodes.push(page);
        }
    }

    fn end_entries(&mut self) {
        let page = std::mem::take(&mut self.entries);
        if let Some(first) = page.entries.first() {
            let before = self.footer.entries - page.entries.len() as u64;
            let name = page.name(first).to_vec();
            let page = self.add_page(first.folder, name, before, page.encode(self.level));
            self.footer.entry_pages.push(page);
        }
    }

    fn end_extents(&mut self) {
        let page = std::mem::take(&mut self.extents);
        if let Some(first) = page.extents.first() {
            let (key, before) = (first.inode, first.offset);
            let page = self.add_page(key, Vec::new(), before, page.encode(self.level));
            self.footer.extents.push(page);
        }
    }

    /// Ends the tree, whose extents refer to blocks of `origins`. Returns its bytes and name.
    #[must_use]
    pub fn finish(mut self, origins: Vec<Id>) -> (Vec<u8>, ObjectRef) {
        self.end_inodes();
        self.end_entries();
        self.end_extents();
        self.footer.origins = origins;
        let (footer, checksum) = self.footer.encode();
        let at = self.bytes.len() as u64;
        self.bytes.extend(&footer);
        self.bytes.extend(tail(at, footer.len() as u64));
        let id = *blake3::hash(&self.bytes).as_bytes();
        let object = ObjectRef { id, length: self.bytes.len() as u64, checksum };
        (self.bytes, object)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Found, ROOT, Tree, TreeError};
    use super::*;
    use crate::storage::{MemoryStorage, Storage};
    use std::sync::Arc;

    fn opened(writer: TreeWriter) -> Tree {
        let storage = Arc::new(MemoryStorage::default());
        let (bytes, object) = writer.finish(vec![[7; 32]]);
        storage.put(&crate::tree::key(&object.id), &bytes).unwrap();
        Tree::open(storage, &object).unwrap()
    }

    #[test]
    fn a_tree_of_many_pages_finds_and_lists() {
        let mut writer = TreeWriter::new(3);
        let names: Vec<String> = (0..5000).map(|n| format!("name {n:05}")).collect();
        let folder = Inode { mode: 0o40_755, ..Inode::default() };
        writer.inode(folder.clone(), b"", &vec![]);
        for (n, name) in names.iter().enumerate() {
            writer.inode(folder.clone(), b"", &vec![]);
            writer.entry(ROOT, name.as_bytes(), n as u64 + 2, Kind::Folder);
        }
        for n in 0..3 {
            writer.entry(4000 + n, b"child", 2, Kind::Folder);
        }
        let tree = opened(writer);
        assert_eq!(tree.lookup(ROOT, b"name 04097").unwrap().unwrap().inode, 4099);
        assert_eq!(tree.lookup(ROOT, b"name 9").unwrap(), None);
        assert_eq!(tree.lookup(4001, b"child").unwrap().unwrap().inode, 2);
        assert_eq!(tree.lookup(3999, b"child").unwrap(), None);
        assert!(tree.inode(5001, |_, _| ()).unwrap().is_some());
        assert!(tree.inode(5002, |_, _| ()).unwrap().is_none());
        // In one go, and in bites of 7 that go on where the last one ended.
        let mut bites = Vec::new();
        let mut offset = 0;
        loop {
            let (before, from) = (bites.len(), offset);
            let take = |name: &[u8], _: Found, next| {
                bites.push(name.to_vec());
                offset = next;
                bites.len() < before + 7
            };
            tree.list(ROOT, from, take).unwrap();
            if bites.len() == before {
                break;
            }
        }
        assert!(bites.iter().eq(names.iter().map(|name| name.as_bytes())));
        let mut children = 0;
        for inode in [3999, 4000, 4002, 4003] {
            tree.list(inode, 0, |_, _, _| {
                children += 1;
                true
            })
            .unwrap();
        }
        assert_eq!(children, 2);
    }

    #[test]
    fn extents_are_found_by_offset_across_pages() {
        let mut writer = TreeWriter::new(3);
        let extent = |inode, offset| Extent {
            inode,
            offset,
            bytes: 10,
            origin: 1,
            first: u32::try_from(offset / 10).unwrap(),
            count: 1,
        };
        writer.extent(extent(2, 0));
        (0..10_000).for_each(|n| writer.extent(extent(3, n * 10)));
        writer.extent(extent(4, 0));
        let tree = opened(writer);
        let from = |inode, offset| {
            let mut found = Vec::new();
            tree.extents::<TreeError>(inode, offset, |extent| {
                found.push(extent.offset);
                Ok(found.len() < 3)
            })
            .unwrap();
            found
        };
        assert_eq!(from(3, 0), [0, 10, 20]);
        assert_eq!(from(3, 40_949), [40_940, 40_950, 40_960]);
        assert_eq!(from(3, 99_985), [99_980, 99_990]);
        assert!(from(3, 100_000).is_empty());
        assert_eq!(from(4, 5), [0]);
        assert!(from(5, 0).is_empty());
    }
}

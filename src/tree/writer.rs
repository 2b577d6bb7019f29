//! Writes a tree: rows come in order, and leave as pages.

use super::reader::Tree;
use super::seal::{Page, Shared, Slot, seal};
use crate::format::{
    EntryPage, Extent, ExtentPage, Id, Inode, InodePage, Kind, ObjectRef, PageKind, PageRef,
    TreeFooter, XattrSet,
};
use crate::storage::StorageError;

/// A page is cut once its symlink targets, attributes or names come to so many bytes.
const PAGE_BYTES: usize = 256 * 1024;
/// What an extended attribute counts beside its bytes, so that a page never has too many.
const ATTRIBUTE: usize = 16;

/// So many inodes that are gone are kept as empty rows.
const FEW_ROWS: u64 = 512;

/// Rows of a page of a kind; extents are narrower.
pub(super) const fn page_rows(kind: PageKind) -> usize {
    match kind {
        PageKind::Extents => 4096,
        _ => 2048,
    }
}

/// A tree being written. Inodes come in the order of their numbers, entries in the order of
/// (folder, name), extents in the order of (inode, offset).
#[derive(Debug)]
pub struct TreeWriter {
    level: i32,
    footer: TreeFooter,
    shared: Shared,
    inode_pages: Vec<Slot>,
    entry_pages: Vec<Slot>,
    extent_pages: Vec<Slot>,
    inodes: InodePage,
    inode_bytes: usize,
    entries: EntryPage,
    extents: ExtentPage,
    /// Rows that the pages to come have at most, other than [`page_rows`].
    most: Option<usize>,
}

impl TreeWriter {
    /// Begins a tree; pages are compressed with zstd at `level`.
    #[must_use]
    pub fn new(level: i32) -> Self {
        Self {
            level,
            footer: TreeFooter { next_inode: super::ROOT, ..TreeFooter::default() },
            shared: Shared::default(),
            inode_pages: Vec::new(),
            entry_pages: Vec::new(),
            extent_pages: Vec::new(),
            inodes: InodePage::new(super::ROOT),
            inode_bytes: 0,
            entries: EntryPage::default(),
            extents: ExtentPage::default(),
            most: None,
        }
    }

    /// Begins a tree that can [`keep`](Self::keep) pages of `base`.
    pub(super) fn over(base: &Tree, level: i32) -> Result<Self, StorageError> {
        let mut writer = Self::new(level);
        writer.shared = Shared::of(base)?;
        writer.footer.has_xattrs = base.footer().has_xattrs;
        Ok(writer)
    }

    /// Takes a page of the base as it is; it comes where the rows have come to.
    pub(super) fn keep(&mut self, kind: PageKind, page: &PageRef) {
        self.end(kind);
        let mut page = PageRef { tree: self.shared.slot(page.tree), ..page.clone() };
        match kind {
            PageKind::Inodes => {
                self.skip_to(page.key + u64::from(page.rows));
                self.inode_pages.push(Slot::Kept(page));
            }
            PageKind::Entries => {
                page.before = self.footer.entries;
                self.footer.entries += u64::from(page.rows);
                self.entry_pages.push(Slot::Kept(page));
            }
            PageKind::Extents => self.extent_pages.push(Slot::Kept(page)),
            PageKind::Dictionaries => {}
        }
    }

    /// Prepares for `rows` that come together: in the page that is open if they fit, else in
    /// pages of their own, none of them much shorter than the others.
    pub(super) fn room_for(&mut self, kind: PageKind, rows: usize) {
        let open = match kind {
            PageKind::Inodes => self.inodes.inodes.len(),
            PageKind::Entries => self.entries.entries.len(),
            _ => self.extents.extents.len(),
        };
        let most = page_rows(kind) * 3 / 2;
        self.most = Some(most);
        if open + rows > most {
            self.end(kind);
            self.most = Some(rows.div_ceil(rows.div_ceil(most)));
        }
    }

    /// What comes next has nothing to do with what was expected.
    pub(super) fn room_for_any(&mut self) {
        self.most = None;
    }

    fn is_full(&self, kind: PageKind, rows: usize) -> bool {
        rows >= self.most.unwrap_or(page_rows(kind))
    }

    /// The inode that comes next has this number.
    pub(super) fn skip_to(&mut self, number: u64) {
        if number != self.footer.next_inode {
            self.end_inodes();
            self.footer.next_inode = number;
            self.inodes = InodePage::new(number);
        }
    }

    /// The inode that comes next has this number, which is not below that of the last one: numbers
    /// between them are those of inodes that are gone.
    pub fn go_to(&mut self, number: u64) {
        // A few rows that say nothing are less than a page of its own.
        if number - self.footer.next_inode.min(number) > FEW_ROWS {
            return self.skip_to(number);
        }
        while self.footer.next_inode < number {
            self.inode(Inode::default(), b"", &[]);
        }
    }

    /// The number of the inode that comes next.
    #[must_use]
    pub fn next_inode(&self) -> u64 {
        self.footer.next_inode
    }

    /// Adds the inode of the next number, with its symlink target and extended attributes.
    pub fn inode(&mut self, mut inode: Inode, target: &[u8], xattrs: &[(Vec<u8>, Vec<u8>)]) {
        let full = self.is_full(PageKind::Inodes, self.inodes.inodes.len());
        if full || self.inode_bytes > PAGE_BYTES {
            self.end_inodes();
        }
        inode.xattrs = 0;
        if !xattrs.is_empty() {
            self.footer.has_xattrs = true;
            inode.xattrs = self.set_of(xattrs);
        }
        self.inode_bytes += target.len();
        self.inodes.push(inode, target);
        self.footer.next_inode += 1;
    }

    /// The reference to a set of attributes of the current page; equal sets are kept once.
    fn set_of(&mut self, xattrs: &[(Vec<u8>, Vec<u8>)]) -> u32 {
        let sets: &mut Vec<XattrSet> = &mut self.inodes.sets;
        let at = sets.iter().rposition(|set| set == xattrs).unwrap_or_else(|| {
            self.inode_bytes += xattrs
                .iter()
                .map(|(name, value)| ATTRIBUTE + name.len() + value.len())
                .sum::<usize>();
            sets.push(xattrs.to_vec());
            sets.len() - 1
        });
        u32::try_from(at + 1).unwrap_or(u32::MAX)
    }

    /// Adds an entry.
    pub fn entry(&mut self, folder: u64, name: &[u8], inode: u64, kind: Kind) {
        let full = self.is_full(PageKind::Entries, self.entries.entries.len());
        if full || self.entries.name_bytes() > PAGE_BYTES {
            self.end_entries();
        }
        self.entries.push(folder, name, inode, kind);
        self.footer.entries += 1;
    }

    /// Adds an extent. The last one of a file has length [`Extent::REST`].
    pub fn extent(&mut self, extent: Extent) {
        if self.is_full(PageKind::Extents, self.extents.extents.len()) {
            self.end_extents();
        }
        self.extents.extents.push(extent);
    }

    fn end(&mut self, kind: PageKind) {
        match kind {
            PageKind::Inodes => self.end_inodes(),
            PageKind::Entries => self.end_entries(),
            PageKind::Extents => self.end_extents(),
            PageKind::Dictionaries => {}
        }
    }

    fn end_inodes(&mut self) {
        let page = std::mem::replace(&mut self.inodes, InodePage::new(self.footer.next_inode));
        self.inode_bytes = 0;
        let (key, rows) = (page.first, page.inodes.len());
        if rows > 0 {
            let (name, payload) = (Vec::new(), page.payload());
            self.inode_pages.push(Slot::Fresh(Page { key, name, before: 0, rows, payload }));
        }
    }

    fn end_entries(&mut self) {
        let page = std::mem::take(&mut self.entries);
        if let Some(first) = page.entries.first() {
            let (key, name, rows) = (first.folder, page.name(first).to_vec(), page.entries.len());
            let (before, payload) = (self.footer.entries - rows as u64, page.payload());
            self.entry_pages.push(Slot::Fresh(Page { key, name, before, rows, payload }));
        }
    }

    fn end_extents(&mut self) {
        let page = std::mem::take(&mut self.extents);
        if let Some(first) = page.extents.first() {
            let (key, before, rows) = (first.inode, first.offset, page.extents.len());
            let (name, payload) = (Vec::new(), page.payload());
            self.extent_pages.push(Slot::Fresh(Page { key, name, before, rows, payload }));
        }
    }

    /// Ends the tree, whose extents refer to blocks of `origins`; pages are compressed by so many
    /// `threads`. Returns its bytes and name.
    #[must_use]
    pub fn finish(mut self, origins: Vec<Id>, threads: usize) -> (Vec<u8>, ObjectRef) {
        self.end_inodes();
        self.end_entries();
        self.end_extents();
        self.footer.origins = origins;
        let pages = [self.inode_pages, self.entry_pages, self.extent_pages];
        seal(self.footer, pages, self.shared, self.level, threads)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Found, ROOT, Tree};
    use super::*;
    use crate::storage::{MemoryStorage, Storage, StorageError};
    use std::sync::Arc;

    fn opened(writer: TreeWriter) -> Tree {
        let (bytes, object) = writer.finish(vec![[7; 32]], 1);
        open(&bytes, &object)
    }

    fn open(bytes: &[u8], object: &ObjectRef) -> Tree {
        let storage = Arc::new(MemoryStorage::default());
        storage.put(&crate::tree::key(&object.id), bytes).unwrap();
        Tree::open(storage, object).unwrap()
    }

    #[test]
    fn a_tree_of_many_pages_finds_and_lists() {
        let mut writer = TreeWriter::new(3);
        let names: Vec<String> = (0..5000).map(|n| format!("name {n:05}")).collect();
        let folder = Inode { mode: 0o40_755, ..Inode::default() };
        writer.inode(folder.clone(), b"", &[]);
        for (n, name) in names.iter().enumerate() {
            writer.inode(folder.clone(), b"", &[]);
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
        let extent = |inode, offset, bytes| Extent {
            inode,
            offset,
            bytes,
            origin: 1,
            first: u32::try_from(offset / 10).unwrap(),
            count: 1,
        };
        writer.extent(extent(2, 0, Extent::REST));
        (0..9_999).for_each(|n| writer.extent(extent(3, n * 10, 10)));
        writer.extent(extent(3, 99_990, Extent::REST));
        writer.extent(extent(4, 0, Extent::REST));
        let tree = opened(writer);
        let from = |inode, offset| {
            let mut found = Vec::new();
            tree.extents::<StorageError>(inode, 99_995, offset, |extent| {
                assert_eq!(
                    extent.end(),
                    99_995.min(extent.offset + if inode == 3 { 10 } else { 99_995 })
                );
                found.push(extent.offset);
                Ok(found.len() < 3)
            })
            .unwrap();
            found
        };
        assert_eq!(from(3, 0), [0, 10, 20]);
        assert_eq!(from(3, 40_949), [40_940, 40_950, 40_960]);
        assert_eq!(from(3, 99_985), [99_980, 99_990]);
        assert!(from(3, 99_995).is_empty());
        assert_eq!(from(4, 5), [0]);
        assert!(from(5, 0).is_empty());
    }

    #[test]
    fn extents_that_lead_back_are_not_followed() {
        let mut writer = TreeWriter::new(3);
        let extent =
            |offset, bytes| Extent { inode: 2, offset, bytes, origin: 0, first: 0, count: 0 };
        (0..4096).for_each(|n| writer.extent(extent(n * 10, 10)));
        // The next page begins with what was there already.
        (0..4096).for_each(|n| writer.extent(extent(n + 40_000, 1)));
        let tree = opened(writer);
        let mut end = 0;
        tree.extents::<StorageError>(2, 1 << 40, 0, |extent| {
            assert!(extent.offset <= end && end < extent.end());
            end = extent.end();
            Ok(true)
        })
        .unwrap();
        assert_eq!(end, 40_960);
    }

    #[test]
    fn a_tree_of_versions_is_small_and_reads_the_same() {
        let mut writer = TreeWriter::new(19);
        let inode = |n: u64| Inode { mode: 0o100_644, size: n * n % 9973, ..Inode::default() };
        for n in 0..30_000 {
            writer.inode(inode(n % 1500), b"", &[]);
        }
        let (mut bytes, object) = writer.finish(vec![], 2);
        let tree = open(&bytes, &object);
        assert_eq!(tree.footer().dictionaries.len(), 1);
        assert!(tree.footer().inodes.iter().all(|page| page.dictionary == 1));
        for n in (0..30_000).step_by(777) {
            assert_eq!(tree.inode(n + 1, |_, it| it.size).unwrap(), Some(inode(n % 1500).size));
        }
        let page = &tree.footer().dictionaries[0];
        bytes[usize::try_from(page.offset).unwrap() + page.length as usize - 1] ^= 1;
        let error = open(&bytes, &object).inode(1, |_, _| ()).unwrap_err().to_string();
        assert!(error.contains("dictionary of pages"), "{error}");
    }
}

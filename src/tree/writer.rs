//! Writes a tree: rows come in order, and leave as pages.

use super::dictionary::dictionary;
use super::section;
use crate::format::{
    Dictionary, EntryPage, Extent, ExtentPage, Id, Inode, InodePage, Kind, ObjectRef, PageKind,
    PageRef, PageTable, Sealer, Section, TreeFooter, XattrSet, tail,
};

/// Rows of a page of inodes or entries.
const PAGE_ROWS: usize = 2048;
/// Rows of a page of extents, which are narrower.
const EXTENT_ROWS: usize = 4096;
/// Pages that are compressed with and without a dictionary, to see whether it pays.
const TRIED: usize = 8;
/// A page is cut once its symlink targets, attributes or names come to so many bytes.
const PAGE_BYTES: usize = 256 * 1024;

/// What an extended attribute counts beside its bytes, so that a page never has too many.
const ATTRIBUTE: usize = 16;

/// A page that is not compressed yet: what pages have in common shows only at the end.
#[derive(Debug)]
struct Page {
    key: u64,
    name: Vec<u8>,
    before: u64,
    rows: usize,
    payload: Vec<u8>,
}

/// A section's bytes and checksum.
type Sealed = (Vec<u8>, u64);

/// A tree being written. Inodes come in the order of their numbers, entries in the order of
/// (folder, name), extents in the order of (inode, offset).
#[derive(Debug)]
pub struct TreeWriter {
    level: i32,
    footer: TreeFooter,
    inode_pages: Vec<Page>,
    entry_pages: Vec<Page>,
    extent_pages: Vec<Page>,
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
            inode_pages: Vec::new(),
            entry_pages: Vec::new(),
            extent_pages: Vec::new(),
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

    /// Adds an extent. The last one of a file has length [`Extent::REST`].
    pub fn extent(&mut self, extent: Extent) {
        if self.extents.extents.len() == EXTENT_ROWS {
            self.end_extents();
        }
        self.extents.extents.push(extent);
    }

    fn end_inodes(&mut self) {
        let page = std::mem::replace(&mut self.inodes, InodePage::new(self.footer.next_inode));
        self.inode_bytes = 0;
        let (key, rows) = (page.first, page.inodes.len());
        if rows > 0 {
            let payload = page.payload();
            self.inode_pages.push(Page { key, name: Vec::new(), before: 0, rows, payload });
        }
    }

    fn end_entries(&mut self) {
        let page = std::mem::take(&mut self.entries);
        if let Some(first) = page.entries.first() {
            let (key, name, rows) = (first.folder, page.name(first).to_vec(), page.entries.len());
            let before = self.footer.entries - rows as u64;
            self.entry_pages.push(Page { key, name, before, rows, payload: page.payload() });
        }
    }

    fn end_extents(&mut self) {
        let page = std::mem::take(&mut self.extents);
        if let Some(first) = page.extents.first() {
            let (key, before, rows) = (first.inode, first.offset, page.extents.len());
            let (name, payload) = (Vec::new(), page.payload());
            self.extent_pages.push(Page { key, name, before, rows, payload });
        }
    }

    /// Ends the tree, whose extents refer to blocks of `origins`. Returns its bytes and name.
    #[must_use]
    pub fn finish(mut self, origins: Vec<Id>) -> (Vec<u8>, ObjectRef) {
        self.end_inodes();
        self.end_entries();
        self.end_extents();
        self.footer.origins = origins;
        let mut bytes = Vec::new();
        for (kind, pages) in [
            (PageKind::Inodes, self.inode_pages),
            (PageKind::Entries, self.entry_pages),
            (PageKind::Extents, self.extent_pages),
        ] {
            put_pages(&mut bytes, &mut self.footer, kind, pages, self.level);
        }
        let (footer, checksum) = self.footer.encode();
        let at = bytes.len() as u64;
        bytes.extend(&footer);
        bytes.extend(tail(at, footer.len() as u64));
        let id = *blake3::hash(&bytes).as_bytes();
        let object = ObjectRef { id, length: bytes.len() as u64, checksum };
        (bytes, object)
    }
}

/// Compresses pages of a kind, with a dictionary if that makes them smaller, and writes them.
fn put_pages(
    out: &mut Vec<u8>,
    footer: &mut TreeFooter,
    kind: PageKind,
    pages: Vec<Page>,
    level: i32,
) {
    let payloads: Vec<&[u8]> = pages.iter().map(|page| page.payload.as_slice()).collect();
    let shared = Dictionary(dictionary(&payloads));
    let stored = shared.encode(level);
    let mut sealer = Sealer::new(level, &[]);
    let mut slot = 0;
    if pays(&payloads, &shared.0, stored.0.len(), section(kind), level) {
        sealer = Sealer::new(level, &shared.0);
        let key = footer.dictionaries.len() as u64;
        let page = Page { key, name: Vec::new(), before: 0, rows: 0, payload: shared.0 };
        footer.dictionaries.push(put_page(out, page, stored, 0));
        slot = u32::try_from(footer.dictionaries.len()).unwrap_or(u32::MAX);
    }
    let mut put = |page: Page| {
        let sealed = sealer.seal(section(kind), &page.payload);
        put_page(out, page, sealed, slot)
    };
    let table: PageTable = pages.into_iter().map(&mut put).collect();
    match kind {
        PageKind::Inodes => footer.inodes = table,
        PageKind::Entries => footer.entry_pages = table,
        PageKind::Extents => footer.extents = table,
        PageKind::Dictionaries => footer.dictionaries = table,
    }
}

/// Whether pages with a dictionary, and the dictionary, are shorter than pages without: as told by
/// a few of the pages, since compressing is most of the work.
fn pays(
    payloads: &[&[u8]],
    dictionary: &[u8],
    stored: usize,
    section: Section,
    level: i32,
) -> bool {
    if dictionary.is_empty() {
        return false;
    }
    let step = payloads.len().div_ceil(TRIED);
    let length = |dictionary: &[u8]| -> usize {
        let mut sealer = Sealer::new(level, dictionary);
        let tried = payloads.iter().step_by(step);
        tried.map(|payload| sealer.seal(section, payload).0.len()).sum()
    };
    length(dictionary) * step + stored < length(&[]) * step
}

fn put_page(out: &mut Vec<u8>, page: Page, sealed: Sealed, dictionary: u32) -> PageRef {
    let (bytes, checksum) = sealed;
    let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let offset = out.len() as u64;
    out.extend(&bytes);
    PageRef {
        key: page.key,
        name: page.name,
        before: page.before,
        rows: short(page.rows),
        tree: 0,
        offset,
        length: short(bytes.len()),
        inflated: short(page.payload.len()),
        dictionary,
        checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Found, ROOT, Tree, TreeError};
    use super::*;
    use crate::storage::{MemoryStorage, Storage};
    use std::sync::Arc;

    fn opened(writer: TreeWriter) -> Tree {
        let (bytes, object) = writer.finish(vec![[7; 32]]);
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
            tree.extents::<TreeError>(inode, 99_995, offset, |extent| {
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
        tree.extents::<TreeError>(2, 1 << 40, 0, |extent| {
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
            writer.inode(inode(n % 1500), b"", &vec![]);
        }
        let (mut bytes, object) = writer.finish(vec![]);
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

//! Reads a tree: finds the page that holds what is asked for, decodes it once, keeps it a while.

use std::mem::size_of;
use std::sync::Arc;

use super::section;
use crate::cache::Cache;
use crate::format::{
    Dictionary, Entry, EntryPage, Extent, ExtentPage, FormatError, Inode, InodePage, Kind,
    ObjectRef, PageKind, PageRef, Problem, Section, TreeFooter, XattrSet, check, compatible,
    inflated_len,
};
use crate::storage::{Storage, StorageError, last_section};

/// Bytes of decoded pages that are kept.
const PAGE_BUDGET: u64 = 64 << 20;

/// A page, decoded.
#[derive(Debug)]
pub(super) enum Page {
    Inodes(InodePage),
    Entries(EntryPage),
    Extents(ExtentPage),
    Dictionary(Dictionary),
}

impl Page {
    fn rows(&self) -> usize {
        match self {
            Self::Inodes(page) => page.inodes.len(),
            Self::Entries(page) => page.entries.len(),
            Self::Extents(page) => page.extents.len(),
            Self::Dictionary(_) => 0,
        }
    }

    /// Whether its first row is the one that the table of its tree says.
    fn begins_as(&self, listed: &PageRef) -> bool {
        match self {
            Self::Inodes(page) => page.first == listed.key,
            Self::Entries(page) => page.entries.first().is_some_and(|first| {
                (first.folder, page.name(first)) == (listed.key, listed.name.as_slice())
            }),
            Self::Extents(page) => page
                .extents
                .first()
                .is_some_and(|first| (first.inode, first.offset) == (listed.key, listed.before)),
            Self::Dictionary(_) => true,
        }
    }
}

/// What a page takes in memory, decoded: its rows, and what they have of any length.
fn weight(kind: PageKind, page: &PageRef) -> u64 {
    let row = match kind {
        PageKind::Inodes => size_of::<Inode>(),
        PageKind::Entries => size_of::<Entry>(),
        PageKind::Extents => size_of::<Extent>(),
        PageKind::Dictionaries => 0,
    };
    u64::from(page.rows) * row as u64 + u64::from(page.inflated)
}

/// An entry that was found in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its inode.
    pub inode: u64,
    /// What that is.
    pub kind: Kind,
}

/// An inode, the target of a symlink, and extended attributes.
pub type Row = (Inode, Box<[u8]>, XattrSet);

/// A tree, opened.
#[derive(Debug)]
pub struct Tree {
    storage: Arc<dyn Storage>,
    object: ObjectRef,
    footer: TreeFooter,
    compatible: u32,
    pages: Cache<(PageKind, u32), Page, StorageError>,
}

impl Tree {
    /// Opens the tree that `object` names: reads its page tables.
    ///
    /// # Errors
    /// If it is missing, cannot be read, or is not what `object` says.
    pub fn open(storage: Arc<dyn Storage>, object: &ObjectRef) -> Result<Self, StorageError> {
        let key = super::key(&object.id);
        let format = |source| StorageError::format(&storage.locate(&key), source);
        let (_, bytes) = last_section(&*storage, &key, object.length)?;
        if check(Section::Tree, &bytes).map_err(format)? != object.checksum {
            return Err(format(Problem::Checksum.of(Section::Tree)));
        }
        let footer = TreeFooter::decode(&bytes).map_err(format)?;
        let (compatible, pages) = (compatible(&bytes), Cache::new(PAGE_BUDGET));
        Ok(Self { object: *object, footer, compatible, pages, storage })
    }

    /// What the tree says of itself.
    #[must_use]
    pub fn footer(&self) -> &TreeFooter {
        &self.footer
    }

    /// Bits of compatible features in its footer.
    #[must_use]
    pub fn compatible(&self) -> u32 {
        self.compatible
    }

    /// What names it.
    pub(super) fn object(&self) -> ObjectRef {
        self.object
    }

    fn format(&self, source: FormatError) -> StorageError {
        StorageError::format(&self.storage.locate(&super::key(&self.object.id)), source)
    }

    /// A page, decoded, by its place in its table.
    pub(super) fn page(&self, kind: PageKind, at: usize) -> Result<Arc<Page>, StorageError> {
        let section = section(kind);
        let absent = || self.format(Problem::Malformed("no such page").of(section));
        let page = self.footer.table(kind).get(at).ok_or_else(absent)?;
        let slot = u32::try_from(at).map_err(|_| absent())?;
        let lost = || self.format(Problem::Malformed("a reader failed").of(section));
        self.pages.get((kind, slot), weight(kind, page), lost, || self.load(kind, page))
    }

    fn load(&self, kind: PageKind, page: &PageRef) -> Result<Page, StorageError> {
        let dictionary = match (page.dictionary as usize).checked_sub(1) {
            None => None,
            Some(slot) => Some(self.page(PageKind::Dictionaries, slot)?),
        };
        let dictionary = match dictionary.as_deref() {
            Some(Page::Dictionary(dictionary)) => dictionary.0.as_slice(),
            _ => &[],
        };
        let other = (page.tree as usize).checked_sub(1).map(|other| &self.footer.others[other]);
        let key = super::key(&other.unwrap_or(&self.object).id);
        let format = |source| StorageError::format(&self.storage.locate(&key), source);
        let bytes = self.storage.get_range(&key, page.offset, page.length as usize)?;
        decode(kind, page, &bytes, dictionary).map_err(format)
    }

    /// Reads the pages that are its own, not shared with another tree.
    ///
    /// # Errors
    /// If one of them is not what its table says.
    pub fn check_own_pages(&self) -> Result<(), StorageError> {
        for kind in [PageKind::Inodes, PageKind::Entries, PageKind::Extents] {
            let own = |(_, page): &(usize, &PageRef)| page.tree == 0;
            for (at, _) in self.footer.table(kind).iter().enumerate().filter(own) {
                self.page(kind, at)?;
            }
        }
        Ok(())
    }

    /// Calls `with` with an inode and its page, if there is such an inode.
    ///
    /// # Errors
    /// If its page cannot be read.
    pub fn inode<T>(
        &self,
        number: u64,
        with: impl FnOnce(&InodePage, &Inode) -> T,
    ) -> Result<Option<T>, StorageError> {
        let table = &self.footer.inodes;
        let Some(at) = table.partition_point(|page| page.key <= number).checked_sub(1) else {
            return Ok(None);
        };
        let page = self.page(PageKind::Inodes, at)?;
        let Page::Inodes(page) = &*page else { return Ok(None) };
        Ok(page.get(number).map(|inode| with(page, inode)))
    }

    /// All that an inode has by itself, if there is such an inode: without places in its page, the
    /// target of a symlink (else empty), and its extended attributes.
    ///
    /// # Errors
    /// If its page cannot be read.
    pub fn row(&self, number: u64) -> Result<Option<Row>, StorageError> {
        self.inode(number, |page, inode| {
            let alone = Inode { xattrs: 0, target_at: 0, ..inode.clone() };
            (alone, page.target_of(inode).into(), page.xattrs(inode).to_vec())
        })
    }

    /// The entry of that name in that folder.
    ///
    /// # Errors
    /// If the page that would hold it cannot be read.
    pub fn lookup(&self, folder: u64, name: &[u8]) -> Result<Option<Found>, StorageError> {
        let table = &self.footer.entry_pages;
        let before = |page: &PageRef| (page.key, page.name.as_slice()) <= (folder, name);
        let Some(at) = table.partition_point(before).checked_sub(1) else { return Ok(None) };
        let page = self.page(PageKind::Entries, at)?;
        let Page::Entries(page) = &*page else { return Ok(None) };
        let found = page.find(folder, name);
        Ok(found.map(|entry| Found { inode: entry.inode, kind: entry.kind }))
    }

    /// Calls `each` with the entries of a folder, in the order of their names, from `offset` on
    /// (0: the first), until it returns false. It gets the name, the entry, and the offset that
    /// goes on after it.
    ///
    /// # Errors
    /// If a page cannot be read.
    pub fn list(
        &self,
        folder: u64,
        offset: u64,
        mut each: impl FnMut(&[u8], Found, u64) -> bool,
    ) -> Result<(), StorageError> {
        let table = &self.footer.entry_pages;
        let first = match offset {
            // A folder may begin in the page before the first that begins with it.
            0 => table.partition_point(|page| (page.key, page.name.as_slice()) <= (folder, b"")),
            _ => table.partition_point(|page| page.before <= offset),
        };
        for (at, listed) in table.iter().enumerate().skip(first.saturating_sub(1)) {
            if listed.key > folder {
                break;
            }
            let page = self.page(PageKind::Entries, at)?;
            let Page::Entries(page) = &*page else { break };
            let before = listed.before;
            let row = match offset {
                0 => page.entries.partition_point(|entry| entry.folder < folder),
                _ => usize::try_from(offset.saturating_sub(before)).unwrap_or(usize::MAX),
            };
            let rows = page.entries.iter().enumerate().skip(row);
            for (row, entry) in rows {
                if entry.folder != folder {
                    return Ok(());
                }
                let found = Found { inode: entry.inode, kind: entry.kind };
                if !each(page.name(entry), found, before.saturating_add(row as u64 + 1)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with the extents of a file of `size` bytes, from the one that holds byte
    /// `offset` on, until it returns false.
    ///
    /// # Errors
    /// If a page cannot be read, or what `each` fails with.
    pub fn extents<E: From<StorageError>>(
        &self,
        inode: u64,
        size: u64,
        offset: u64,
        mut each: impl FnMut(&Extent) -> Result<bool, E>,
    ) -> Result<(), E> {
        let table = &self.footer.extents;
        let first = table.partition_point(|page| (page.key, page.before) <= (inode, offset));
        let mut from = offset;
        for (at, listed) in table.iter().enumerate().skip(first.saturating_sub(1)) {
            if listed.key > inode {
                break;
            }
            let page = self.page(PageKind::Extents, at)?;
            let Page::Extents(page) = &*page else { break };
            let row = page
                .extents
                .partition_point(|extent| (extent.inode, extent.end()) <= (inode, offset));
            for extent in &page.extents[row..] {
                // Each must go on where the last one ended, also from page to page.
                let follows = |extent: &Extent| {
                    extent.inode == inode && extent.offset <= from && from < extent.end()
                };
                match extent.within(size).filter(follows) {
                    Some(extent) if each(&extent)? => from = extent.end(),
                    _ => return Ok(()),
                }
            }
        }
        Ok(())
    }
}

/// Decodes a page, which must be what its tree says.
fn decode(
    kind: PageKind,
    listed: &PageRef,
    bytes: &[u8],
    dictionary: &[u8],
) -> Result<Page, FormatError> {
    let section = section(kind);
    if check(section, bytes)? != listed.checksum {
        return Err(Problem::Checksum.of(section));
    }
    if inflated_len(bytes) != Some(u64::from(listed.inflated)) {
        return Err(Problem::Malformed("not as long as its tree says").of(section));
    }
    let page = match kind {
        PageKind::Inodes => Page::Inodes(InodePage::decode(bytes, dictionary)?),
        PageKind::Entries => Page::Entries(EntryPage::decode(bytes, dictionary)?),
        PageKind::Extents => Page::Extents(ExtentPage::decode(bytes, dictionary)?),
        PageKind::Dictionaries => Page::Dictionary(Dictionary::decode(bytes)?),
    };
    // A list's offsets count entries, and the cache counts rows.
    if page.rows() != listed.rows as usize {
        return Err(Problem::Malformed("not as many as its tree says").of(section));
    }
    match page.begins_as(listed) {
        true => Ok(page),
        false => Err(Problem::Malformed("not those that its tree says").of(section)),
    }
}

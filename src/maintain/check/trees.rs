//! Checks trees: every page, once however many trees share it, and that the index has what pages
//! of extents refer to.

use xxhash_rust::xxh3::xxh3_64;

use super::damage::reason;
use super::{Checker, Damage, What};
use crate::format::{Extent, ObjectRef, PageKind, PageRef, Section};
use crate::index::{Index, Origin, Run};
use crate::maintain::Error;
use crate::maintain::kept::{Kept, has_top};
use crate::parallel;
use crate::storage::StorageError;
use crate::tree::{self, Place, Tree};

/// All kinds of pages; those that others need to be read come first.
const KINDS: [(PageKind, Section); 4] = [
    (PageKind::Dictionaries, Section::Dictionary),
    (PageKind::Inodes, Section::Inodes),
    (PageKind::Entries, Section::Entries),
    (PageKind::Extents, Section::Extents),
];

impl Checker<'_> {
    /// Checks the pages of a tree; with `index`, that it has all that they refer to.
    pub(super) fn tree(
        &mut self,
        kept: &Kept,
        tree: &Tree,
        index: Option<&Index>,
    ) -> Result<(), Error> {
        let id = kept.root.tree.id;
        self.trees.entry(id).or_insert(None);
        self.length(&kept.root.tree);
        for other in tree.shared() {
            // All of it is needed only where all its pages are.
            self.needed.entry(tree::key(&other.id)).or_insert(None);
            self.length(other);
        }
        for (kind, section) in KINDS {
            self.pages(tree, kind, section)?;
        }
        if let Ok(false) = has_top(tree) {
            let why = "its root is no folder".to_owned();
            let at = self.add(Damage::new(What::Tree, &tree::key(&id), "", why));
            self.trees.insert(id, Some(at));
        }
        match index {
            Some(index) => self.runs(kept, tree, index),
            None => Ok(()),
        }
    }

    /// Checks the length of a tree that was not looked at yet: that of its pages does not tell what
    /// comes after them.
    fn length(&mut self, tree: &ObjectRef) {
        let key = tree::key(&tree.id);
        if self.measured.insert(tree.id)
            && self.storage.size(&key).is_ok_and(|length| length > tree.length)
        {
            self.add(Damage::new(What::Tree, &key, "", "longer than it should be".to_owned()));
        }
    }

    /// Checks all pages of a kind that were not looked at yet.
    fn pages(&mut self, tree: &Tree, kind: PageKind, section: Section) -> Result<(), Error> {
        let listed = tree.footer().table(kind).iter().enumerate();
        let listed = listed.map(|(at, page)| (at, page, tree.place(page)));
        let fresh: Vec<(usize, &PageRef, Place)> =
            listed.filter(|(_, _, place)| !self.pages.contains_key(place)).collect();
        let errors = self.each(&fresh, |(at, ..)| tree.check_page(kind, *at).err())?;
        for ((_, page, place), error) in fresh.into_iter().zip(errors) {
            if self.pages.contains_key(&place) {
                continue;
            }
            // A page is not damaged if all it lacks is its dictionary.
            let dictionary = (page.dictionary as usize).checked_sub(1);
            let dictionary = dictionary.and_then(|slot| tree.footer().dictionaries.get(slot));
            let dictionary = dictionary.and_then(|page| *self.pages.get(&tree.place(page))?);
            let damage = match (error.flatten(), dictionary) {
                (None, _) => None,
                (Some(_), Some(dictionary)) => Some(dictionary),
                (Some(error), None) => Some(self.bad_page(place, section, &error)?),
            };
            self.pages.insert(place, damage);
        }
        Ok(())
    }

    /// What `work` makes of each of `items`, by all processors.
    fn each<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> R + Sync,
    ) -> Result<Vec<Option<R>>, Error> {
        let (threads, monitor) = (parallel::processors(), self.monitor);
        let work = |(): &mut (), item: &T| (!monitor.cancelled()).then(|| work(item));
        let made = parallel::map(items, threads, || (), work);
        self.go_on().map(|()| made)
    }

    fn bad_page(
        &mut self,
        place: tree::Place,
        section: Section,
        error: &StorageError,
    ) -> Result<usize, Error> {
        super::damage::may_go_on(&error.clone().into())?;
        let key = tree::key(&place.0);
        // One damage, however many pages a lost tree had.
        if error.is_not_found()
            && let Some(at) = self.trees.get(&place.0).copied().flatten()
        {
            return Ok(at);
        }
        let where_ = match error.is_not_found() {
            true => String::new(),
            false => format!("{section} at byte {}", place.1),
        };
        let damage = Damage::new(What::Page, &key, &where_, reason(&error.kind));
        let at = self.add(Damage { at: place.1, ..damage });
        if error.is_not_found() {
            self.trees.insert(place.0, Some(at));
        }
        Ok(at)
    }

    /// Checks that the index has every run of the tree.
    fn runs(&mut self, kept: &Kept, tree: &Tree, index: &Index) -> Result<(), Error> {
        let origins: Vec<Origin> =
            tree.footer().origins.iter().map(|origin| index.origin(origin)).collect();
        let segments = kept.root.segments.iter().flat_map(|segment| segment.id);
        let index_mark = xxh3_64(&segments.collect::<Vec<u8>>());
        let pages = tree.footer().extents.iter().enumerate();
        // Sizes of files are those of pages of inodes, and numbers of slots those of the tree.
        let marked = |(at, page)| (at, (tree.place(page), self.mark(tree, at) ^ index_mark));
        let todo: Vec<(usize, (Place, u64))> = pages
            .map(marked)
            .filter(|(_, resolved)| {
                let damaged = self.pages.get(&resolved.0).copied().flatten().is_some();
                !damaged && !self.resolved.contains(resolved)
            })
            .collect();
        let lacking = self.each(&todo, |(at, _)| {
            let rows = tree.extents_of(*at).ok()?;
            let lacks = |extent: &&Extent| lacks(tree, index, &origins, extent);
            Some(rows.extents.iter().filter(lacks).count() as u64)
        })?;
        let mut missing = 0;
        for ((_, resolved), lacking) in todo.into_iter().zip(lacking) {
            match lacking.flatten() {
                Some(0) => _ = self.resolved.insert(resolved),
                lacking => missing += lacking.unwrap_or(0),
            }
        }
        if missing > 0 {
            let why = format!("does not have {missing} runs of blocks that its tree needs");
            let at = self.add(Damage::new(What::Index, &kept.key, "index", why));
            self.missing.insert(kept.key.clone(), at);
        }
        Ok(())
    }

    /// Tells apart what, besides the page of extents and the index, its runs hang on.
    fn mark(&self, tree: &Tree, at: usize) -> u64 {
        let footer = tree.footer();
        let first = footer.extents[at].key;
        let last = footer.extents.get(at + 1).map_or(u64::MAX, |next| next.key);
        let from = tree.inode_page(first).unwrap_or(0);
        let to = footer.inodes.partition_point(|page| page.key <= last);
        let mut bytes: Vec<u8> = footer.origins.iter().flatten().copied().collect();
        for page in footer.inodes.get(from..to).unwrap_or_default() {
            let (id, offset) = tree.place(page);
            bytes.extend(id);
            bytes.extend(offset.to_le_bytes());
        }
        xxh3_64(&bytes)
    }
}

/// Whether an index lacks what an extent refers to.
fn lacks(tree: &Tree, index: &Index, origins: &[Origin], extent: &Extent) -> bool {
    let Some(slot) = (extent.origin as usize).checked_sub(1) else { return false };
    // Where the page of the inode is damaged, nobody gets as far as to the extent.
    let Ok(Some(size)) = tree.inode(extent.inode, |_, inode| inode.size) else { return false };
    let Some(extent) = extent.within(size).filter(|extent| extent.offset < size) else {
        return false;
    };
    let run = Run { first: extent.first, count: extent.count, bytes: extent.bytes };
    let Some(origin) = origins.get(slot) else { return true };
    index.lengths(origin, run).is_err()
}

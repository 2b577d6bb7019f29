//! Compresses the pages of a tree, once all of them are there: what they have in common shows only
//! at the end. Then puts the tree together.

use super::dictionary::dictionary;
use super::reader::{Page as Decoded, Tree};
use super::section;
use crate::format::{
    Dictionary, Id, ObjectRef, PageKind, PageRef, PageTable, Sealer, Section, TreeFooter, tail,
};
use crate::parallel;
use crate::storage::StorageError;

/// Pages that are compressed with and without a dictionary, to see whether it pays.
const TRIED: usize = 8;
/// The kinds of page, in the order in which a tree has them.
const KINDS: [PageKind; 3] = [PageKind::Inodes, PageKind::Entries, PageKind::Extents];

/// A page that is not compressed yet.
#[derive(Debug)]
pub(super) struct Page {
    pub key: u64,
    pub name: Vec<u8>,
    pub before: u64,
    pub rows: usize,
    pub payload: Vec<u8>,
}

/// A page of a tree to be.
#[derive(Debug)]
pub(super) enum Slot {
    /// A new one.
    Fresh(Page),
    /// One of another tree, which [`Shared::slot`] names.
    Kept(PageRef),
}

/// What a tree can share with one that it changes: nothing, if there is none.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The trees whose pages it may keep.
    others: Vec<ObjectRef>,
    /// The dictionaries that these need.
    dictionaries: PageTable,
    /// Of each of [`KINDS`], the dictionary for new pages, and its slot; 0 if there is none.
    usual: [(u32, Vec<u8>); 3],
}

impl Shared {
    /// What there is to share with `base`.
    pub fn of(base: &Tree) -> Result<Self, StorageError> {
        let footer = base.footer();
        let mut others = footer.others.clone();
        others.push(base.object());
        let mut shared = Self { others, ..Self::default() };
        for (kind, usual) in KINDS.into_iter().zip(&mut shared.usual) {
            let slot =
                footer.table(kind).iter().rev().find_map(|page| page.dictionary.checked_sub(1));
            let Some(slot) = slot else { continue };
            if let Decoded::Dictionary(known) =
                &*base.page(PageKind::Dictionaries, slot as usize)?
            {
                *usual = (slot + 1, known.0.clone());
            }
        }
        let listed = footer.dictionaries.iter();
        let moved = listed.map(|page| PageRef { tree: shared.slot(page.tree), ..page.clone() });
        shared.dictionaries = moved.collect();
        Ok(shared)
    }

    /// Which tree a page lies in, for a new tree, that lies in `tree` for the base.
    pub fn slot(&self, tree: u32) -> u32 {
        match tree {
            0 => u32::try_from(self.others.len()).unwrap_or(u32::MAX),
            other => other,
        }
    }
}

/// A section's bytes and checksum.
type Sealed = (Vec<u8>, u64);

/// Puts a tree together; `pages` come in the order of [`KINDS`]. Returns its bytes and name.
pub(super) fn seal(
    mut footer: TreeFooter,
    pages: [Vec<Slot>; 3],
    shared: Shared,
    level: i32,
    threads: usize,
) -> (Vec<u8>, ObjectRef) {
    let fresh = |pages: &[Slot]| pages.iter().filter_map(payload).count();
    let lacks = |at: &usize| shared.usual[*at].0 == 0 && fresh(&pages[*at]) > 0;
    let lacking: Vec<usize> = (0..KINDS.len()).filter(lacks).collect();
    let made = parallel::map(
        &lacking,
        threads,
        || (),
        |(), at| {
            let payloads: Vec<&[u8]> = pages[*at].iter().filter_map(payload).collect();
            make(&payloads, section(KINDS[*at]), level)
        },
    );
    (footer.others, footer.dictionaries) = (shared.others, shared.dictionaries);
    let mut usual = shared.usual;
    let mut bytes = Vec::new();
    for (at, made) in lacking.into_iter().zip(made) {
        let Some((dictionary, sealed)) = made else { continue };
        let key = footer.dictionaries.len() as u64;
        let page = Page { key, name: Vec::new(), before: 0, rows: 0, payload: dictionary };
        footer.dictionaries.push(put(&mut bytes, &page, sealed, 0));
        usual[at] = (u32::try_from(key + 1).unwrap_or(u32::MAX), page.payload);
    }
    let slots = |at: usize| pages[at].iter().filter_map(payload).map(move |payload| (at, payload));
    let todo: Vec<(usize, &[u8])> = (0..KINDS.len()).flat_map(slots).collect();
    let sealers = || [const { None::<Sealer> }; 3];
    let sealed = parallel::map(&todo, threads, sealers, |sealers, (at, payload)| {
        let sealer = sealers[*at].get_or_insert_with(|| Sealer::new(level, &usual[*at].1));
        sealer.seal(section(KINDS[*at]), payload)
    });
    let mut sealed = sealed.into_iter();
    let mut table = |slots: Vec<Slot>, dictionary| -> PageTable {
        let place = |slot| match slot {
            Slot::Kept(page) => page,
            Slot::Fresh(page) => {
                put(&mut bytes, &page, sealed.next().unwrap_or_default(), dictionary)
            }
        };
        slots.into_iter().map(place).collect()
    };
    let [inodes, entries, extents] = pages;
    footer.inodes = table(inodes, usual[0].0);
    footer.entry_pages = table(entries, usual[1].0);
    footer.extents = table(extents, usual[2].0);
    forget_unused(&mut footer);
    end(bytes, &footer)
}

/// The payload of a page that is to be compressed.
fn payload(slot: &Slot) -> Option<&[u8]> {
    match slot {
        Slot::Fresh(page) => Some(&page.payload),
        Slot::Kept(_) => None,
    }
}

/// Makes a dictionary for these pages; `None` if they are as short without.
fn make(payloads: &[&[u8]], section: Section, level: i32) -> Option<(Vec<u8>, Sealed)> {
    let made = Dictionary(dictionary(payloads));
    let sealed = made.encode(level);
    pays(payloads, &made.0, sealed.0.len(), section, level).then_some((made.0, sealed))
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

fn put(out: &mut Vec<u8>, page: &Page, sealed: Sealed, dictionary: u32) -> PageRef {
    let (bytes, checksum) = sealed;
    let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let offset = out.len() as u64;
    out.extend(&bytes);
    PageRef {
        key: page.key,
        name: page.name.clone(),
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

/// Drops other trees that no page and no dictionary lies in any more.
fn forget_unused(footer: &mut TreeFooter) {
    let mut slots = vec![0u32; footer.others.len() + 1];
    let tables = [&footer.inodes, &footer.entry_pages, &footer.extents, &footer.dictionaries];
    tables.into_iter().flatten().for_each(|page| slots[page.tree as usize] = 1);
    slots[0] = 0;
    let mut kept = 0;
    for slot in &mut slots {
        kept += *slot;
        *slot *= kept;
    }
    let mut used = slots[1..].iter().map(|slot| *slot > 0);
    footer.others.retain(|_| used.next().unwrap_or(false));
    for table in
        [&mut footer.inodes, &mut footer.entry_pages, &mut footer.extents, &mut footer.dictionaries]
    {
        table.iter_mut().for_each(|page| page.tree = slots[page.tree as usize]);
    }
}

/// Adds the footer and the tail.
fn end(mut bytes: Vec<u8>, footer: &TreeFooter) -> (Vec<u8>, ObjectRef) {
    let (encoded, checksum) = footer.encode();
    let at = bytes.len() as u64;
    bytes.extend(&encoded);
    bytes.extend(tail(at, encoded.len() as u64));
    let id: Id = *blake3::hash(&bytes).as_bytes();
    let object = ObjectRef { id, length: bytes.len() as u64, checksum };
    (bytes, object)
}

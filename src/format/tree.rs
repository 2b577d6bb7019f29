//! The tree's footer: where each page lies and what it holds.
//! Layout: `format-spec.md`, "Tree".

use super::root::ObjectRef;
use super::wire::{Cursor, Put};
use super::{
    ENVELOPE_LEN, FormatError, ID_LEN, Id, MAX_DICTIONARY, MAX_ITEMS, MAX_NAME, MAX_PAGE,
    MAX_PAGE_ROWS, Problem, Section, open, seal,
};

/// Compression of the page tables.
const LEVEL: i32 = 19;
/// Tree flag: some inode has extended attributes.
const FLAG_XATTRS: u32 = 1;

/// The kinds of page, and the dictionaries that these are compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// Inodes, in the order of their numbers.
    Inodes,
    /// Directory entries, in the order of (folder, name).
    Entries,
    /// File extents, in the order of (inode, offset).
    Extents,
    /// Dictionaries, which pages name by their place in the table.
    Dictionaries,
}

/// Where a page lies, and its first key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRef {
    /// Its first inode number (of the folder, in a page of entries). Of a dictionary: its slot.
    pub key: u64,
    /// In a page of entries: its first name. Else empty.
    pub name: Vec<u8>,
    /// In a page of entries: how many come before it. Of extents: offset of its first one.
    pub before: u64,
    /// How many rows it has; none in a dictionary.
    pub rows: u32,
    /// 0 for this tree, else one more than a place among the other trees.
    pub tree: u32,
    /// Offset from that tree's start.
    pub offset: u64,
    /// Length of the section in bytes.
    pub length: u32,
    /// Length of its payload, inflated, in bytes.
    pub inflated: u32,
    /// 0 if it needs no dictionary, else one more than a place among the dictionaries.
    pub dictionary: u32,
    /// Its envelope's checksum.
    pub checksum: u64,
}

/// All pages of one kind, in order.
pub type PageTable = Vec<PageRef>;

/// What a tree says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeFooter {
    /// One more than the highest inode number; the root folder is 1.
    pub next_inode: u64,
    /// How many directory entries there are.
    pub entries: u64,
    /// Whether some inode has extended attributes.
    pub has_xattrs: bool,
    /// Origins of the blocks that extents refer to: each the last pack of a chain.
    pub origins: Vec<Id>,
    /// Other trees that it shares pages with.
    pub others: Vec<ObjectRef>,
    /// Pages of inodes.
    pub inodes: PageTable,
    /// Pages of directory entries.
    pub entry_pages: PageTable,
    /// Pages of extents.
    pub extents: PageTable,
    /// Dictionaries of pages.
    pub dictionaries: PageTable,
}

impl TreeFooter {
    /// The section's bytes and checksum.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, u64) {
        let mut out = Vec::new();
        out.put_u64(self.next_inode);
        out.put_u64(self.entries);
        out.put_u32(if self.has_xattrs { FLAG_XATTRS } else { 0 });
        out.put_len(self.origins.len());
        out.put_len(self.others.len());
        out.put_len(self.inodes.len());
        out.put_len(self.entry_pages.len());
        out.put_len(self.extents.len());
        out.put_len(self.dictionaries.len());
        out.put_u32(0); // reserved
        self.origins.iter().for_each(|origin| out.extend(origin));
        self.others.iter().for_each(|other| other.encode(&mut out));
        for table in [&self.inodes, &self.entry_pages, &self.extents, &self.dictionaries] {
            put_table(&mut out, table);
        }
        seal(Section::Tree, &out, Some(LEVEL))
    }

    /// Reads a section that must fill `bytes`.
    ///
    /// # Errors
    /// If the section is damaged, malformed or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = open(Section::Tree, bytes)?;
        Self::parse(&payload).map_err(|problem| problem.of(Section::Tree))
    }

    fn parse(payload: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(payload);
        let (next_inode, entries) = (cursor.u64()?, cursor.u64()?);
        let flags = cursor.u32()?;
        if flags & !FLAG_XATTRS != 0 {
            return Err(Problem::Malformed("unknown tree flags"));
        }
        let (origin_count, other_count) = (cursor.count(ID_LEN)?, cursor.count(ObjectRef::LEN)?);
        let counts = [cursor.count(8)?, cursor.count(8)?, cursor.count(8)?, cursor.count(8)?];
        if counts.iter().any(|count| *count > MAX_ITEMS) {
            return Err(Problem::Limit("number of pages"));
        }
        cursor.u32()?;
        let origins = cursor.records(origin_count, ID_LEN)?.as_chunks().0.to_vec();
        let mut others = Vec::with_capacity(other_count);
        for _ in 0..other_count {
            others.push(ObjectRef::parse(&mut cursor)?);
        }
        let mut table = |count, kind| {
            let table = parse_table(&mut cursor, count)?;
            check_table(&table, kind, other_count, counts[3])?;
            Ok(table)
        };
        let inodes = table(counts[0], PageKind::Inodes)?;
        let entry_pages = table(counts[1], PageKind::Entries)?;
        let extents = table(counts[2], PageKind::Extents)?;
        let dictionaries = table(counts[3], PageKind::Dictionaries)?;
        cursor.end()?;
        let numbered = inodes.last().map(|last| last.key.checked_add(last.rows.into()));
        let beyond = numbered.is_some_and(|end| end.is_none_or(|end| end > next_inode));
        if beyond || next_inode > i64::MAX.cast_unsigned() {
            return Err(Problem::Malformed("inodes beyond the next one"));
        }
        let listed = entry_pages.last().map_or(0, |last| last.before + u64::from(last.rows));
        if listed != entries {
            return Err(Problem::Malformed("entries that no page has"));
        }
        let has_xattrs = flags & FLAG_XATTRS != 0;
        Ok(Self {
            next_inode,
            entries,
            has_xattrs,
            origins,
            others,
            inodes,
            entry_pages,
            extents,
            dictionaries,
        })
    }

    /// The table of one kind of page.
    #[must_use]
    pub fn table(&self, kind: PageKind) -> &PageTable {
        match kind {
            PageKind::Inodes => &self.inodes,
            PageKind::Entries => &self.entry_pages,
            PageKind::Extents => &self.extents,
            PageKind::Dictionaries => &self.dictionaries,
        }
    }
}

fn put_table(out: &mut Vec<u8>, table: &PageTable) {
    table.iter().for_each(|page| out.put_u64(page.checksum));
    out.put_delta_column(table.iter().map(|page| page.key));
    out.put_delta_column(table.iter().map(|page| page.before));
    out.put_column(table.iter().map(|page| u64::from(page.rows)));
    out.put_column(table.iter().map(|page| u64::from(page.tree)));
    out.put_delta_column(table.iter().map(|page| page.offset));
    out.put_column(table.iter().map(|page| u64::from(page.length)));
    out.put_column(table.iter().map(|page| u64::from(page.inflated)));
    out.put_column(table.iter().map(|page| u64::from(page.dictionary)));
    out.put_column(table.iter().map(|page| page.name.len() as u64));
    table.iter().for_each(|page| out.extend(&page.name));
}

fn parse_table(cursor: &mut Cursor<'_>, count: usize) -> Result<PageTable, Problem> {
    let mut checksums = Vec::with_capacity(count);
    for _ in 0..count {
        checksums.push(cursor.u64()?);
    }
    let keys = cursor.delta_column(count)?;
    let befores = cursor.delta_column(count)?;
    let rows = cursor.column_u32(count)?;
    let trees = cursor.column_u32(count)?;
    let offsets = cursor.delta_column(count)?;
    let lengths = cursor.column_u32(count)?;
    let inflated = cursor.column_u32(count)?;
    let dictionaries = cursor.column_u32(count)?;
    let name_lengths = cursor.column_u32(count)?;
    let page = |at: usize| {
        Ok(PageRef {
            key: keys[at],
            name: cursor.take(name_lengths[at] as usize)?.to_vec(),
            before: befores[at],
            rows: rows[at],
            tree: trees[at],
            offset: offsets[at],
            length: lengths[at],
            inflated: inflated[at],
            dictionary: dictionaries[at],
            checksum: checksums[at],
        })
    };
    (0..count).map(page).collect()
}

/// Checks that pages can be what they say, and come in order.
fn check_table(
    table: &PageTable,
    kind: PageKind,
    others: usize,
    dictionaries: usize,
) -> Result<(), Problem> {
    let is_page = kind != PageKind::Dictionaries;
    let longest = if is_page { MAX_PAGE } else { MAX_DICTIONARY };
    let mut last: Option<&PageRef> = None;
    for (page, slot) in table.iter().zip(0u64..) {
        let fits = page.inflated as usize <= longest
            && page.length as usize <= longest + ENVELOPE_LEN
            && page.rows as usize <= MAX_PAGE_ROWS
            && page.name.len() <= MAX_NAME;
        let leads = page.tree as usize <= others && page.dictionary as usize <= dictionaries;
        // A dictionary needs none: so reading a page never takes more than two steps.
        let of_kind = match is_page {
            true => page.rows > 0,
            false => page.rows == 0 && page.dictionary == 0 && page.key == slot,
        };
        if !fits || !leads || !of_kind {
            return Err(Problem::Malformed("a page that cannot be"));
        }
        let order = |page: &PageRef| (page.key, page.name.clone(), page.before);
        let follows = match (last, kind) {
            (None, PageKind::Entries) => page.before == 0,
            (None, _) => true,
            (Some(last), PageKind::Entries) => {
                let after = last.before.checked_add(u64::from(last.rows));
                order(last) < order(page) && after == Some(page.before)
            }
            (Some(last), _) => order(last) < order(page),
        };
        if !follows {
            return Err(Problem::Malformed("pages out of order"));
        }
        last = Some(page);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_round_trips_and_keeps_order() {
        let page = |key, name: &[u8], before, rows| PageRef {
            key,
            name: name.to_vec(),
            before,
            rows,
            tree: 1,
            offset: 10 * key,
            length: 9,
            inflated: 90,
            dictionary: u32::from(rows > 0),
            checksum: u64::MAX - key,
        };
        let footer = TreeFooter {
            next_inode: 12,
            entries: 11,
            has_xattrs: true,
            origins: vec![[1; 32]],
            others: vec![ObjectRef { id: [2; 32], length: 3, checksum: 4 }],
            inodes: vec![page(1, b"", 0, 11)],
            entry_pages: vec![page(1, b"a", 0, 5), page(1, b"b", 5, 4), page(3, b"", 9, 2)],
            extents: vec![],
            dictionaries: vec![page(0, b"", 0, 0)],
        };
        assert_eq!(TreeFooter::decode(&footer.encode().0).unwrap(), footer);
        // An offset in a folder counts entries: it must start at none, and never lead back.
        for (at, before) in [(0, 1), (1, 0), (2, 5)] {
            let mut back = footer.clone();
            back.entry_pages[at].before = before;
            assert!(TreeFooter::decode(&back.encode().0).is_err(), "{at} {before}");
        }
        let mut more = footer.clone();
        more.entries += 1;
        assert!(TreeFooter::decode(&more.encode().0).is_err());
        for next_inode in [11, 1 << 63] {
            let short = TreeFooter { next_inode, ..footer.clone() };
            assert!(TreeFooter::decode(&short.encode().0).is_err(), "{next_inode}");
        }
        // A dictionary that needs a dictionary would never end.
        let mut deep = footer.clone();
        deep.dictionaries[0].dictionary = 1;
        assert!(TreeFooter::decode(&deep.encode().0).is_err());
        let mut swapped = footer;
        swapped.entry_pages.swap(0, 2);
        assert!(TreeFooter::decode(&swapped.encode().0).is_err());
    }
}

//! Tree pages of directory entries. Layout: `format-spec.md`, "Page of entries".

use std::ffi::CStr;

use super::wire::{Cursor, Put, unzigzag, zigzag};
use super::{FormatError, Kind, MAX_NAME, MAX_PAGE_ROWS, Problem, Section, open_with, seal};

/// A directory entry: a name in a folder, and the inode it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The folder.
    pub folder: u64,
    /// The inode.
    pub inode: u64,
    /// What the inode is.
    pub kind: Kind,
    name_at: u32,
    name_len: u8,
}

/// A page: consecutive entries in the order of (folder, name).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The names, each with the NUL that ends it.
    names: Vec<u8>,
}

/// Whether bytes can be a name: 1 to 255 of them, no `/` or NUL, and not `.` or `..`.
#[must_use]
pub fn valid_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

impl EntryPage {
    /// Adds an entry, which must come after the last one.
    pub fn push(&mut self, folder: u64, name: &[u8], inode: u64, kind: Kind) {
        let name_at = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        self.names.extend(name);
        self.names.push(0);
        self.entries.push(Entry { folder, inode, kind, name_at, name_len });
    }

    /// The name of an entry of this page.
    #[must_use]
    pub fn name(&self, entry: &Entry) -> &[u8] {
        let start = entry.name_at as usize;
        &self.names[start..start + usize::from(entry.name_len)]
    }

    /// The entry of that name in that folder, if the page holds it.
    #[must_use]
    pub fn find(&self, folder: u64, name: &[u8]) -> Option<&Entry> {
        let key = |entry: &Entry| (entry.folder, self.name(entry)).cmp(&(folder, name));
        self.entries.get(self.entries.binary_search_by(key).ok()?)
    }

    /// Bytes of names: what a page is cut by, together with its number of entries.
    #[must_use]
    pub fn name_bytes(&self) -> usize {
        self.names.len()
    }

    /// The section's payload, for a [`Sealer`](super::Sealer).
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_len(self.entries.len());
        out.put_u32(0);
        out.put_delta_column(self.entries.iter().map(|entry| entry.folder));
        let mut expected = 0u64;
        out.put_column(self.entries.iter().map(|entry| {
            let difference = entry.inode.wrapping_sub(expected);
            expected = entry.inode.wrapping_add(1);
            zigzag(difference)
        }));
        out.put_column(self.entries.iter().map(|entry| entry.kind as u64));
        out.extend(&self.names);
        out
    }

    /// The section's bytes and checksum, without a dictionary.
    #[must_use]
    pub fn encode(&self, level: i32) -> (Vec<u8>, u64) {
        seal(Section::Entries, &self.payload(), Some(level))
    }

    /// Reads a section that must fill `bytes`, and that may need a dictionary (empty: none).
    ///
    /// # Errors
    /// If the section is damaged, malformed or over a limit; names are valid and in order.
    pub fn decode(bytes: &[u8], dictionary: &[u8]) -> Result<Self, FormatError> {
        let payload = open_with(Section::Entries, bytes, dictionary)?;
        Self::parse(&payload).map_err(|problem| problem.of(Section::Entries))
    }

    fn parse(payload: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(payload);
        let rows = cursor.u32()? as usize;
        if rows > MAX_PAGE_ROWS {
            return Err(Problem::Limit("rows of a page"));
        }
        cursor.u32()?;
        let folders = cursor.delta_column(rows)?;
        let steps = cursor.column(rows)?;
        let kinds = cursor.column_u32(rows)?;
        let names = cursor.rest();
        let mut entries = Vec::with_capacity(rows);
        let (mut at, mut expected) = (0, 0u64);
        let mut last: (u64, &[u8]) = (0, b"");
        for row in 0..rows {
            let name = CStr::from_bytes_until_nul(&names[at..]).map_err(|_| Problem::Truncated)?;
            let name = name.to_bytes();
            if !valid_name(name) {
                return Err(Problem::Malformed("a name that cannot be one"));
            }
            let folder = folders[row];
            if row > 0 && last >= (folder, name) {
                return Err(Problem::Malformed("entries out of order"));
            }
            let inode = expected.wrapping_add(unzigzag(steps[row]));
            let kind = Kind::of_code(kinds[row]).ok_or(Problem::Malformed("kind of an entry"))?;
            let name_at = u32::try_from(at).map_err(|_| Problem::Limit("names of a page"))?;
            let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
            entries.push(Entry { folder, inode, kind, name_at, name_len });
            at += name.len() + 1;
            expected = inode.wrapping_add(1);
            last = (folder, name);
        }
        match at == names.len() {
            true => Ok(Self { entries, names: names.to_vec() }),
            false => Err(Problem::Malformed("names without an entry")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_round_trips_and_finds() {
        let mut page = EntryPage::default();
        page.push(1, b"alpha", 2, Kind::File);
        page.push(1, b"alphabet", 3, Kind::Folder);
        page.push(1, &[255; 255], 4, Kind::Symlink);
        page.push(3, b"alp", 2, Kind::File);
        let read = EntryPage::decode(&page.encode(3).0, b"").unwrap();
        assert_eq!(read, page);
        assert_eq!(read.find(1, &[255; 255]).unwrap().inode, 4);
        assert_eq!(read.find(3, b"alp").unwrap().inode, 2);
        assert_eq!(read.find(2, b"alp"), None);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [&b".."[..], b".", b"a/b", b"", b"a\0"] {
            let mut page = EntryPage::default();
            page.push(1, name, 2, Kind::File);
            assert!(EntryPage::decode(&page.encode(3).0, b"").is_err(), "{name:?}");
        }
        let mut twice = EntryPage::default();
        twice.push(1, b"a", 2, Kind::File);
        twice.push(1, b"a", 3, Kind::File);
        assert!(EntryPage::decode(&twice.encode(3).0, b"").is_err());
    }
}

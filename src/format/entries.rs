//! Tree pages of directory entries. Layout: `format-spec.md`, "Page of entries".

use super::wire::{Cursor, Put};
use super::{FormatError, Kind, MAX_NAME, MAX_PAGE_ROWS, Problem, Section, open, seal};

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

    /// The section's bytes and checksum.
    #[must_use]
    pub fn encode(&self, level: i32) -> (Vec<u8>, u64) {
        let mut out = Vec::new();
        out.put_len(self.entries.len());
        out.put_u32(0);
        out.put_delta_column(self.entries.iter().map(|entry| entry.folder));
        out.put_delta_column(self.entries.iter().map(|entry| entry.inode));
        out.put_column(self.entries.iter().map(|entry| entry.kind as u64));
        let mut shared = Vec::with_capacity(self.entries.len());
        let mut suffixes = Vec::new();
        let mut last: &[u8] = b"";
        for entry in &self.entries {
            let name = self.name(entry);
            let same = name.iter().zip(last).take_while(|(a, b)| a == b).count();
            shared.push(same);
            suffixes.extend(&name[same..]);
            last = name;
        }
        out.put_column(shared.iter().map(|same| *same as u64));
        let lengths = self.entries.iter().map(|entry| u64::from(entry.name_len));
        out.put_column(lengths.zip(&shared).map(|(length, same)| length - *same as u64));
        out.extend(&suffixes);
        seal(Section::Entries, &out, Some(level))
    }

    /// Reads a section that must fill `bytes`.
    ///
    /// # Errors
    /// If the section is damaged, malformed or over a limit; names are valid and in order.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = open(Section::Entries, bytes)?;
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
        let inodes = cursor.delta_column(rows)?;
        let kinds = cursor.column_u32(rows)?;
        let shared = cursor.column_u32(rows)?;
        let suffixes = cursor.column_u32(rows)?;
        let mut page = Self { entries: Vec::with_capacity(rows), names: Vec::new() };
        let mut name: Vec<u8> = Vec::with_capacity(MAX_NAME);
        for row in 0..rows {
            if shared[row] as usize > name.len() || suffixes[row] as usize > MAX_NAME {
                return Err(Problem::Malformed("a name built on more than there is"));
            }
            name.truncate(shared[row] as usize);
            name.extend(cursor.take(suffixes[row] as usize)?);
            if !valid_name(&name) {
                return Err(Problem::Malformed("a name that cannot be one"));
            }
            let last = page.entries.last().map(|last| (last.folder, page.name(last)));
            if last.is_some_and(|last| last >= (folders[row], &name)) {
                return Err(Problem::Malformed("entries out of order"));
            }
            let kind = Kind::of_code(kinds[row]).ok_or(Problem::Malformed("kind of an entry"))?;
            page.push(folders[row], &name, inodes[row], kind);
        }
        cursor.end()?;
        Ok(page)
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
        let read = EntryPage::decode(&page.encode(3).0).unwrap();
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
            assert!(EntryPage::decode(&page.encode(3).0).is_err(), "{name:?}");
        }
        let mut twice = EntryPage::default();
        twice.push(1, b"a", 2, Kind::File);
        twice.push(1, b"a", 3, Kind::File);
        assert!(EntryPage::decode(&twice.encode(3).0).is_err());
    }
}

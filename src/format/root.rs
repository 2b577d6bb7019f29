//! The root: the manifest of one commit. Layout: `format-spec.md`, "Root".

use super::wire::{Cursor, Put};
use super::{FormatError, ID_LEN, Id, Inode, Kind, Problem, Section, open, seal};

/// Names an object and says what it must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectRef {
    /// BLAKE3 of the whole object.
    pub id: Id,
    /// Its length in bytes.
    pub length: u64,
    /// Checksum in the envelope of its table (the tree's footer; the index segment itself).
    pub checksum: u64,
}

impl ObjectRef {
    pub(super) const LEN: usize = 48;

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.id);
        out.put_u64(self.length);
        out.put_u64(self.checksum);
    }

    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Problem> {
        Ok(Self { id: cursor.array()?, length: cursor.u64()?, checksum: cursor.u64()? })
    }
}

/// What the tree of a root comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Names, that is directory entries, the root folder among them.
    pub entries: u64,
    /// Regular files, each counted once however many names it has.
    pub files: u64,
    /// Bytes of all regular files, holes included.
    pub bytes: u64,
    /// Bytes of all blocks that the commit found new, before compression.
    pub unique: u64,
}

impl Totals {
    /// Counts an inode more.
    pub fn count(&mut self, inode: &Inode) {
        if inode.kind() == Some(Kind::File) {
            self.files = self.files.saturating_add(1);
            self.bytes = self.bytes.saturating_add(inode.size);
        }
    }

    /// Counts an inode less.
    pub fn uncount(&mut self, inode: &Inode) {
        if inode.kind() == Some(Kind::File) {
            self.files = self.files.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(inode.size);
        }
    }
}

/// The manifest of one commit: what it needs, and what came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// One more than the highest number among its parents; 1 for the first.
    pub number: u64,
    /// When it was made, in seconds since 1970; 0 where that is not recorded.
    pub created: i64,
    /// Its tree.
    pub tree: ObjectRef,
    /// The roots it follows; none for the first.
    pub parents: Vec<Id>,
    /// Index segments, oldest first; a later one overrides an earlier one.
    pub segments: Vec<ObjectRef>,
    /// What its tree comes to.
    pub totals: Totals,
}

impl Root {
    /// The section's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.number);
        out.put_u64(self.created.cast_unsigned());
        out.put_len(self.parents.len());
        out.put_len(self.segments.len());
        out.put_u64(self.totals.entries);
        out.put_u64(self.totals.files);
        out.put_u64(self.totals.bytes);
        out.put_u64(self.totals.unique);
        self.tree.encode(&mut out);
        self.parents.iter().for_each(|parent| out.extend(parent));
        self.segments.iter().for_each(|segment| segment.encode(&mut out));
        seal(Section::Root, &out, None).0
    }

    /// Reads a section that must fill `bytes`.
    ///
    /// # Errors
    /// If the section is damaged or malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = open(Section::Root, bytes)?;
        Self::parse(&payload).map_err(|problem| problem.of(Section::Root))
    }

    fn parse(payload: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(payload);
        let number = cursor.u64()?;
        let created = cursor.u64()?.cast_signed();
        let (parent_count, segment_count) = (cursor.count(ID_LEN)?, cursor.count(ObjectRef::LEN)?);
        let totals = Totals {
            entries: cursor.u64()?,
            files: cursor.u64()?,
            bytes: cursor.u64()?,
            unique: cursor.u64()?,
        };
        let tree = ObjectRef::parse(&mut cursor)?;
        let parents = cursor.records(parent_count, ID_LEN)?.as_chunks().0.to_vec();
        let mut segments = Vec::with_capacity(segment_count);
        for _ in 0..segment_count {
            segments.push(ObjectRef::parse(&mut cursor)?);
        }
        cursor.end()?;
        Ok(Self { number, created, tree, parents, segments, totals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_round_trips() {
        let part = |n: u8| ObjectRef { id: [n; 32], length: u64::from(n), checksum: 7 };
        let root = Root {
            number: 3,
            created: -5,
            tree: part(1),
            parents: vec![[4; 32], [5; 32]],
            segments: vec![part(2), part(3)],
            totals: Totals { entries: 1, files: 2, bytes: 3, unique: 4 },
        };
        assert_eq!(Root::decode(&root.encode()).unwrap(), root);
    }
}

//! The journal of a live store: groups of changes. Layout: `format-spec.md`, "Journal".

use super::wire::{Cursor, Put};
use super::xattrs::{parse_set, put_set};
use super::{
    ENVELOPE_LEN, FormatError, ID_LEN, Id, Inode, Kind, MAX_BLOCK, MAX_PAGE_XATTRS, MAX_RUN,
    MAX_TARGET, Problem, Section, Time, XattrSet, open, seal, valid_name,
};

const NODE: u8 = 1;
const ENTRY: u8 = 2;
const DATA: u8 = 3;
const ZEROS: u8 = 4;
const CUT: u8 = 5;
const BLOCKS: u8 = 6;
const BELOW: u8 = 7;
/// The root folder.
const ROOT: u64 = 1;
/// Inodes of a live store have lower numbers.
pub const NUMBERS_END: u64 = 1 << 62;
/// Longest offset in a file.
const MAX_OFFSET: u64 = i64::MAX.cast_unsigned();

/// What a journal begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalHead {
    /// Its number, which its spool has, too; a later journal of the same store has a higher one.
    pub number: u64,
    /// The number of the journal below it, when it was begun; 0: there was none.
    pub below: u64,
}

/// The root that a journal rests on: all that was below its layer is in it. It follows the head,
/// or zeros do as long as there is a layer below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalBase {
    /// The root's number.
    pub number: u64,
    /// The root's id.
    pub root: Id,
}

/// One change. All of them state what is so from then on, not what was done: a journal can be
/// applied to a tree that has some of it already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An inode has all this from now on; with mode 0 there is none of that number any more.
    Node {
        /// Its number.
        number: u64,
        /// Bytes that what lies below still has of it: later ones are zeros, if not changed.
        inherited: u64,
        /// All that it has; sizes of holes and places in a page mean nothing here.
        inode: Box<Inode>,
        /// The target of a symlink; else empty.
        target: Box<[u8]>,
        /// Extended attributes.
        xattrs: XattrSet,
    },
    /// A name in a folder names that inode, or with `None` nothing.
    Entry {
        /// The folder.
        folder: u64,
        /// The name.
        name: Box<[u8]>,
        /// The inode, and what it is.
        to: Option<(u64, Kind)>,
    },
    /// What a range of a file is.
    Data {
        /// The file.
        number: u64,
        /// Where the range begins.
        offset: u64,
        /// How long it is; not 0.
        length: u64,
        /// Where its bytes are.
        at: DataAt,
    },
    /// A file was cut to that size: what was changed after it is gone.
    Cut {
        /// The file.
        number: u64,
        /// The size.
        size: u64,
    },
    /// The journal below ends with the group of that number.
    Below {
        /// How many groups it has.
        groups: u64,
    },
}

/// Where the bytes of a range of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataAt {
    /// Nowhere: they are zeros.
    Hole,
    /// In the spool, from there on.
    Spool(u64),
    /// In the archive.
    Blocks(Blocks),
}

/// Bytes of a run of blocks of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// One more than the blocks' origin among those of the tree of the root below.
    pub origin: u32,
    /// The first block's number.
    pub first: u32,
    /// How many blocks.
    pub count: u32,
    /// What the whole run comes to, in bytes.
    pub bytes: u64,
    /// How many of these come before the range.
    pub skip: u64,
}

impl DataAt {
    /// The place of what comes so many bytes later.
    #[must_use]
    pub fn skip(self, bytes: u64) -> Self {
        match self {
            Self::Hole => Self::Hole,
            Self::Spool(at) => Self::Spool(at + bytes),
            Self::Blocks(blocks) => Self::Blocks(Blocks { skip: blocks.skip + bytes, ..blocks }),
        }
    }
}

impl JournalHead {
    /// Length of the section, in bytes.
    pub const LEN: usize = ENVELOPE_LEN + 16;

    /// The section's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.number);
        out.put_u64(self.below);
        seal(Section::Journal, &out, None).0
    }

    /// Reads the section that `bytes` begin with.
    ///
    /// # Errors
    /// If it is damaged or malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = open(Section::Journal, &bytes[..bytes.len().min(Self::LEN)])?;
        let parse = || {
            let mut cursor = Cursor::new(&payload);
            let head = Self { number: cursor.u64()?, below: cursor.u64()? };
            cursor.end()?;
            Ok(head)
        };
        parse().map_err(|problem: Problem| problem.of(Section::Journal))
    }
}

impl JournalBase {
    /// Length of the section, in bytes.
    pub const LEN: usize = ENVELOPE_LEN + 8 + ID_LEN;

    /// The section's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.number);
        out.extend(self.root);
        seal(Section::Base, &out, None).0
    }

    /// Reads the section that `bytes` begin with.
    ///
    /// # Errors
    /// If it is damaged or malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = open(Section::Base, &bytes[..bytes.len().min(Self::LEN)])?;
        let parse = || {
            let mut cursor = Cursor::new(&payload);
            let base = Self { number: cursor.u64()?, root: cursor.array()? };
            cursor.end()?;
            Ok(base)
        };
        parse().map_err(|problem: Problem| problem.of(Section::Base))
    }
}

impl Change {
    /// Appends it to a group.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Node { number, inherited, inode, target, xattrs } => {
                put_node(out, *number, *inherited, inode, target, xattrs);
            }
            Self::Entry { folder, name, to } => {
                out.push(ENTRY);
                out.put_u64(*folder);
                out.put_u64(to.map_or(0, |(inode, _)| inode));
                out.push(to.map_or(0, |(_, kind)| kind as u8));
                out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
                out.extend(&**name);
            }
            Self::Data { number, offset, length, at } => {
                out.push(match at {
                    DataAt::Hole => ZEROS,
                    DataAt::Spool(_) => DATA,
                    DataAt::Blocks(_) => BLOCKS,
                });
                [number, offset, length].iter().for_each(|value| out.put_u64(**value));
                match at {
                    DataAt::Hole => {}
                    DataAt::Spool(at) => out.put_u64(*at),
                    DataAt::Blocks(Blocks { origin, first, count, bytes, skip }) => {
                        [origin, first, count].iter().for_each(|value| out.put_u32(**value));
                        out.put_u64(*bytes);
                        out.put_u64(*skip);
                    }
                }
            }
            Self::Cut { number, size } => {
                out.push(CUT);
                out.put_u64(*number);
                out.put_u64(*size);
            }
            Self::Below { groups } => {
                out.push(BELOW);
                out.put_u64(*groups);
            }
        }
    }
}

/// Appends a [`Change::Node`] to a group.
pub fn put_node(
    out: &mut Vec<u8>,
    number: u64,
    inherited: u64,
    inode: &Inode,
    target: &[u8],
    xattrs: &XattrSet,
) {
    out.push(NODE);
    out.put_u64(number);
    out.put_u64(inherited);
    [inode.mode, inode.nlink, inode.uid, inode.gid].iter().for_each(|value| out.put_u32(*value));
    [inode.size, inode.rdev, inode.parent].iter().for_each(|value| out.put_u64(*value));
    let (atime, ctime) = inode.times.unwrap_or((inode.mtime, inode.mtime));
    for time in [inode.mtime, atime, ctime] {
        out.put_u64(time.sec.cast_unsigned());
        out.put_u32(time.nsec);
    }
    out.put_len(target.len());
    out.extend(target);
    put_set(out, xattrs);
}

/// Seals the changes that were appended to `payload` as the group of that `number`: the first of a
/// journal is 1.
#[must_use]
pub fn seal_group(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(payload.len() + 8);
    all.put_u64(number);
    all.extend(payload);
    seal(Section::Group, &all, None).0
}

/// The number of the group that fills `bytes`, if its checksum holds.
#[must_use]
pub fn group_number(bytes: &[u8]) -> Option<u64> {
    let payload = open(Section::Group, bytes).ok()?;
    payload.first_chunk::<8>().map(|number| u64::from_le_bytes(*number))
}

/// Reads the group of that `number`, which fills `bytes`.
///
/// # Errors
/// If it is cut short, damaged or malformed: the journal ends before it.
pub fn open_group(number: u64, bytes: &[u8]) -> Result<Vec<Change>, FormatError> {
    let payload = open(Section::Group, bytes)?;
    let parse = || {
        let mut cursor = Cursor::new(&payload);
        if cursor.u64()? != number {
            return Err(Problem::Malformed("a group of another number"));
        }
        let mut changes = Vec::new();
        while !cursor.is_empty() {
            changes.push(parse_change(&mut cursor)?);
        }
        Ok(changes)
    };
    parse().map_err(|problem| problem.of(Section::Group))
}

fn parse_change(cursor: &mut Cursor<'_>) -> Result<Change, Problem> {
    match cursor.u8()? {
        NODE => parse_node(cursor),
        ENTRY => {
            let (folder, inode, kind) = (inode_number(cursor)?, cursor.u64()?, cursor.u8()?);
            let length = usize::from(cursor.u8()?);
            let name = cursor.take(length)?;
            if !valid_name(name) {
                return Err(Problem::Malformed("a name that cannot be one"));
            }
            let to = match (inode, Kind::of_code(kind.into())) {
                (0, _) => None,
                (1..NUMBERS_END, Some(kind)) => Some((inode, kind)),
                _ => return Err(Problem::Malformed("kind of an entry")),
            };
            Ok(Change::Entry { folder, name: name.into(), to })
        }
        tag @ (DATA | ZEROS | BLOCKS) => {
            let (number, offset, length) = (inode_number(cursor)?, cursor.u64()?, cursor.u64()?);
            let at = match tag {
                DATA => DataAt::Spool(cursor.u64()?),
                BLOCKS => DataAt::Blocks(parse_blocks(cursor)?),
                _ => DataAt::Hole,
            };
            let fits = |at: u64| at.checked_add(length).is_some_and(|end| end <= MAX_OFFSET);
            let is_there = match at {
                DataAt::Hole => true,
                DataAt::Spool(at) => fits(at),
                DataAt::Blocks(Blocks { bytes, skip, .. }) => length <= bytes - skip,
            };
            if length == 0 || !fits(offset) || !is_there {
                return Err(Problem::Malformed("range of a change"));
            }
            Ok(Change::Data { number, offset, length, at })
        }
        BELOW => Ok(Change::Below { groups: cursor.u64()? }),
        CUT => Ok(Change::Cut { number: inode_number(cursor)?, size: cursor.u64()? }),
        _ => Err(Problem::Malformed("unknown change")),
    }
}

fn parse_blocks(cursor: &mut Cursor<'_>) -> Result<Blocks, Problem> {
    let (origin, first, count) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    let (bytes, skip) = (cursor.u64()?, cursor.u64()?);
    let most = u64::from(count) * MAX_BLOCK as u64;
    let ends = first.checked_add(count).is_some();
    if origin == 0 || count > MAX_RUN || !ends || bytes > most || skip >= bytes {
        return Err(Problem::Malformed("run of blocks of a change"));
    }
    Ok(Blocks { origin, first, count, bytes, skip })
}

fn parse_node(cursor: &mut Cursor<'_>) -> Result<Change, Problem> {
    let (number, inherited) = (inode_number(cursor)?, cursor.u64()?);
    let mut inode = Inode {
        mode: cursor.u32()?,
        nlink: cursor.u32()?,
        uid: cursor.u32()?,
        gid: cursor.u32()?,
        size: cursor.u64()?,
        rdev: cursor.u64()?,
        parent: cursor.u64()?,
        ..Inode::default()
    };
    inode.mtime = parse_time(cursor)?;
    inode.times = Some((parse_time(cursor)?, parse_time(cursor)?));
    if inode.mode != 0 && inode.kind().is_none() {
        return Err(Problem::Malformed("kind of an inode"));
    }
    if number == ROOT && (inode.kind() != Some(Kind::Folder) || inode.nlink == 0) {
        return Err(Problem::Malformed("a root that is no folder"));
    }
    if inode.size > MAX_OFFSET || inherited > MAX_OFFSET {
        return Err(Problem::Malformed("size of an inode"));
    }
    let length = cursor.count(1)?;
    if length > MAX_TARGET {
        return Err(Problem::Limit("length of a symlink target"));
    }
    let target = cursor.take(length)?.into();
    let xattrs = parse_set(cursor, &mut MAX_PAGE_XATTRS.clone())?;
    Ok(Change::Node { number, inherited, inode: Box::new(inode), target, xattrs })
}

/// The number of an inode, which leaves room for those to come.
fn inode_number(cursor: &mut Cursor<'_>) -> Result<u64, Problem> {
    let number = cursor.u64()?;
    match (1..NUMBERS_END).contains(&number) {
        true => Ok(number),
        false => Err(Problem::Malformed("number of an inode")),
    }
}

fn parse_time(cursor: &mut Cursor<'_>) -> Result<Time, Problem> {
    let (sec, nsec) = (cursor.u64()?.cast_signed(), cursor.u32()?);
    match nsec < 1_000_000_000 {
        true => Ok(Time { sec, nsec }),
        false => Err(Problem::Malformed("nanoseconds of a time")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::section_len;
    use super::*;

    #[test]
    fn groups_round_trip_and_end_where_they_are_torn() {
        let time = Time { sec: -5, nsec: 7 };
        let inode = Inode {
            mode: 0o120_777,
            nlink: 1,
            size: 3,
            mtime: time,
            times: Some((time, Time::default())),
            ..Inode::default()
        };
        let blocks = Blocks { origin: 1, first: 2, count: 3, bytes: 10, skip: 4 };
        let changes = vec![
            Change::Node {
                number: 9,
                inherited: 4,
                inode: Box::new(inode),
                target: (*b"abc").into(),
                xattrs: vec![(b"user.a".to_vec(), vec![1])],
            },
            Change::Entry { folder: 1, name: (*b"x").into(), to: Some((9, Kind::Symlink)) },
            Change::Entry { folder: 1, name: (*b"y").into(), to: None },
            Change::Data { number: 9, offset: 5, length: 6, at: DataAt::Spool(7) },
            Change::Data { number: 9, offset: 5, length: 6, at: DataAt::Hole },
            Change::Data { number: 9, offset: 5, length: 6, at: DataAt::Blocks(blocks) },
            Change::Cut { number: 9, size: 3 },
            Change::Below { groups: 4 },
        ];
        let mut payload = Vec::new();
        changes.iter().for_each(|change| change.encode(&mut payload));
        let mut bytes = seal_group(3, &payload);
        let length = bytes.len();
        assert_eq!(section_len(&bytes[..ENVELOPE_LEN]), Some(length as u64));
        assert!(open_group(3, &bytes[..length - 1]).is_err());
        assert_eq!(open_group(3, &bytes).unwrap(), changes);
        assert!(open_group(2, &bytes).is_err());
        bytes[70] ^= 1;
        assert!(open_group(3, &bytes).is_err());
    }
}

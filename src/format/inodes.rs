//! Tree pages of inodes. Layout: `format-spec.md`, "Page of inodes".

use std::collections::HashMap;

use super::times::TimeTable;
use super::wire::{Cursor, Put};
use super::xattrs::{parse_set, put_set};
use super::{
    FormatError, MAX_PAGE_ROWS, MAX_PAGE_XATTRS, MAX_TARGET, Problem, Section, Time, XattrSet,
    open_with, seal,
};

/// Page flag: the page has columns of access and change times.
const FLAG_ALL_TIMES: u32 = 1;
const S_IFMT: u32 = 0o170_000;

/// What an inode is, from the type bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A FIFO.
    Fifo = 1,
    /// A character device.
    Char = 2,
    /// A folder.
    Folder = 4,
    /// A block device.
    Block = 6,
    /// A regular file.
    File = 8,
    /// A symbolic link.
    Symlink = 10,
    /// A socket.
    Socket = 12,
}

impl Kind {
    /// The kind of a mode's type bits.
    #[must_use]
    pub const fn of_mode(mode: u32) -> Option<Self> {
        Self::of_code((mode & S_IFMT) >> 12)
    }

    /// The kind of a directory entry's type (Linux `DT_*`).
    #[must_use]
    pub const fn of_code(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::Fifo,
            2 => Self::Char,
            4 => Self::Folder,
            6 => Self::Block,
            8 => Self::File,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }

    /// The type bits of a mode.
    #[must_use]
    pub const fn mode(self) -> u32 {
        (self as u32) << 12
    }
}

/// An inode: all that a file has but its names and its data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inode {
    /// Type and permission bits; 0 where no inode has this number.
    pub mode: u32,
    /// How many names it has (for a folder: 2 and its sub-folders).
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file, holes included; bytes of a symlink's target; entries of a folder.
    pub size: u64,
    /// Bytes of a file that are holes.
    pub holes: u64,
    /// Device number of a device (Linux `dev_t`, in its 64-bit form).
    pub rdev: u64,
    /// The folder of its first name; its own number for the root folder.
    pub parent: u64,
    /// Last change of its data.
    pub mtime: Time,
    /// Last access and last change of the inode, where these were kept.
    pub times: Option<(Time, Time)>,
    /// Its extended attributes: 0 for none, else one more than a place in the page's sets.
    pub xattrs: u32,
    /// Where its symlink target begins among the page's targets; the page sees to it.
    pub target_at: u32,
}

impl Inode {
    /// What it is; `None` where no inode has this number.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::of_mode(self.mode)
    }
}

/// A page: the inodes of a range of consecutive numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InodePage {
    /// The number of the first.
    pub first: u64,
    /// The inodes.
    pub inodes: Vec<Inode>,
    /// Distinct sets of extended attributes, which the inodes refer to.
    pub sets: Vec<XattrSet>,
    targets: Vec<u8>,
}

impl InodePage {
    /// An empty page that begins at number `first`.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// Adds the inode of the next number, with its symlink target (empty for anything else).
    pub fn push(&mut self, mut inode: Inode, target: &[u8]) {
        inode.target_at = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        self.targets.extend(target);
        self.inodes.push(inode);
    }

    /// The inode of that number, if the page holds it.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Inode> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.inodes.get(at).filter(|inode| inode.mode != 0)
    }

    /// The target of a symlink of this page.
    #[must_use]
    pub fn target(&self, inode: &Inode) -> Option<&[u8]> {
        let start = inode.target_at as usize;
        self.targets.get(start..start.checked_add(usize::try_from(inode.size).ok()?)?)
    }

    /// The target of an inode of this page; empty if it is no symlink.
    #[must_use]
    pub fn target_of(&self, inode: &Inode) -> &[u8] {
        let symlink = inode.kind() == Some(Kind::Symlink);
        self.target(inode).filter(|_| symlink).unwrap_or_default()
    }

    /// The extended attributes of an inode of this page.
    #[must_use]
    pub fn xattrs(&self, inode: &Inode) -> &[(Vec<u8>, Vec<u8>)] {
        let set = (inode.xattrs as usize).checked_sub(1).and_then(|at| self.sets.get(at));
        set.map_or(&[], Vec::as_slice)
    }

    /// The section's payload, for a [`Sealer`](super::Sealer).
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let each = || self.inodes.iter();
        let (traits, places) = traits(&self.inodes);
        let all_times = each().any(|inode| inode.times.is_some());
        // Rows of a page may come from trees that kept them and from others.
        let kept = |inode: &Inode| inode.times.unwrap_or((inode.mtime, inode.mtime));
        let mut times: Vec<Time> = each().map(|inode| inode.mtime).collect();
        if all_times {
            times.extend(each().map(kept).flat_map(|(atime, ctime)| [atime, ctime]));
        }
        let times = TimeTable::new(times);
        out.put_u64(self.first);
        out.put_len(self.inodes.len());
        out.put_u32(if all_times { FLAG_ALL_TIMES } else { 0 });
        out.put_len(traits.len());
        out.put_len(times.len());
        out.put_len(self.sets.len());
        out.put_len(self.targets.len());
        (0..4).for_each(|at| out.put_column(traits.iter().map(|each| u64::from(each[at]))));
        out.put_column(places);
        out.put_column(each().map(|inode| inode.size));
        out.put_column(each().map(|inode| inode.holes));
        out.put_column(each().map(|inode| inode.rdev));
        out.put_delta_column(each().map(|inode| inode.parent));
        out.put_column(each().map(|inode| u64::from(inode.xattrs)));
        times.put(&mut out);
        times.put_column(&mut out, each().map(|inode| inode.mtime));
        if all_times {
            times.put_column(&mut out, each().map(|inode| kept(inode).0));
            times.put_column(&mut out, each().map(|inode| kept(inode).1));
        }
        out.extend(&self.targets);
        self.sets.iter().for_each(|set| put_set(&mut out, set));
        out
    }

    /// The section's bytes and checksum, without a dictionary.
    #[must_use]
    pub fn encode(&self, level: i32) -> (Vec<u8>, u64) {
        seal(Section::Inodes, &self.payload(), Some(level))
    }

    /// Reads a section that must fill `bytes`, and that may need a dictionary (empty: none).
    ///
    /// # Errors
    /// If the section is damaged, malformed or over a limit.
    pub fn decode(bytes: &[u8], dictionary: &[u8]) -> Result<Self, FormatError> {
        let payload = open_with(Section::Inodes, bytes, dictionary)?;
        Self::parse(&payload).map_err(|problem| problem.of(Section::Inodes))
    }

    fn parse(payload: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(payload);
        let first = cursor.u64()?;
        let rows = cursor.u32()? as usize;
        if rows > MAX_PAGE_ROWS {
            return Err(Problem::Limit("rows of a page"));
        }
        if first.checked_add(rows as u64).is_none() {
            return Err(Problem::Malformed("inode numbers past the last there is"));
        }
        let flags = cursor.u32()?;
        if flags & !FLAG_ALL_TIMES != 0 {
            return Err(Problem::Malformed("unknown page flags"));
        }
        let tables = [cursor.u32()? as usize, cursor.u32()? as usize];
        let set_count = cursor.count(4)?;
        let targets_len = cursor.u32()? as usize;
        let mut inodes = parse_columns(&mut cursor, rows, tables, flags & FLAG_ALL_TIMES != 0)?;
        let targets = cursor.take(targets_len)?.to_vec();
        let mut room = MAX_PAGE_XATTRS;
        let sets = (0..set_count).map(|_| parse_set(&mut cursor, &mut room));
        let sets = sets.collect::<Result<Vec<_>, _>>()?;
        cursor.end()?;
        check_rows(&mut inodes, sets.len(), targets.len())?;
        Ok(Self { first, inodes, sets, targets })
    }
}

/// What few distinct inodes of a page have: mode, nlink, uid and gid.
type Traits = [u32; 4];

/// The distinct traits of inodes, in the order in which they come, and the place of each inode's.
fn traits(inodes: &[Inode]) -> (Vec<Traits>, Vec<u64>) {
    let mut distinct = Vec::new();
    let mut known: HashMap<Traits, u64> = HashMap::new();
    let place = |inode: &Inode| {
        let traits = [inode.mode, inode.nlink, inode.uid, inode.gid];
        *known.entry(traits).or_insert_with(|| {
            distinct.push(traits);
            distinct.len() as u64 - 1
        })
    };
    let places = inodes.iter().map(place).collect();
    (distinct, places)
}

fn parse_traits(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<Traits>, Problem> {
    let mut traits = vec![Traits::default(); count];
    for at in 0..4 {
        let column = cursor.column_u32(count)?;
        traits.iter_mut().zip(column).for_each(|(traits, value)| traits[at] = value);
    }
    Ok(traits)
}

/// Reads the columns of `rows` inodes; `tables` is how many traits and times they share.
fn parse_columns(
    cursor: &mut Cursor<'_>,
    rows: usize,
    tables: [usize; 2],
    all_times: bool,
) -> Result<Vec<Inode>, Problem> {
    let [trait_count, time_count] = tables;
    let times_each = if all_times { 3 } else { 1 };
    if trait_count > rows || time_count > rows * times_each {
        return Err(Problem::Malformed("more in a table than inodes have"));
    }
    let traits = parse_traits(cursor, trait_count)?;
    let places = cursor.column(rows)?;
    let size = cursor.column(rows)?;
    let holes = cursor.column(rows)?;
    let rdev = cursor.column(rows)?;
    let parent = cursor.delta_column(rows)?;
    let xattrs = cursor.column_u32(rows)?;
    let table = TimeTable::parse(cursor, time_count)?;
    let mtime = table.column(cursor, rows)?;
    let times = match all_times {
        true => Some((table.column(cursor, rows)?, table.column(cursor, rows)?)),
        false => None,
    };
    let inode = |at: usize| {
        let place = usize::try_from(places[at]).unwrap_or(usize::MAX);
        let [mode, nlink, uid, gid] =
            *traits.get(place).ok_or(Problem::Malformed("traits that are not there"))?;
        Ok(Inode {
            mode,
            nlink,
            uid,
            gid,
            size: size[at],
            holes: holes[at],
            rdev: rdev[at],
            parent: parent[at],
            mtime: mtime[at],
            times: times.as_ref().map(|(atime, ctime)| (atime[at], ctime[at])),
            xattrs: xattrs[at],
            target_at: 0,
        })
    };
    (0..rows).map(inode).collect()
}

/// Checks what must hold between columns, and finds where each target begins.
fn check_rows(inodes: &mut [Inode], sets: usize, targets: usize) -> Result<(), Problem> {
    let mut at = 0usize;
    for inode in inodes {
        if inode.mode == 0 {
            continue;
        }
        if inode.xattrs as usize > sets {
            return Err(Problem::Malformed("extended attributes that are not there"));
        }
        if inode.mode > 0o177_777 || inode.size > i64::MAX.cast_unsigned() {
            return Err(Problem::Malformed("mode or size"));
        }
        match inode.kind().ok_or(Problem::Malformed("unknown kind of file"))? {
            Kind::Symlink => {
                let length = usize::try_from(inode.size).unwrap_or(usize::MAX);
                if length == 0 || length > MAX_TARGET || length > targets - at {
                    return Err(Problem::Malformed("length of a symlink's target"));
                }
                inode.target_at = u32::try_from(at).unwrap_or(u32::MAX);
                at += length;
            }
            _ if inode.holes > inode.size => return Err(Problem::Malformed("holes")),
            _ => {}
        }
    }
    if at == targets { Ok(()) } else { Err(Problem::Malformed("targets without a symlink")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> InodePage {
        let mut page = InodePage::new(7);
        let time = |sec, nsec| Time { sec, nsec };
        let file = Inode {
            mode: 0o104_755,
            nlink: 2,
            uid: 1000,
            size: 1 << 40,
            holes: 1 << 39,
            parent: 1,
            mtime: time(-5, 999_999_999),
            times: Some((time(1, 2), time(i64::MIN, 4))),
            xattrs: 1,
            ..Inode::default()
        };
        let link = Inode { mode: 0o120_777, nlink: 1, size: 3, xattrs: 0, ..file.clone() };
        page.push(file, b"");
        page.push(Inode { holes: 0, ..link.clone() }, b"a/b");
        page.push(Inode { times: Some(Default::default()), ..Inode::default() }, b"");
        page.push(Inode { holes: 0, mtime: time(9, 1), ..link }, b"xyz");
        page.sets.push(vec![(b"user.a".to_vec(), vec![0, 1]), (b"user.b".to_vec(), vec![])]);
        page
    }

    #[test]
    fn a_page_round_trips() {
        let page = sample();
        let read = InodePage::decode(&page.encode(3).0, b"").unwrap();
        assert_eq!(read.target(read.get(8).unwrap()).unwrap(), b"a/b");
        assert_eq!(read.target(read.get(10).unwrap()).unwrap(), b"xyz");
        assert_eq!(read.xattrs(read.get(7).unwrap()).len(), 2);
        assert_eq!(read.get(9), None);
        for number in [7, 8, 10] {
            assert_eq!(read.get(number), page.get(number));
        }
    }

    #[test]
    fn a_target_longer_than_it_is_stored_is_refused() {
        let mut page = sample();
        page.inodes[3].size = 4;
        assert!(InodePage::decode(&page.encode(3).0, b"").is_err());
    }
}

//! Tree pages of inodes. Layout: `format-spec.md`, "Page of inodes".

use super::wire::{Cursor, Put, narrow};
use super::{
    FormatError, MAX_PAGE_ROWS, MAX_PAGE_XATTRS, MAX_TARGET, MAX_XATTR, MAX_XATTR_SET, Problem,
    Section, open, seal,
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

/// Seconds since 1970, and nanoseconds after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nsec: u32,
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

/// Extended attributes of an inode: names and values, ordered by name.
pub type XattrSet = Vec<(Vec<u8>, Vec<u8>)>;

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

    /// The extended attributes of an inode of this page.
    #[must_use]
    pub fn xattrs(&self, inode: &Inode) -> &[(Vec<u8>, Vec<u8>)] {
        let set = (inode.xattrs as usize).checked_sub(1).and_then(|at| self.sets.get(at));
        set.map_or(&[], Vec::as_slice)
    }

    /// The section's bytes and checksum.
    #[must_use]
    pub fn encode(&self, level: i32) -> (Vec<u8>, u64) {
        let mut out = Vec::new();
        let all_times = self.inodes.iter().any(|inode| inode.times.is_some());
        out.put_u64(self.first);
        out.put_len(self.inodes.len());
        out.put_u32(if all_times { FLAG_ALL_TIMES } else { 0 });
        out.put_len(self.sets.len());
        out.put_len(self.targets.len());
        let each = || self.inodes.iter();
        out.put_column(each().map(|inode| u64::from(inode.mode)));
        out.put_column(each().map(|inode| u64::from(inode.nlink)));
        out.put_column(each().map(|inode| u64::from(inode.uid)));
        out.put_column(each().map(|inode| u64::from(inode.gid)));
        out.put_column(each().map(|inode| inode.size));
        out.put_column(each().map(|inode| inode.holes));
        out.put_column(each().map(|inode| inode.rdev));
        out.put_delta_column(each().map(|inode| inode.parent));
        out.put_column(each().map(|inode| u64::from(inode.xattrs)));
        put_times(&mut out, each().map(|inode| inode.mtime));
        if all_times {
            put_times(&mut out, each().map(|inode| inode.times.unwrap_or_default().0));
            put_times(&mut out, each().map(|inode| inode.times.unwrap_or_default().1));
        }
        out.extend(&self.targets);
        for set in &self.sets {
            out.put_len(set.len());
            for (name, value) in set {
                out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
                out.put_len(value.len());
                out.extend(name);
                out.extend(value);
            }
        }
        seal(Section::Inodes, &out, Some(level))
    }

    /// Reads a section that must fill `bytes`.
    ///
    /// # Errors
    /// If the section is damaged, malformed or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = open(Section::Inodes, bytes)?;
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
        let set_count = cursor.count(4)?;
        let targets_len = cursor.u32()? as usize;
        let mut inodes = parse_columns(&mut cursor, rows, flags & FLAG_ALL_TIMES != 0)?;
        let targets = cursor.take(targets_len)?.to_vec();
        let mut room = MAX_PAGE_XATTRS;
        let sets = (0..set_count).map(|_| parse_set(&mut cursor, &mut room));
        let sets = sets.collect::<Result<Vec<_>, _>>()?;
        cursor.end()?;
        check_rows(&mut inodes, sets.len(), targets.len())?;
        Ok(Self { first, inodes, sets, targets })
    }
}

fn put_times(out: &mut Vec<u8>, times: impl Iterator<Item = Time> + Clone) {
    out.put_delta_column(times.clone().map(|time| time.sec.cast_unsigned()));
    // Files written one after another differ by little: the difference, modulo a second.
    let mut last = 0u32;
    out.put_column(times.map(|time| {
        let nsec = time.nsec.min(NSEC - 1);
        let difference = (nsec + NSEC - last) % NSEC;
        last = nsec;
        u64::from(difference)
    }));
}

const NSEC: u32 = 1_000_000_000;

fn parse_times(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<Time>, Problem> {
    let seconds = cursor.delta_column(rows)?;
    let differences = cursor.column(rows)?;
    let mut nsec = 0u64;
    let time = |(sec, difference): (u64, u64)| {
        if difference >= u64::from(NSEC) {
            return Err(Problem::Malformed("nanoseconds over a second"));
        }
        nsec = (nsec + difference) % u64::from(NSEC);
        Ok(Time { sec: sec.cast_signed(), nsec: u32::try_from(nsec).unwrap_or(0) })
    };
    seconds.into_iter().zip(differences).map(time).collect()
}

fn parse_columns(
    cursor: &mut Cursor<'_>,
    rows: usize,
    all_times: bool,
) -> Result<Vec<Inode>, Problem> {
    let mode = cursor.column_u32(rows)?;
    let nlink = cursor.column_u32(rows)?;
    let uid = cursor.column_u32(rows)?;
    let gid = cursor.column_u32(rows)?;
    let size = cursor.column(rows)?;
    let holes = cursor.column(rows)?;
    let rdev = cursor.column(rows)?;
    let parent = cursor.delta_column(rows)?;
    let xattrs = narrow(cursor.column(rows)?)?;
    let mtime = parse_times(cursor, rows)?;
    let times = match all_times {
        true => Some((parse_times(cursor, rows)?, parse_times(cursor, rows)?)),
        false => None,
    };
    let inode = |at: usize| Inode {
        mode: mode[at],
        nlink: nlink[at],
        uid: uid[at],
        gid: gid[at],
        size: size[at],
        holes: holes[at],
        rdev: rdev[at],
        parent: parent[at],
        mtime: mtime[at],
        times: times.as_ref().map(|(atime, ctime)| (atime[at], ctime[at])),
        xattrs: xattrs[at],
        target_at: 0,
    };
    Ok((0..rows).map(inode).collect())
}

/// Reads a set of at most `room` attributes, and takes them off that.
fn parse_set(cursor: &mut Cursor<'_>, room: &mut usize) -> Result<XattrSet, Problem> {
    let count = cursor.count(5)?;
    *room = room.checked_sub(count).ok_or(Problem::Limit("extended attributes of a page"))?;
    let mut set: XattrSet = Vec::with_capacity(count);
    let mut total = 0;
    for _ in 0..count {
        let name_len = usize::from(cursor.u8()?);
        let value_len = cursor.u32()? as usize;
        total += name_len + value_len;
        if value_len > MAX_XATTR || total > MAX_XATTR_SET {
            return Err(Problem::Limit("length of extended attributes"));
        }
        let name = cursor.take(name_len)?.to_vec();
        let value = cursor.take(value_len)?.to_vec();
        let ordered = set.last().is_none_or(|(last, _)| *last < name);
        if name.is_empty() || name.contains(&0) || !ordered {
            return Err(Problem::Malformed("name of an extended attribute"));
        }
        set.push((name, value));
    }
    Ok(set)
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
        let read = InodePage::decode(&page.encode(3).0).unwrap();
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
        assert!(InodePage::decode(&page.encode(3).0).is_err());
    }
}

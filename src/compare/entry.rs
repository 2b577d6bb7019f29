//! One name on both sides: its inode's fields, links, symlink target and extended attributes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Statx, StatxFlags, StatxTimestamp, lgetxattr, llistxattr, readlinkat, statx,
};
use rustix::io::Errno;

use super::walk::{Pair, SIDES, Walk, open};
use super::{Side, What};

/// Most bytes that a list or a value of extended attributes can have (Linux limits).
const XATTR_MAX: usize = 64 * 1024;
/// Labels that the kernel or a security module keeps by itself on the side it is mounted.
const LOCAL_XATTRS: [&[u8]; 3] = [b"security.selinux", b"security.ima", b"security.evm"];

/// The fields of an inode.
pub(super) struct Stat(Statx);

pub(super) fn stat(folder: &OwnedFd, name: &[u8]) -> Result<Stat, Errno> {
    statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).map(Stat)
}

impl Stat {
    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.0.stx_mode.into())
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub(super) fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    pub(super) fn is_socket(&self) -> bool {
        self.kind() == FileType::Socket
    }

    pub(super) fn size(&self) -> u64 {
        self.0.stx_size
    }

    pub(super) fn blocks(&self) -> u64 {
        self.0.stx_blocks
    }

    /// What tells this inode from all others: its device and number.
    pub(super) fn inode(&self) -> (u64, u64) {
        (u64::from(self.0.stx_dev_major) << 32 | u64::from(self.0.stx_dev_minor), self.0.stx_ino)
    }
}

/// The inodes with several names that the walk has seen, with the first name of each.
pub(super) type Links = Pair<HashMap<(u64, u64), Vec<u8>>>;

/// A time for people to read; nothing else depends on its form.
fn show(time: &StatxTimestamp, granularity: u32) -> String {
    format!("{}", nanoseconds(time, granularity))
}

fn nanoseconds(time: &StatxTimestamp, granularity: u32) -> i128 {
    let all = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    all.div_euclid(i128::from(granularity.max(1)))
}

impl Walk<'_> {
    /// Compares a name that both sides have.
    pub(super) fn compare_entry(&mut self, at: &Pair<OwnedFd>, name: &[u8], stats: &Pair<Stat>) {
        self.compared.entries += 1;
        if stats[0].kind() != stats[1].kind() {
            let kinds = [0, 1].map(|side| format!("{:?}", stats[side].kind()));
            self.field("kind", kinds);
            return;
        }
        self.compare_fields(stats);
        let seen = !stats[0].is_folder() && self.compare_links(stats);
        if self.options.xattrs {
            self.compare_xattrs(at, name);
        }
        if stats[0].kind() == FileType::Symlink {
            let target = |side: usize| readlinkat(&at[side], name, Vec::new());
            let left = self.readable(Side::Left, "reading the link", target(0));
            let right = self.readable(Side::Right, "reading the link", target(1));
            if let (Some(left), Some(right)) = (left, right) {
                let show = |target: &[u8]| target.escape_ascii().to_string();
                self.field("target", [show(left.to_bytes()), show(right.to_bytes())]);
            }
        }
        if stats[0].is_file() && !seen {
            self.compare_file(at, name, stats);
        }
    }

    fn compare_fields(&mut self, stats: &Pair<Stat>) {
        let [left, right] = [&stats[0].0, &stats[1].0];
        let octal = |mode: u16| format!("{:04o}", mode & 0o7777);
        self.field("mode", [octal(left.stx_mode), octal(right.stx_mode)]);
        if self.options.owners {
            self.number("uid", [left.stx_uid, right.stx_uid]);
            self.number("gid", [left.stx_gid, right.stx_gid]);
        }
        if !stats[0].is_folder() {
            self.number("size", [left.stx_size, right.stx_size]);
            self.number("links", [left.stx_nlink, right.stx_nlink]);
        }
        if matches!(stats[0].kind(), FileType::CharacterDevice | FileType::BlockDevice) {
            let device = |stat: &Statx| format!("{}:{}", stat.stx_rdev_major, stat.stx_rdev_minor);
            self.field("device", [device(left), device(right)]);
        }
        let granularity = self.options.granularity;
        let times = |left, right| [show(left, granularity), show(right, granularity)];
        self.field("mtime", times(&left.stx_mtime, &right.stx_mtime));
        if self.options.atimes {
            self.field("atime", times(&left.stx_atime, &right.stx_atime));
        }
        if self.options.ctimes {
            self.field("ctime", times(&left.stx_ctime, &right.stx_ctime));
        }
    }

    /// Compares which names share an inode; whether this inode was compared under another name.
    fn compare_links(&mut self, stats: &Pair<Stat>) -> bool {
        let mut firsts = [None, None];
        for side in [0, 1] {
            if stats[side].0.stx_nlink > 1 {
                let path = &self.path;
                let first = self.links[side].entry(stats[side].inode());
                firsts[side] = Some(first.or_insert_with(|| path.clone()).clone());
            }
        }
        let others = firsts.each_ref().map(|first| first.as_ref().filter(|p| **p != self.path));
        if let Some(other) = others[0].or(others[1]).filter(|_| others[0] != others[1]) {
            self.differs(What::Link(other.clone()));
            return false;
        }
        others[0].is_some()
    }

    fn compare_xattrs(&mut self, at: &Pair<OwnedFd>, name: &[u8]) {
        let left = self.readable(Side::Left, "listing attributes", xattr_names(&at[0], name));
        let right = self.readable(Side::Right, "listing attributes", xattr_names(&at[1], name));
        let (Some(left), Some(right)) = (left, right) else { return };
        let mut all = [left.as_slice(), right.as_slice()].concat();
        all.sort_unstable();
        all.dedup();
        for attribute in all {
            if !left.contains(&attribute) || !right.contains(&attribute) {
                self.differs(What::Xattr(attribute));
                continue;
            }
            let [left, right] = [0, 1].map(|side| {
                let value = xattr(&at[side], name, &attribute);
                self.readable(SIDES[side], "reading an attribute", value)
            });
            if left.is_some() && right.is_some() && left != right {
                self.differs(What::Xattr(attribute));
            }
        }
    }

    fn compare_file(&mut self, at: &Pair<OwnedFd>, name: &[u8], stats: &Pair<Stat>) {
        use rustix::fs::OFlags;
        let left = self.readable(Side::Left, "opening", open(&at[0], name, OFlags::empty()));
        let right = self.readable(Side::Right, "opening", open(&at[1], name, OFlags::empty()));
        if let (Some(left), Some(right)) = (left, right) {
            self.compared.files += 1;
            self.compared.bytes += stats[0].size();
            self.compare_content(&[left, right], stats);
        }
    }

    fn number<T: PartialEq + ToString>(&mut self, field: &'static str, values: Pair<T>) {
        if values[0] != values[1] {
            self.field(field, values.map(|value| value.to_string()));
        }
    }

    fn field(&mut self, field: &'static str, values: Pair<String>) {
        if values[0] != values[1] {
            let [left, right] = values;
            self.differs(What::Field(field, left, right));
        }
    }
}

/// A path for calls that take neither a descriptor nor a kind of file that can be opened.
fn by_descriptor(folder: &OwnedFd, name: &[u8]) -> Vec<u8> {
    let mut path = String::new();
    // Writing to a string does not fail.
    let _ = write!(path, "/proc/self/fd/{}/", folder.as_raw_fd());
    [path.as_bytes(), name].concat()
}

fn xattr_names(folder: &OwnedFd, name: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let path = by_descriptor(folder, name);
    let list = match fill(|buffer| llistxattr(path.as_slice(), buffer)) {
        Err(Errno::OPNOTSUPP) => Vec::new(),
        result => result?,
    };
    let names = list.split(|byte| *byte == 0);
    let ours = |name: &&[u8]| !name.is_empty() && !LOCAL_XATTRS.contains(name);
    Ok(names.filter(ours).map(<[u8]>::to_vec).collect())
}

fn xattr(folder: &OwnedFd, name: &[u8], attribute: &[u8]) -> Result<Vec<u8>, Errno> {
    let path = by_descriptor(folder, name);
    fill(|buffer| lgetxattr(path.as_slice(), attribute, buffer))
}

/// What `read` puts into a buffer: a small one, or the largest that can be needed.
fn fill(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 512];
    let length = match read(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer = vec![0; XATTR_MAX];
            read(&mut buffer)?
        }
        result => result?,
    };
    buffer.truncate(length);
    Ok(buffer)
}

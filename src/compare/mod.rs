//! Two folder trees compared, everything a file has: what `packfs try` and the tests rest on.
//!
//! [`compare`] walks both trees at once through folder descriptors, so that paths longer than
//! `PATH_MAX` are no limit, and follows no symlink. What it holds in memory is one folder's names
//! per level of the path it is at, and one record per inode that has several names.

mod content;
mod entry;
mod walk;

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What is compared beyond names, kinds, modes, sizes, mtimes, symlink targets, device numbers,
/// links and content, and how closely.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// Owner and group.
    pub owners: bool,
    /// Extended attributes, ACLs and capabilities among them.
    pub xattrs: bool,
    /// Access times.
    pub atimes: bool,
    /// Times of the last change of an inode.
    pub ctimes: bool,
    /// Sockets; without it they may be missing on either side.
    pub sockets: bool,
    /// Where files have holes, and that these take no space on the right side.
    pub holes: bool,
    /// Times are equal if they are in nanoseconds once rounded down to a multiple of this.
    pub granularity: u32,
    /// How many differences are listed; more are only counted.
    pub limit: usize,
}

impl Default for CompareOptions {
    /// Everything but atimes and ctimes, to the nanosecond.
    fn default() -> Self {
        Self {
            owners: true,
            xattrs: true,
            atimes: false,
            ctimes: false,
            sockets: true,
            holes: true,
            granularity: 1,
            limit: 100,
        }
    }
}

/// One of the two trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first one, which the other should equal.
    Left,
    /// The second one.
    Right,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// The name is in this tree only.
    #[error("only on the {0}")]
    OnlyOn(Side),
    /// A field of the inode: its name, and its values on the left and right.
    #[error("{0}: {1} on the left, {2} on the right")]
    Field(&'static str, String, String),
    /// The extended attribute of this name is missing on a side or has another value.
    #[error("extended attribute {}", .0.escape_ascii())]
    Xattr(Vec<u8>),
    /// The two names that share an inode on one side do not on the other; the other name.
    #[error("hard link to {} on one side only", .0.escape_ascii())]
    Link(Vec<u8>),
    /// The first byte that differs.
    #[error("content from byte {0} on")]
    Content(u64),
    /// Holes are elsewhere: the first offset where one side has data and the other a hole.
    #[error("a hole on one side only from byte {0} on")]
    Hole(u64),
    /// It takes more 512-byte blocks on the right than its data needs.
    #[error("{0} blocks for {1} bytes of data")]
    Space(u64, u64),
    /// It cannot be read: the side, what was tried, and the error.
    #[error("{1} failed on the {0}: {2}")]
    Unreadable(Side, &'static str, Errno),
}

/// A path whose two sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path below both top folders; empty for these themselves.
    pub path: Vec<u8>,
    /// What differs.
    pub what: What,
}

impl fmt::Display for Difference {
    /// One line, whatever bytes are in the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { b"." } else { self.path.as_slice() };
        write!(f, "{}: {}", path.escape_ascii(), self.what)
    }
}

/// What a comparison went over, and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compared {
    /// Names that both sides have, the top folders among them.
    pub entries: u64,
    /// Regular files whose content was compared; one with several names counts once.
    pub files: u64,
    /// Bytes of these files, holes included.
    pub bytes: u64,
    /// The first differences, as many as asked for.
    pub differences: Vec<Difference>,
    /// How many differences there are in all.
    pub found: u64,
}

impl Compared {
    /// Whether the two trees are the same.
    #[must_use]
    pub fn same(&self) -> bool {
        self.found == 0
    }
}

/// Why two trees could not be compared to the end.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A top folder cannot be opened.
    #[error("{0}: cannot open it to compare: {1}")]
    Open(PathBuf, Errno),
    /// A folder was moved or replaced while it was compared.
    #[error("{}: the folder changed while it was compared", .0.escape_ascii())]
    Moved(Vec<u8>),
}

/// Compares the folder trees `left` and `right`.
///
/// A name that cannot be read is a difference, and the comparison goes on.
///
/// # Errors
/// If a top folder cannot be opened, or folders are moved about meanwhile.
pub fn compare(
    left: &Path,
    right: &Path,
    options: &CompareOptions,
) -> Result<Compared, CompareError> {
    walk::Walk::new(options).run(left, right)
}

#[cfg(test)]
mod tests;

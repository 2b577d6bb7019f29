//! Tar archives, read and written as streams: no seeking, bounded memory, holes kept.
//!
//! [`TarReader`] takes v7, ustar, GNU and PAX archives, plain or compressed with zstd.
//! [`TarWriter`] writes PAX: a ustar header, and extended records only for what that cannot carry.
//!
//! | file | what it holds |
//! |---|---|
//! | `header` | the 512-byte header: fields, numbers, checksum |
//! | `pax` | extended records: parsed, and written |
//! | `sparse` | maps of sparse files in their four forms |
//! | `acl` | POSIX ACLs between tar's text and the kernel's bytes |

mod acl;
mod error;
mod header;
mod pax;
mod read;
mod source;
mod sparse;
#[cfg(test)]
mod tests;
mod write;

pub use error::TarError;
pub use read::TarReader;
pub use write::TarWriter;

use crate::format::{Kind, Time, XattrSet, valid_name};

/// Longest path or link in an archive, in bytes.
const MAX_PATH: usize = 1 << 20;

/// A member of an archive: a name, and what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// Its path: names joined by single slashes, none at either end; empty for the root folder.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: TarKind,
    /// Permission bits (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of its data.
    pub mtime: Time,
    /// Last access, if the archive has it.
    pub atime: Option<Time>,
    /// Last change of the inode, if the archive has it.
    pub ctime: Option<Time>,
    /// Device number of a device (Linux `dev_t`, in its 64-bit form), else 0.
    pub rdev: u64,
    /// Bytes of a file, holes included, else 0.
    pub size: u64,
    /// Extended attributes, ordered by name.
    pub xattrs: XattrSet,
    /// Offset and length of each hole, in order.
    pub holes: Vec<(u64, u64)>,
    /// What the archive says of it and could not be kept: a line each, to show.
    pub lost: Vec<String>,
}

/// What a member of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarKind {
    /// A file, folder, FIFO or device: an inode without a target.
    Node(Kind),
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// Another name of the member with this path.
    Hardlink(Vec<u8>),
}

impl TarEntry {
    /// A member with this path that is `kind`: empty, of root, with mode 0, changed in 1970.
    #[must_use]
    pub fn new(path: Vec<u8>, kind: TarKind) -> Self {
        Self {
            path,
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            atime: None,
            ctime: None,
            rdev: 0,
            size: 0,
            xattrs: XattrSet::new(),
            holes: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Whether it is a file, which may have data.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == TarKind::Node(Kind::File)
    }
}

/// The path without what does not count: slashes at its ends, double slashes, and `.`.
fn clean(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(path.len());
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return Err("its path has \"..\" in it"),
            _ if !valid_name(name) => return Err("its path has a NUL or a name over 255 bytes"),
            _ => {}
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend(name);
    }
    Ok(out)
}

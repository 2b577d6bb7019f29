//! What changed from one root of an archive to another.
//!
//! [`diff`] walks both trees folder by folder. Where they take an inode, the entries of a folder or
//! the extents of a file from the same pages, it does not look at both. Where a file has the same
//! blocks, its data is not read, since a block of one number is the same bytes for good.
//!
//! Not compared are times of access and of inode change, and where files have holes: these tell
//! how files were written, not what is in them.

mod content;
mod walk;

use crate::format::Kind;
use crate::fs::{ArchiveFs, FsError};

/// What of a file may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Its bytes.
    Content,
    /// Its length.
    Size,
    /// Permission bits, with setuid, setgid and sticky.
    Mode,
    /// Owner or group.
    Owner,
    /// Last change of its data.
    Mtime,
    /// Where a symlink leads.
    Target,
    /// Extended attributes.
    Xattrs,
    /// The number of a device.
    Device,
    /// Which of the names that both trees have share its inode.
    Links,
}

impl Field {
    /// One word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Size => "size",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Mtime => "mtime",
            Self::Target => "target",
            Self::Xattrs => "xattrs",
            Self::Device => "device",
            Self::Links => "links",
        }
    }
}

/// What happened to a path.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is not there any more; what it was.
    Removed(Kind),
    /// It is new; what it is.
    Added(Kind),
    /// It is there, of the same kind, and these are others than before.
    Modified(Kind, Vec<Field>),
    /// Whether it changed cannot be told, since it is damaged in one of the trees.
    Unreadable(FsError),
}

/// What is called with each path that changed, and what happened to it.
pub type Each<'a, E> = dyn FnMut(&[u8], Change) -> Result<(), E> + 'a;

/// Calls `each` with all that changed from `old` to `new`: the path, and what happened to it.
///
/// Paths come in order: names in a folder by their bytes, what is in a folder right after it. What
/// is of another kind than before comes twice, as removed and as added. All that is in a folder
/// comes and goes with it. What cannot be read is told, and the walk goes on.
///
/// # Errors
/// What `each` returns.
pub fn diff<'a, E>(
    old: &'a ArchiveFs,
    new: &'a ArchiveFs,
    each: &'a mut Each<'a, E>,
) -> Result<(), E> {
    if old.store().root().0 == new.store().root().0 {
        return Ok(());
    }
    walk::Walk::new([old, new], each).run()
}

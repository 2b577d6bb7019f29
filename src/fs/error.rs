//! Why a file operation failed.

use std::sync::Arc;

use crate::store;

/// Why a file operation failed; `errno.rs` has the system's number for each.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FsError {
    /// There is no such file.
    #[error("no such file")]
    NoEntry,
    /// The root that is shown has no such inode; one that was shown before may have had it.
    #[error("no such file any more")]
    Gone,
    /// It is not a folder.
    #[error("not a folder")]
    NotFolder,
    /// It is not a symlink.
    #[error("not a symlink")]
    NotSymlink,
    /// It is a folder.
    #[error("is a folder")]
    IsFolder,
    /// It is not a regular file.
    #[error("not a regular file")]
    NotFile,
    /// There is nothing of what was sought up to the end of the file.
    #[error("beyond the end of the file")]
    NoData,
    /// There is something of that name.
    #[error("exists already")]
    Exists,
    /// A folder that is to go has something in it.
    #[error("folder not empty")]
    NotEmpty,
    /// No space is left on the disk of the store.
    #[error("no space left")]
    NoSpace,
    /// A name of more than 255 bytes.
    #[error("name too long")]
    TooLong,
    /// An argument that makes no sense.
    #[error("invalid argument")]
    Invalid,
    /// There is no such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// A file that would become too long, or too many names of one.
    #[error("too large")]
    TooLarge,
    /// More names than a file can have.
    #[error("too many links")]
    TooManyLinks,
    /// A snapshot, which nobody changes.
    #[error("can only be read")]
    ReadOnly,
    /// What this file system does not do.
    #[error("not supported")]
    Unsupported,
    /// What it takes is damaged or cannot be read.
    #[error(transparent)]
    Damaged(Arc<store::Error>),
}

impl From<store::Error> for FsError {
    fn from(error: store::Error) -> Self {
        Self::Damaged(Arc::new(error))
    }
}

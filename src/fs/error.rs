//! Why a file operation failed.

use std::sync::Arc;

use crate::store;

/// Why a file operation failed; `errno.rs` has the system's number for each.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FsError {
    /// There is no such file.
    #[error("no such file")]
    NoEntry,
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
    /// What it takes is damaged or cannot be read.
    #[error(transparent)]
    Damaged(Arc<store::Error>),
}

//! Why an archive, or data of it, cannot be read.

use crate::format::{FormatError, Problem};
use crate::index::Missing;
use crate::storage::StorageError;

/// An object of an archive that cannot be used, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{object}: {cause}")]
pub struct Error {
    /// The object, as a user would look for it.
    pub object: String,
    /// What is wrong with it.
    pub cause: Cause,
}

/// What is wrong with an object.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// It is no archive.
    #[error("is not a packfs archive (it has no packfs.toml)")]
    NotArchive,
    /// No commit was ever published.
    #[error("has no root; it was not finished, or its roots are lost")]
    NoRoot,
    /// The storage failed.
    #[error("{0}")]
    Storage(crate::storage::ErrorKind),
    /// A section does not check out.
    #[error("{0}; restore it from a copy")]
    Format(FormatError),
    /// A frame does not check out.
    #[error("{0}; restore it from a copy")]
    Frame(Problem),
    /// The tree refers to blocks that the index does not have.
    #[error("{0}")]
    Missing(#[from] Missing),
    /// The thread that loaded it failed.
    #[error("the thread that read it failed")]
    Lost,
}

impl Error {
    /// That cause, at that object.
    #[must_use]
    pub fn new(object: &str, cause: impl Into<Cause>) -> Self {
        Self { object: object.to_owned(), cause: cause.into() }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self { object: error.object, cause: Cause::Storage(error.kind) }
    }
}

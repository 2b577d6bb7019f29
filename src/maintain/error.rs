//! Why what keeps archives healthy cannot be done at all. Damage is no such error.

use crate::ingest::CreateError;
use crate::storage::{ErrorKind, StorageError};
use crate::store;

/// Why it cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The monitor said stop.
    #[error("cancelled")]
    Cancelled,
    /// The storage failed.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// The archive cannot be opened.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// What is packed anew cannot be.
    #[error("{0}")]
    Pack(CreateError),
    /// It is refused, and why.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// Whether there is no room left for what was to be written.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Storage(error) if matches!(error.kind, ErrorKind::Full))
    }
}

impl From<CreateError> for Error {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Cancelled => Self::Cancelled,
            CreateError::Storage(error) => Self::Storage(error),
            error => Self::Pack(error),
        }
    }
}

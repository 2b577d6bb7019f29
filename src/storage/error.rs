//! What can go wrong where bytes live.

use std::io;
use std::sync::Arc;

use crate::format::FormatError;

/// A verb of a storage that failed, and on what.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{object}: {kind}")]
pub struct StorageError {
    /// The object, as a user would look for it.
    pub object: String,
    /// What went wrong.
    pub kind: ErrorKind,
}

/// What went wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ErrorKind {
    /// There is no such object.
    #[error("not found")]
    NotFound,
    /// There is something already.
    #[error("is there already; --force replaces it")]
    Exists,
    /// There is something already that packfs must not remove.
    #[error("is there already and is not a packfs archive; remove it first")]
    Foreign,
    /// No space is left.
    #[error("no space left on the device; free some and run it again")]
    Full,
    /// It ends before what was asked for.
    #[error("cut short: it ends before byte {0}; fetch it again, or run packfs fsck --repair")]
    Short(u64),
    /// It is not what its key tells.
    #[error("damaged (its bytes are not those of its id)")]
    Damaged,
    /// It is longer than any such object.
    #[error("is longer than packfs allows for such an object")]
    TooLong,
    /// An image has as many objects as it can have.
    #[error("has too many objects for an image; use a larger --pack-size, or a store")]
    TooMany,
    /// It is no archive.
    #[error("is not a packfs archive")]
    NotArchive,
    /// It is of changes to a root that is not the one that the store shows.
    #[error(
        "has changes to root {0}, which the store does not have as its newest; bring that back, or \
         have packfs fsck --repair set the changes aside"
    )]
    Newer(u64),
    /// It is of changes to those of another journal, which is not there.
    #[error(
        "has changes to those of journal {0}, which is not there; bring that back, or have packfs \
         fsck --repair set them aside"
    )]
    Apart(u64),
    /// It is of a writer that ended, and does not check out.
    #[error("{0}; packfs fsck --repair sets aside what cannot be used of it, and what came later")]
    Left(String),
    /// Somebody else writes to it.
    #[error("is being written to by {0}; wait until that ends")]
    Busy(String),
    /// It can only be read.
    #[error("an image is never changed; make a new one, or use a store")]
    ReadOnly,
    /// It, or a section of it, does not check out.
    #[error("{0}; packfs fsck --repair restores it, from parity or --from a copy")]
    Format(FormatError),
    /// Anything else the system says.
    #[error("{0}")]
    Io(Arc<io::Error>),
}

impl ErrorKind {
    /// What is wrong with what a writer left.
    #[must_use]
    pub fn left(why: &FormatError) -> Self {
        Self::Left(why.to_string())
    }

    /// This, on that object.
    #[must_use]
    pub fn of(self, object: &str) -> StorageError {
        StorageError { object: object.to_owned(), kind: self }
    }
}

impl StorageError {
    /// What the system said of that object.
    #[must_use]
    pub fn io(object: &str, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => ErrorKind::Exists,
            _ => ErrorKind::Io(Arc::new(source)),
        };
        kind.of(object)
    }

    /// What does not check out in that object.
    #[must_use]
    pub fn format(object: &str, source: FormatError) -> Self {
        ErrorKind::Format(source).of(object)
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, ErrorKind::NotFound)
    }
}

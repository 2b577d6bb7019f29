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
    #[error(
        "is not a packfs archive (it has no packfs.toml; if it had one, run packfs fsck --repair)"
    )]
    NotArchive,
    /// No commit was ever published.
    #[error("has no root; it was not finished, or packfs fsck --repair restores one")]
    NoRoot,
    /// No root has that number.
    #[error("has no root of number {0}; the newest is @head")]
    NoSuchRoot(u64),
    /// There is no such snapshot.
    #[error("there is no such snapshot; `packfs snapshot list` tells which there are")]
    NoSnapshot,
    /// There is a snapshot of that name already.
    #[error("is there already; take another name, or rename or delete that one")]
    SnapshotExists,
    /// No snapshot can have that name.
    #[error(
        "no snapshot can have that name; it is 1 to 255 bytes of text without / and control \
         characters, and does not start with a dot, @ or #"
    )]
    SnapshotName,
    /// That name would be taken for something else where a snapshot is named.
    #[error("a name that starts with @ or # stands for a root; take another one")]
    Reserved,
    /// The root that a snapshot names cannot be used.
    #[error("its root cannot be read ({0}); try packfs fsck --repair, or delete the snapshot")]
    SnapshotRoot(Box<Error>),
    /// It has a feature that this version does not know of, which whoever writes must.
    #[error("has the feature {0} that this packfs does not have; update packfs to change it")]
    Feature(String),
    /// The storage failed.
    #[error("{0}")]
    Storage(crate::storage::ErrorKind),
    /// A section does not check out.
    #[error("{0}; packfs fsck --repair restores it, from parity or --from a copy")]
    Format(FormatError),
    /// A frame does not check out.
    #[error("{0}; packfs fsck --repair restores it, from parity or --from a copy")]
    Frame(Problem),
    /// The tree refers to blocks that the index does not have.
    #[error("{0}")]
    Missing(#[from] Missing),
    /// Its blocks were lost, and not found when the archive was repaired.
    #[error(
        "lost, and not found when it was repaired; add the file again, or repair it --from a copy"
    )]
    GivenUp,
    /// Another object names it, and it is not there.
    #[error("lost; packfs fsck --repair restores it, from parity or --from a copy")]
    Gone,
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

    /// This, of an object that others name: if it is not there, it was lost.
    #[must_use]
    pub fn of_named(self) -> Self {
        if self.is_not_found() { Self { cause: Cause::Gone, ..self } } else { self }
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::Storage(crate::storage::ErrorKind::NotFound))
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self { object: error.object, cause: Cause::Storage(error.kind) }
    }
}

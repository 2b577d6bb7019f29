//! Why an archive could not be made.

use crate::storage::StorageError;

/// Why an archive could not be made. What concerns single files is a
/// [`Problem`](crate::monitor::Problem) instead, and the rest is archived.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The source cannot be read at all.
    #[error("{path}: {source}")]
    Source {
        /// The source.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The tar that comes in is none, or is damaged.
    #[error("standard input: {0}")]
    Tar(#[from] crate::tar::TarError),
    /// The archive cannot be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// More blocks than an index segment lists.
    #[error("the source has too many distinct blocks for one archive; use a larger --block-size")]
    TooManyBlocks,
    /// There is no memory for a compressor.
    #[error("no memory for a compressor: {0}")]
    Memory(std::io::Error),
    /// It was asked to stop.
    #[error("stopped")]
    Cancelled,
    /// A thread failed; the failure was printed.
    #[error("a thread of the build failed; this is a bug in packfs")]
    Thread,
}

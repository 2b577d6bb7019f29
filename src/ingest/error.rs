//! Why an archive could not be made.

use crate::monitor::show;
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
    /// The archive cannot be written, or what is added to cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The new root is there, but the storage could not say that it will stay.
    #[error("{0}; what was added is there, but may not survive a power cut")]
    Unsafe(StorageError),
    /// What is added to has a folder of that path where the source has something else, or the
    /// other way round.
    #[error("{}: is a folder in archive or source alone; add it --at another path", show(.0))]
    Clash(Vec<u8>),
    /// The newest root is not sure to be the one that was opened.
    #[error("{0}; until then nothing is added")]
    Doubt(String),
    /// The tree that is added to is not one.
    #[error("{0}: what the archive has there does not hold together; add --at another path")]
    Inconsistent(String),
    /// It has features that this version does not know of: what is added would lack them.
    #[error(
        "{archive}: has the feature {feature}, which this packfs does not know; use a newer one"
    )]
    Feature {
        /// What is added to.
        archive: String,
        /// The feature.
        feature: String,
    },
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

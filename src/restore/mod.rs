//! Files out of an archive: to a folder, or as a tar.

mod apply;
mod folder;
mod tar;
mod walk;

pub use folder::{FolderOptions, extract};
pub use tar::extract_tar;
pub use walk::{Step, walk};

use crate::fs::FsError;
use crate::monitor::show;

/// Why files could not be restored. What concerns single files is a
/// [`Problem`](crate::monitor::Problem) instead, and the rest is restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A path that was asked for.
    #[error("{}: {error}", show(path))]
    Path {
        /// The path.
        path: Vec<u8>,
        /// What is wrong with it.
        error: FsError,
    },
    /// What is written to cannot be.
    #[error("{object}: {source}")]
    Output {
        /// What is written to.
        object: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It was asked to stop.
    #[error("stopped")]
    Cancelled,
    /// A thread failed; the failure was printed.
    #[error("a thread failed; this is a bug in packfs")]
    Thread,
}

//! One pack: how its frames are compressed, and how it is put together and taken apart.

mod codec;
mod writer;

pub use codec::{Compressor, inflate};
pub use writer::{PackWriter, SealedPack};

use crate::format::{FormatError, Id, PackFooter, Problem, Section, TAIL_LEN, hex, read_tail};
use crate::storage::{Storage, StorageError};

/// The key of the pack of that id.
#[must_use]
pub fn key(id: &Id) -> String {
    let name = hex(id);
    format!("packs/{}/{name}", &name[..2])
}

/// Why a pack's footer could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PackError {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The pack does not check out.
    #[error("{object}: {source}")]
    Format {
        /// The pack, as a user would look for it.
        object: String,
        /// What is wrong with it.
        source: FormatError,
    },
}

/// Reads the footer of the pack of that key.
///
/// # Errors
/// If the pack is missing, cannot be read, or its footer does not check out.
pub fn read_footer(storage: &dyn Storage, key: &str) -> Result<PackFooter, PackError> {
    let format = |source| PackError::Format { object: storage.locate(key), source };
    let size = storage.size(key)?;
    let tail_at = size.checked_sub(TAIL_LEN as u64);
    let tail_at = tail_at.ok_or_else(|| format(Problem::Truncated.of(Section::Tail)))?;
    let tail = storage.get_range(key, tail_at, TAIL_LEN)?;
    let (offset, length) = read_tail(&tail, size).map_err(format)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    PackFooter::decode(&storage.get_range(key, offset, length)?, offset).map_err(format)
}

//! Where bytes live, behind a few bounded verbs: a folder, an image, memory.

mod announce;
mod draft;
mod error;
mod image;
mod lease;
mod local;
mod lock;
mod memory;
mod undo;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use announce::{Announced, Before};
pub use draft::{Draft, is_store};
pub use error::{ErrorKind, StorageError};
pub use image::{ImageStorage, ImageWriter};
pub use lease::Lease;
pub use local::LocalStorage;
pub use lock::{Holder, Lock};
pub use memory::MemoryStorage;
pub use undo::Undo;

use crate::format::{Problem, Section, TAIL_LEN, read_tail};

/// Largest object that is read into memory rather than mapped, in bytes.
///
/// A map of a file that shrinks or fails kills its readers (SIGBUS), so only what is too big to
/// hold is mapped.
const MAP_ABOVE: u64 = 8 << 20;

/// The bytes of a whole object.
#[derive(Debug)]
pub enum Bytes {
    /// Read into memory.
    Owned(Vec<u8>),
    /// Mapped from a local file.
    Mapped(memmap2::Mmap),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// Keys and their immutable objects. Keys are those of `format-spec.md`, "Store".
pub trait Storage: Send + Sync + fmt::Debug {
    /// What a user calls it: its path.
    fn name(&self) -> String;

    /// Length of an object, in bytes.
    ///
    /// # Errors
    /// If there is no such object, or it cannot be reached.
    fn size(&self, key: &str) -> Result<u64, StorageError>;

    /// Exactly `length` bytes of an object, from `offset` on.
    ///
    /// # Errors
    /// If the object is missing, ends before that, or cannot be read.
    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError>;

    /// A whole object of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Storage::get_range`], and if it is longer than that.
    fn get(&self, key: &str, limit: u64) -> Result<Bytes, StorageError> {
        let size = self.size(key)?;
        let length = usize::try_from(size).ok().filter(|_| size <= limit);
        let length = length.ok_or_else(|| ErrorKind::TooLong.of(&self.locate(key)))?;
        self.get_range(key, 0, length).map(Bytes::Owned)
    }

    /// Adds an object: all of it and for good, or nothing.
    ///
    /// # Errors
    /// If it cannot be written; then there is no such object.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError>;

    /// All keys that start with `prefix` (which ends in `/`), in order.
    ///
    /// # Errors
    /// If they cannot be listed. A prefix that nothing has is an empty list.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError>;

    /// Removes an object; one that is not there is no error. After a power cut it may be there
    /// again, unless [`Storage::sync`] came after it.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn delete(&self, key: &str) -> Result<(), StorageError>;

    /// What was deleted before, of the keys that start with `prefix` (which ends in `/`) and go on
    /// without another `/`, stays deleted.
    ///
    /// # Errors
    /// If that is not sure.
    fn sync(&self, _prefix: &str) -> Result<(), StorageError> {
        Ok(())
    }

    /// Keeps an object from being taken away while the lease lives.
    ///
    /// # Errors
    /// If there is no such object, or it is being taken away: then it is not found.
    fn lease(&self, key: &str) -> Result<Lease, StorageError> {
        self.size(key).map(|_| Lease::default())
    }

    /// Keeps everybody else from an object, which is to be taken away; `None`: somebody reads it.
    ///
    /// # Errors
    /// If there is no such object, or nobody can tell who reads it.
    fn seize(&self, key: &str) -> Result<Option<Lease>, StorageError> {
        self.size(key).map(|_| Some(Lease::default()))
    }

    /// Removes what writers that ended before their time left, which is no object. Nobody may be
    /// writing. Returns how many bytes that was.
    ///
    /// # Errors
    /// If something cannot be listed or removed.
    fn tidy(&self) -> Result<u64, StorageError> {
        Ok(0)
    }

    /// An object as a user would look for it.
    fn locate(&self, key: &str) -> String {
        format!("{}: {key}", self.name())
    }
}

/// The last section of an object of `length` bytes, which its tail points at, and where it starts.
///
/// # Errors
/// If the object is missing or shorter than that, cannot be read, or its tail does not check out.
pub fn last_section(
    storage: &dyn Storage,
    key: &str,
    length: u64,
) -> Result<(u64, Vec<u8>), StorageError> {
    let format = |source| StorageError::format(&storage.locate(key), source);
    let tail_at = length.checked_sub(TAIL_LEN as u64);
    let tail_at = tail_at.ok_or_else(|| format(Problem::Truncated.of(Section::Tail)))?;
    let tail = storage.get_range(key, tail_at, TAIL_LEN)?;
    let (offset, length) = read_tail(&tail, length).map_err(format)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    Ok((offset, storage.get_range(key, offset, length)?))
}

/// Opens what lies at `path`: a folder as a store, a file as an image.
///
/// # Errors
/// If there is nothing there, or it is no archive.
pub fn open(path: &Path) -> Result<Arc<dyn Storage>, StorageError> {
    let name = path.display().to_string();
    let kind = std::fs::metadata(path).map_err(|source| StorageError::io(&name, source))?;
    if kind.is_dir() {
        return Ok(Arc::new(LocalStorage::new(path)));
    }
    if !kind.is_file() {
        return Err(ErrorKind::NotArchive.of(&name));
    }
    Ok(Arc::new(ImageStorage::open(path)?))
}

//! File data that was written and is not packed yet: one file for each layer, which only grows.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, OFlags, fallocate, fdatasync};

use super::log::plain;
use crate::storage::StorageError;

/// Ranges that are dropped are given back to the disk if they are at least so long, in bytes.
const WORTH_PUNCHING: u64 = 64 * 1024;

/// A spool.
#[derive(Debug)]
pub struct Spool {
    file: File,
    name: String,
    /// Where the next range begins.
    next: AtomicU64,
    /// Bytes of ranges that were dropped.
    dropped: AtomicU64,
    /// Whether something was written since it was last synced.
    dirty: AtomicBool,
    /// Whether a sync failed.
    failed: AtomicBool,
}

impl Spool {
    /// Makes the spool at `path`, where there must be none.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(path: &Path) -> Result<Self, StorageError> {
        Self::open_with(path, File::options().read(true).write(true).create_new(true))
    }

    /// Opens the spool at `path`.
    ///
    /// # Errors
    /// If it is not there, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        plain(path)?;
        Self::open_with(path, File::options().read(true).write(true))
    }

    /// Makes one in a folder that has no name there, and is gone when nobody has it any more.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn nameless(folder: &Path) -> Result<Self, StorageError> {
        let name = format!("{}/spool", folder.display());
        let file = tempfile::tempfile_in(folder).map_err(|error| StorageError::io(&name, error))?;
        Ok(Self::new(file, name, 0))
    }

    fn open_with(path: &Path, options: &std::fs::OpenOptions) -> Result<Self, StorageError> {
        let name = path.display().to_string();
        let open = || {
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            let file = options.clone().custom_flags(flags).open(path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(|error| StorageError::io(&name, error))?;
        Ok(Self::new(file, name, length))
    }

    fn new(file: File, name: String, length: u64) -> Self {
        let (dropped, dirty, failed) = Default::default();
        Self { file, name, next: AtomicU64::new(length), dropped, dirty, failed }
    }

    /// What the system said of it.
    #[must_use]
    pub fn fail(&self, error: io::Error) -> StorageError {
        StorageError::io(&self.name, error)
    }

    /// How long it is, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Bytes of it that somebody still needs.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.length().saturating_sub(self.dropped.load(Ordering::Relaxed))
    }

    /// So many bytes of it are needed: what was found when it was opened.
    pub fn set_used(&self, bytes: u64) {
        self.dropped.store(self.length().saturating_sub(bytes), Ordering::Relaxed);
    }

    /// Sets a range aside, and tells where it begins.
    #[must_use]
    pub fn allocate(&self, length: u64) -> u64 {
        self.next.fetch_add(length, Ordering::Relaxed)
    }

    /// Writes to a range that was set aside.
    ///
    /// # Errors
    /// If the disk is full, or fails.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(bytes, at);
        self.dirty.store(true, Ordering::Release);
        written
    }

    /// Fills `bytes` with what was written at `at`.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), StorageError> {
        let read = self.file.read_exact_at(bytes, at);
        read.map_err(|error| StorageError::io(&self.name, error))
    }

    /// A range is needed no more.
    pub fn drop_range(&self, at: u64, length: u64) {
        self.dropped.fetch_add(length, Ordering::Relaxed);
        if length >= WORTH_PUNCHING {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if let Err(error) = fallocate(&self.file, flags, at, length) {
                log::debug!("{}: {error}", self.name);
            }
        }
    }

    /// Makes all that was written survive a power cut.
    ///
    /// # Errors
    /// If the disk fails. Then it fails for good: Linux tells of lost data once, and the next sync
    /// would know nothing of it.
    pub fn sync(&self) -> Result<(), StorageError> {
        if self.failed.load(Ordering::Acquire) {
            let error = std::io::Error::other("an earlier sync of it failed");
            return Err(StorageError::io(&self.name, error));
        }
        if self.dirty.swap(false, Ordering::Acquire)
            && let Err(error) = fdatasync(&self.file)
        {
            self.failed.store(true, Ordering::Release);
            return Err(StorageError::io(&self.name, error.into()));
        }
        Ok(())
    }
}

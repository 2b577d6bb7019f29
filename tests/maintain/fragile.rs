//! A storage that breaks down.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use packfs::storage::{Bytes, Lease, Storage, StorageError};

/// A storage that fails at every write after so many: what a crash leaves.
#[derive(Debug)]
pub struct Fragile {
    storage: Arc<dyn Storage>,
    left: AtomicU64,
}

impl Fragile {
    /// Over that `storage`, with so many writes left.
    pub fn of(storage: &Arc<dyn Storage>, left: u8) -> Arc<dyn Storage> {
        Arc::new(Self { storage: Arc::clone(storage), left: AtomicU64::new(left.into()) })
    }

    fn write(&self, key: &str) -> Result<(), StorageError> {
        let left = |left: u64| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
            Ok(_) => Ok(()),
            Err(_) => Err(StorageError::io(key, io::Error::other("crashed"))),
        }
    }
}

impl Storage for Fragile {
    fn name(&self) -> String {
        self.storage.name()
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        self.storage.size(key)
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        self.storage.get_range(key, offset, length)
    }

    fn get(&self, key: &str, limit: u64) -> Result<Bytes, StorageError> {
        self.storage.get(key, limit)
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.write(key)?;
        self.storage.put(key, bytes)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.storage.list(prefix)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.write(key)?;
        self.storage.delete(key)
    }

    fn lease(&self, key: &str) -> Result<Lease, StorageError> {
        self.storage.lease(key)
    }

    fn seize(&self, key: &str) -> Result<Option<Lease>, StorageError> {
        self.storage.seize(key)
    }
}

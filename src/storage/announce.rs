//! Objects of which somebody is told before they are there.

use std::fmt;
use std::sync::Arc;

use super::{Bytes, Lease, Storage, StorageError};

/// What is told the key of an object before it is put; if it fails, nothing is put.
pub type Before = Box<dyn Fn(&str) -> Result<(), StorageError> + Send + Sync>;

/// A storage that tells of what is put into it.
pub struct Announced {
    storage: Arc<dyn Storage>,
    before: Before,
}

impl Announced {
    /// Tells `before` of what is put into `storage`.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, before: Before) -> Self {
        Self { storage, before }
    }
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.storage.fmt(f)
    }
}

impl Storage for Announced {
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
        (self.before)(key)?;
        self.storage.put(key, bytes)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.storage.list(prefix)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.storage.delete(key)
    }

    fn sync(&self, prefix: &str) -> Result<(), StorageError> {
        self.storage.sync(prefix)
    }

    fn tidy(&self) -> Result<u64, StorageError> {
        self.storage.tidy()
    }

    fn locate(&self, key: &str) -> String {
        self.storage.locate(key)
    }

    fn lease(&self, key: &str) -> Result<Lease, StorageError> {
        self.storage.lease(key)
    }

    fn seize(&self, key: &str) -> Result<Option<Lease>, StorageError> {
        self.storage.seize(key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ErrorKind, MemoryStorage};
    use super::*;

    #[test]
    fn what_may_not_be_told_is_not_put() {
        let storage = Arc::new(MemoryStorage::default());
        let refuse = |key: &str| match key {
            "roots/refused" => Err(ErrorKind::Full.of(key)),
            _ => Ok(()),
        };
        let announced = Announced::new(storage, Box::new(refuse));
        announced.put("roots/taken", b"some").unwrap();
        announced.put("roots/refused", b"some").unwrap_err();
        assert_eq!(announced.list("roots/").unwrap(), ["roots/taken"]);
    }
}

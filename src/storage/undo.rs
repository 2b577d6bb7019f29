//! Objects that go again, unless what they are for comes to its end.

use std::sync::{Mutex, PoisonError};

use super::{Bytes, Lease, Storage, StorageError};

/// A storage that remembers what is put, and removes it when it is dropped without being kept.
///
/// A process that is killed removes nothing: then objects stay that nothing names.
#[derive(Debug)]
pub struct Undo<'a> {
    storage: &'a dyn Storage,
    put: Mutex<Vec<(String, u64)>>,
}

impl<'a> Undo<'a> {
    /// Nothing was put yet.
    #[must_use]
    pub fn new(storage: &'a dyn Storage) -> Self {
        Self { storage, put: Mutex::new(Vec::new()) }
    }

    /// Keeps what was put; returns how many bytes it is.
    #[must_use]
    pub fn keep(self) -> u64 {
        let put = std::mem::take(&mut *self.put.lock().unwrap_or_else(PoisonError::into_inner));
        put.into_iter().map(|(_, length)| length).sum()
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let put = std::mem::take(self.put.get_mut().unwrap_or_else(PoisonError::into_inner));
        // The last first: nothing ever names what is gone already.
        for (key, _) in put.into_iter().rev() {
            if let Err(error) = self.storage.delete(&key) {
                log::warn!("{error}; left behind");
            }
        }
    }
}

impl Storage for Undo<'_> {
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
        // What is there, even if it cannot be read, is not ours to remove. It is written again: it
        // may be damaged.
        if self.storage.size(key).is_err_and(|error| error.is_not_found()) {
            let mut put = self.put.lock().unwrap_or_else(PoisonError::into_inner);
            put.push((key.to_owned(), bytes.len() as u64));
        }
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

    fn lease(&self, key: &str) -> Result<Lease, StorageError> {
        self.storage.lease(key)
    }

    fn seize(&self, key: &str) -> Result<Option<Lease>, StorageError> {
        self.storage.seize(key)
    }

    fn locate(&self, key: &str) -> String {
        self.storage.locate(key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStorage;
    use super::*;

    #[test]
    fn what_is_not_kept_goes_and_nothing_else() {
        let storage = MemoryStorage::default();
        storage.put("index/old", b"old").unwrap();
        for keep in [false, true] {
            let undo = Undo::new(&storage);
            undo.put("index/old", b"old").unwrap();
            undo.put("index/new", b"new!").unwrap();
            if keep {
                assert_eq!(undo.keep(), 4);
            } else {
                drop(undo);
            }
            assert_eq!(storage.list("index/").unwrap().len(), 1 + usize::from(keep));
        }
    }
}

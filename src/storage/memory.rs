//! A store in memory: for tests, and to measure with the disk out of the picture.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{ErrorKind, Lease, Storage, StorageError};

/// Objects by key.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    objects: RwLock<BTreeMap<String, Arc<[u8]>>>,
    /// One more than so many leases there are of an object.
    leases: Mutex<HashMap<String, Arc<()>>>,
}

impl MemoryStorage {
    fn object(&self, key: &str) -> Result<Arc<[u8]>, StorageError> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(key).cloned().ok_or_else(|| ErrorKind::NotFound.of(&self.locate(key)))
    }
}

impl Storage for MemoryStorage {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        Ok(self.object(key)?.len() as u64)
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let object = self.object(key)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let range = start.checked_add(length).and_then(|end| object.get(start..end));
        let end = offset.saturating_add(length as u64);
        range.map(<[u8]>::to_vec).ok_or_else(|| ErrorKind::Short(end).of(&self.locate(key)))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        objects.insert(key.to_owned(), bytes.into());
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        Ok(objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        Ok(())
    }

    fn lease(&self, key: &str) -> Result<Lease, StorageError> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        self.object(key)?;
        Ok(Lease::memory(Arc::clone(leases.entry(key.to_owned()).or_default())))
    }

    fn seize(&self, key: &str) -> Result<Option<Lease>, StorageError> {
        self.object(key)?;
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let read = leases.get(key).is_some_and(|share| Arc::strong_count(share) > 1);
        Ok((!read).then(Lease::default))
    }
}

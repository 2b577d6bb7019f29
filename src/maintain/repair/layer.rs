//! A storage over another one, which stays as it is: what a repair comes to, before it is applied.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::parity::PARITY;
use crate::storage::{Bytes, LocalStorage, Storage, StorageError};
use crate::store::CONFIG;

/// What the keys of objects start with, in the order of writing.
const ORDER: [&str; 7] = ["packs/", "index/", "trees/", CONFIG, "roots/", "snapshots/", PARITY];

/// New objects over those that are there.
#[derive(Debug)]
pub(super) struct Layer {
    base: Arc<dyn Storage>,
    top: LocalStorage,
    put: Mutex<BTreeSet<String>>,
    gone: Mutex<BTreeSet<String>>,
}

impl Layer {
    /// Nothing is new yet; what comes goes below `folder`.
    pub(super) fn new(base: Arc<dyn Storage>, folder: &Path) -> Self {
        let (put, gone) = Default::default();
        Self { base, top: LocalStorage::new(folder), put, gone }
    }

    fn set(set: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
        set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_new(&self, key: &str) -> bool {
        Self::set(&self.put).contains(key)
    }

    fn side(&self, key: &str) -> &dyn Storage {
        if self.is_new(key) || Self::set(&self.gone).contains(key) {
            &self.top
        } else {
            &*self.base
        }
    }

    /// The new objects, in the order of writing.
    pub(super) fn new_keys(&self) -> Vec<String> {
        in_order(Self::set(&self.put).iter().cloned().collect())
    }

    /// The objects that are to go.
    pub(super) fn gone_keys(&self) -> Vec<String> {
        Self::set(&self.gone).iter().cloned().collect()
    }
}

/// Keys of objects in the order of writing; what is no object is left out.
pub(super) fn in_order(keys: Vec<String>) -> Vec<String> {
    let place = |key: &String| ORDER.iter().position(|start| key.starts_with(start));
    let number = |key: &str| crate::store::parse_root(key).map(|(number, _)| number);
    let mut keys: Vec<_> = keys.into_iter().filter_map(|key| Some((place(&key)?, key))).collect();
    keys.sort_by(|(a, left), (b, right)| (a, number(left), left).cmp(&(b, number(right), right)));
    keys.into_iter().map(|(_, key)| key).collect()
}

impl Storage for Layer {
    fn name(&self) -> String {
        self.base.name()
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        self.side(key).size(key)
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        self.side(key).get_range(key, offset, length)
    }

    fn get(&self, key: &str, limit: u64) -> Result<Bytes, StorageError> {
        self.side(key).get(key, limit)
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        // A file that is open may be the one before.
        self.top.delete(key)?;
        self.top.put(key, bytes)?;
        Self::set(&self.put).insert(key.to_owned());
        Self::set(&self.gone).remove(key);
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let mut keys: BTreeSet<String> = self.base.list(prefix)?.into_iter().collect();
        let put = Self::set(&self.put);
        keys.extend(put.iter().filter(|key| key.starts_with(prefix)).cloned());
        let gone = Self::set(&self.gone);
        Ok(keys.into_iter().filter(|key| !gone.contains(key)).collect())
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.top.delete(key)?;
        Self::set(&self.put).remove(key);
        Self::set(&self.gone).insert(key.to_owned());
        Ok(())
    }

    fn locate(&self, key: &str) -> String {
        self.base.locate(key)
    }
}

//! Snapshots: named roots, which stay whatever is added. Layout: `format-spec.md`, "Snapshot".
//!
//! Whoever changes them must hold the [lock](crate::storage::Lock) of the store: that there is no
//! snapshot of a name is looked at before one is put there.

use super::keys::{parse_root, parse_snapshot, root_key, snapshot_key};
use super::{
    Cause, Error, Head, ROOTS, SNAPSHOTS, TRIES, format_error, lease_root, open_root, read_config,
};
use crate::format::{Snapshot, compatible};
use crate::storage::{Bytes, Storage};

/// Longest snapshot, in bytes: they have about a hundred.
const MAX_SNAPSHOT: u64 = 4096;
/// What names a root by other means where a snapshot may be named, too, starts with one of these.
const RESERVED: [char; 2] = ['@', '#'];

/// A snapshot that an archive has.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it is of; if that cannot be told, or its root is not there, why.
    pub snapshot: Result<Snapshot, Error>,
}

/// All snapshots, in the order of their names.
///
/// # Errors
/// If it is no archive, or its objects cannot be listed. A snapshot that does not check out is
/// listed as such.
pub fn list(storage: &dyn Storage) -> Result<Vec<Listed>, Error> {
    read_config(storage)?;
    let roots = storage.list(ROOTS)?;
    let check = |name: &str, key: &str| {
        let (snapshot, _) = read(storage, key)?;
        let root = root_key(snapshot.number, &snapshot.root);
        match roots.contains(&root) {
            true => Ok(snapshot),
            false => Err(lost_root(storage, name, missing(storage, &root))),
        }
    };
    let keys = storage.list(SNAPSHOTS)?;
    let named = keys.iter().filter_map(|key| parse_snapshot(key).map(|name| (name, key)));
    Ok(named
        .map(|(name, key)| Listed { name: name.to_owned(), snapshot: check(name, key) })
        .collect())
}

/// Gives the root of that key a name. `created` is now, in seconds since 1970.
///
/// # Errors
/// If there is a snapshot of that name, none can have it, the root does not check out, or it
/// cannot be written.
pub fn create(storage: &dyn Storage, name: &str, root: &str, created: i64) -> Result<(), Error> {
    may_write(storage)?;
    let key = free(storage, name)?;
    let (number, id) = parse_root(root).ok_or_else(|| missing(storage, root))?;
    let (_, features) = open_root(storage, root, number, &id)?;
    known(storage, root, features)?;
    let snapshot = Snapshot { number, root: id, created };
    Ok(storage.put(&key, &snapshot.encode())?)
}

/// Takes a snapshot away, for good. Its root stays until somebody collects what nothing names.
///
/// # Errors
/// If there is none of that name, or it cannot be removed. Whether it checks out does not matter.
pub fn delete(storage: &dyn Storage, name: &str) -> Result<(), Error> {
    may_write(storage)?;
    let key = there(storage, name)?;
    storage.delete(&key)?;
    Ok(storage.sync(SNAPSHOTS)?)
}

/// Gives a snapshot another name.
///
/// # Errors
/// If there is none of the old name, or it does not check out; if there is one of the new name, or
/// none can have it; or if it cannot be written or removed.
pub fn rename(storage: &dyn Storage, old: &str, new: &str) -> Result<(), Error> {
    may_write(storage)?;
    let (from, to) = (there(storage, old)?, free(storage, new)?);
    let (_, bytes) = read(storage, &from)?;
    known(storage, &from, compatible(bytes.as_ref()))?;
    // In this order: a crash in between leaves both names, never none.
    storage.put(&to, bytes.as_ref())?;
    storage.delete(&from)?;
    Ok(storage.sync(SNAPSHOTS)?)
}

/// The root of a snapshot.
pub(super) fn read_root(storage: &dyn Storage, name: &str) -> Result<Head, Error> {
    let mut read = find_root(storage, name);
    for _ in 0..TRIES {
        match read {
            // It was given another root since it was read, and the old one was collected.
            Ok(Err(error)) if error.is_not_found() => read = find_root(storage, name),
            _ => break,
        }
    }
    read?.map_err(|error| lost_root(storage, name, error))
}

fn find_root(storage: &dyn Storage, name: &str) -> Result<Result<Head, Error>, Error> {
    let (snapshot, _) = read(storage, &there(storage, name)?)?;
    let key = root_key(snapshot.number, &snapshot.root);
    let opened = lease_root(storage, &key, snapshot.number, &snapshot.root);
    Ok(opened.map(|(root, compatible, lease)| Head { key, root, compatible, doubt: None, lease }))
}

/// The snapshot of that key, and its bytes.
///
/// # Errors
/// If it does not check out. Whether its root does is not looked at.
pub fn read(storage: &dyn Storage, key: &str) -> Result<(Snapshot, Bytes), Error> {
    let bytes = storage.get(key, MAX_SNAPSHOT)?;
    let snapshot = Snapshot::decode(bytes.as_ref());
    Ok((snapshot.map_err(|error| format_error(storage, key, error))?, bytes))
}

/// The key of a snapshot, which must be there.
fn there(storage: &dyn Storage, name: &str) -> Result<String, Error> {
    let key = snapshot_key(name).ok_or_else(|| refused(storage, name, Cause::SnapshotName))?;
    match storage.size(&key) {
        Err(error) if error.is_not_found() => Err(refused(storage, name, Cause::NoSnapshot)),
        size => Ok(size.map(|_| key)?),
    }
}

/// The key of a snapshot to be, which must not be there.
fn free(storage: &dyn Storage, name: &str) -> Result<String, Error> {
    let key = snapshot_key(name).ok_or_else(|| refused(storage, name, Cause::SnapshotName))?;
    if name.starts_with(RESERVED) {
        return Err(refused(storage, name, Cause::Reserved));
    }
    match storage.size(&key) {
        Err(error) if error.is_not_found() => Ok(key),
        size => {
            Err(size.map_or_else(Error::from, |_| refused(storage, name, Cause::SnapshotExists)))
        }
    }
}

/// Something that is wrong with the snapshot of that name, which may not be good for a key.
fn refused(storage: &dyn Storage, name: &str, cause: Cause) -> Error {
    Error::new(&format!("{}: snapshot {name}", storage.name()), cause)
}

fn lost_root(storage: &dyn Storage, name: &str, error: Error) -> Error {
    refused(storage, name, Cause::SnapshotRoot(Box::new(error)))
}

fn missing(storage: &dyn Storage, key: &str) -> Error {
    crate::storage::ErrorKind::NotFound.of(&storage.locate(key)).into()
}

/// Whoever writes to a store must know all its features, those included that a reader may ignore.
fn may_write(storage: &dyn Storage) -> Result<(), Error> {
    match read_config(storage)?.compatible.into_iter().next() {
        Some(feature) => Err(Error::new(&storage.name(), Cause::Feature(feature))),
        None => Ok(()),
    }
}

/// As [`may_write`], for the features of an object: version 1 knows none.
fn known(storage: &dyn Storage, key: &str, features: u32) -> Result<(), Error> {
    match features {
        0 => Ok(()),
        bits => Err(Error::new(&storage.locate(key), Cause::Feature(format!("{bits:#x}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BlockHash, Config, Cutting, ObjectRef, Root, Totals, VERSION};
    use crate::storage::{MemoryStorage, StorageError};
    use crate::store::{CONFIG, read_head};
    use std::sync::Mutex;

    fn config(compatible: &[&str]) -> Vec<u8> {
        let cutting = Cutting { min: 64, average: 64, max: 65_536 };
        let compatible = compatible.iter().map(|&name| name.to_owned()).collect();
        let (store, incompatible) = ("0".repeat(32), vec![]);
        let (format, hash, hash_len) = (VERSION, BlockHash::Blake3, 16);
        let parity = None;
        Config { format, store, incompatible, compatible, hash, hash_len, parity, cutting }.encode()
    }

    /// A store of two roots; their keys.
    fn store() -> (MemoryStorage, [String; 2]) {
        let storage = MemoryStorage::default();
        storage.put(CONFIG, &config(&[])).unwrap();
        let keys = [1, 2].map(|number| {
            let tree = ObjectRef { id: [1; 32], length: 1, checksum: 1 };
            let (parents, segments, totals) = (vec![], vec![], Totals::default());
            let root = Root { number, created: 0, tree, parents, segments, totals }.encode();
            let key = root_key(number, blake3::hash(&root).as_bytes());
            storage.put(&key, &root).unwrap();
            key
        });
        (storage, keys)
    }

    fn names(storage: &MemoryStorage) -> Vec<(String, Option<u64>)> {
        let number = |listed: Listed| (listed.name, listed.snapshot.ok().map(|it| it.number));
        list(storage).unwrap().into_iter().map(number).collect()
    }

    fn named(names: &[(&str, u64)]) -> Vec<(String, Option<u64>)> {
        names.iter().map(|(name, number)| ((*name).to_owned(), Some(*number))).collect()
    }

    #[test]
    fn snapshots_come_change_their_names_and_go() {
        let (storage, [first, second]) = store();
        create(&storage, "one", &first, 5).unwrap();
        create(&storage, "a two", &second, -5).unwrap();
        assert_eq!(names(&storage), named(&[("a two", 2), ("one", 1)]));
        assert_eq!(read_root(&storage, "one").unwrap().key, first);
        rename(&storage, "one", "uno").unwrap();
        delete(&storage, "a two").unwrap();
        assert_eq!(names(&storage), named(&[("uno", 1)]));
        assert_eq!(list(&storage).unwrap()[0].snapshot.as_ref().unwrap().created, 5);
    }

    #[test]
    fn what_is_deleted_stays_so() {
        let (memory, [first, _]) = store();
        let storage = Recorder { memory, deleted: Mutex::default() };
        create(&storage, "one", &first, 0).unwrap();
        rename(&storage, "one", "uno").unwrap();
        assert!(storage.deleted.lock().unwrap().is_empty());
        delete(&storage, "uno").unwrap();
        assert!(storage.deleted.lock().unwrap().is_empty());
    }

    /// Knows what was deleted and is not sure to stay so.
    #[derive(Debug)]
    struct Recorder {
        memory: MemoryStorage,
        deleted: Mutex<Vec<String>>,
    }

    impl Storage for Recorder {
        fn name(&self) -> String {
            self.memory.name()
        }
        fn size(&self, key: &str) -> Result<u64, StorageError> {
            self.memory.size(key)
        }
        fn get_range(&self, key: &str, at: u64, length: usize) -> Result<Vec<u8>, StorageError> {
            self.memory.get_range(key, at, length)
        }
        fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
            self.memory.put(key, bytes)
        }
        fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
            self.memory.list(prefix)
        }
        fn delete(&self, key: &str) -> Result<(), StorageError> {
            self.deleted.lock().unwrap().push(key.to_owned());
            self.memory.delete(key)
        }
        fn sync(&self, prefix: &str) -> Result<(), StorageError> {
            self.deleted.lock().unwrap().retain(|key| !key.starts_with(prefix));
            Ok(())
        }
    }

    #[test]
    fn nothing_takes_the_place_of_a_snapshot() {
        let (storage, [first, second]) = store();
        create(&storage, "one", &first, 0).unwrap();
        create(&storage, "two", &second, 0).unwrap();
        let cause = |result: Result<(), Error>| result.unwrap_err().cause;
        let exists = |cause| matches!(cause, Cause::SnapshotExists);
        assert!(exists(cause(create(&storage, "one", &second, 0))));
        assert!(exists(cause(rename(&storage, "one", "two"))));
        assert!(exists(cause(rename(&storage, "one", "one"))));
        assert!(matches!(cause(rename(&storage, "six", "five")), Cause::NoSnapshot));
        assert!(matches!(cause(delete(&storage, "six")), Cause::NoSnapshot));
        for name in ["", ".a", "a/b", "../roots/1", "a\n"] {
            assert!(matches!(cause(create(&storage, name, &first, 0)), Cause::SnapshotName));
            assert!(matches!(cause(rename(&storage, "one", name)), Cause::SnapshotName));
            assert!(matches!(cause(delete(&storage, name)), Cause::SnapshotName));
        }
        for name in ["@head", "#1"] {
            assert!(matches!(cause(create(&storage, name, &first, 0)), Cause::Reserved));
        }
        assert!(create(&storage, "new", "roots/1", 0).is_err());
        assert_eq!(names(&storage), named(&[("one", 1), ("two", 2)]));
    }

    #[test]
    fn what_is_damaged_is_listed_and_can_be_deleted() {
        let (storage, [first, second]) = store();
        create(&storage, "one", &first, 0).unwrap();
        create(&storage, "two", &second, 0).unwrap();
        let mut bytes = storage.get_range("snapshots/one", 0, 104).unwrap();
        bytes[60] ^= 1;
        storage.put("snapshots/one", &bytes).unwrap();
        storage.delete(&second).unwrap();
        let listed = [("one".to_owned(), None), ("two".to_owned(), None)];
        assert_eq!(names(&storage), listed);
        for (name, word) in [("one", "checksum"), ("two", "not found")] {
            let error = read_root(&storage, name).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(word), "{error}");
        }
        assert!(rename(&storage, "one", "new").is_err());
        delete(&storage, "one").unwrap();
        delete(&storage, "two").unwrap();
        assert_eq!(names(&storage), []);
    }

    #[test]
    fn who_does_not_know_a_feature_does_not_write() {
        let (storage, [first, _]) = store();
        create(&storage, "one", &first, 0).unwrap();
        storage.put(CONFIG, &config(&["parity"])).unwrap();
        let refused = [
            create(&storage, "a", &first, 0),
            rename(&storage, "one", "b"),
            delete(&storage, "one"),
        ];
        for result in refused {
            assert!(matches!(result.unwrap_err().cause, Cause::Feature(_)));
        }
        assert_eq!(names(&storage), named(&[("one", 1)]));
    }

    #[test]
    fn a_root_is_found_by_its_number() {
        let (storage, [first, second]) = store();
        assert_eq!(read_head(&storage, None).unwrap().key, second);
        assert_eq!(read_head(&storage, Some(1)).unwrap().key, first);
        let error = read_head(&storage, Some(3)).unwrap_err();
        assert!(matches!(error.cause, Cause::NoSuchRoot(3)));
    }
}

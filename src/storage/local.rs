//! A store as a folder: one file for each object.

use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use rustix::fs::OFlags;

use super::{Bytes, ErrorKind, Lease, MAP_ABOVE, Storage, StorageError};

/// How many object files are kept open.
const OPEN_FILES: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Names of files under way start with this; whatever has such a name is not an object.
pub(super) const TEMP_PREFIX: &str = ".tmp-";
const TEMP: &[u8] = TEMP_PREFIX.as_bytes();
/// What is read again and again, and never written twice, as a snapshot may be.
const OFTEN: [&str; 3] = ["packs/", "trees/", "parity/"];
/// Where objects are.
const OBJECTS: [&str; 6] = ["packs", "index", "trees", "roots", "snapshots", "parity"];

/// The objects below a folder.
#[derive(Debug)]
pub struct LocalStorage {
    folder: PathBuf,
    open: Mutex<LruCache<String, Arc<File>>>,
}

impl LocalStorage {
    /// The store in `folder`; nothing is looked at yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: Mutex::new(LruCache::new(OPEN_FILES)) }
    }

    fn file(&self, key: &str) -> Result<Arc<File>, StorageError> {
        if !OFTEN.iter().any(|prefix| key.starts_with(prefix)) {
            let file = open_file(&self.folder.join(key)).map_err(|error| self.error(key, error))?;
            return Ok(Arc::new(file));
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(key) {
            return Ok(Arc::clone(file));
        }
        drop(open);
        let file = open_file(&self.folder.join(key)).map_err(|error| self.error(key, error))?;
        let file = Arc::new(file);
        open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.put(key.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn error(&self, key: &str, source: io::Error) -> StorageError {
        StorageError::io(&self.locate(key), source)
    }

    /// The mode of what is made in it: whoever may use the folder of the store may use all of it.
    fn mode(&self) -> io::Result<u32> {
        Ok(fs::metadata(&self.folder)?.mode() & 0o2777)
    }

    /// Writes a whole file durably: temp name, fsync, rename, fsync of the folder.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.folder);
        self.make_folder(folder)?;
        let mut temp = tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(folder)?;
        temp.write_all(bytes)?;
        temp.as_file().set_permissions(fs::Permissions::from_mode(self.mode()? & 0o666))?;
        temp.as_file().sync_all()?;
        temp.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    }

    /// Makes a folder of the store, durably.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent().filter(|_| folder != self.folder) {
            self.make_folder(parent)?;
        }
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
            Ok(()) => fs::set_permissions(folder, fs::Permissions::from_mode(self.mode()?))?,
        }
        folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }

    fn list_folder(&self, prefix: &str, keys: &mut Vec<String>) -> io::Result<()> {
        let entries = match fs::read_dir(self.folder.join(prefix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if entry.file_type()?.is_dir() {
                self.list_folder(&format!("{prefix}{name}/"), keys)?;
            } else if !name.starts_with(TEMP_PREFIX) {
                keys.push(format!("{prefix}{name}"));
            }
        }
        Ok(())
    }
}

impl Storage for LocalStorage {
    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        let file = self.file(key)?;
        file.metadata().map(|meta| meta.len()).map_err(|error| self.error(key, error))
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let file = self.file(key)?;
        read_at(&file, offset, length, offset, &self.locate(key))
    }

    fn get(&self, key: &str, limit: u64) -> Result<Bytes, StorageError> {
        let size = self.size(key)?;
        if size <= MAP_ABOVE.min(limit) {
            let length = usize::try_from(size).unwrap_or(0);
            return self.get_range(key, 0, length).map(Bytes::Owned);
        }
        if size > limit {
            return Err(ErrorKind::TooLong.of(&self.locate(key)));
        }
        map(&*self.file(key)?, 0, size).map_err(|error| self.error(key, error))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.write(&self.folder.join(key), bytes).map_err(|error| self.error(key, error))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let mut keys = Vec::new();
        self.list_folder(prefix, &mut keys).map_err(|error| self.error(prefix, error))?;
        keys.sort();
        Ok(keys)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).pop(key);
        match fs::remove_file(self.folder.join(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.error(key, error)),
            _ => Ok(()),
        }
    }

    fn sync(&self, prefix: &str) -> Result<(), StorageError> {
        match File::open(self.folder.join(prefix)).and_then(|folder| folder.sync_all()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.error(prefix, error)),
            _ => Ok(()),
        }
    }

    fn lease(&self, key: &str) -> Result<Lease, StorageError> {
        // A file of its own: one that is shared would share its locks.
        let lease = open_file(&self.folder.join(key)).and_then(Lease::share);
        let lease = lease.map_err(|error| self.error(key, error))?;
        lease.ok_or_else(|| ErrorKind::NotFound.of(&self.locate(key)))
    }

    fn seize(&self, key: &str) -> Result<Option<Lease>, StorageError> {
        let lease = open_file(&self.folder.join(key)).and_then(Lease::seize);
        lease.map_err(|error| self.error(key, error))
    }

    fn tidy(&self) -> Result<u64, StorageError> {
        let mut bytes = 0;
        for folder in OBJECTS {
            let removed = remove_temps(&self.folder.join(folder), true);
            bytes += removed.map_err(|error| self.error(folder, error))?;
        }
        // The settings are written there.
        let removed = remove_temps(&self.folder, false).map_err(|error| self.error("", error))?;
        Ok(bytes + removed)
    }

    fn locate(&self, key: &str) -> String {
        self.folder.join(key).display().to_string()
    }
}

/// Removes files under way in a folder, and below it; returns how many bytes they had.
fn remove_temps(folder: &Path, deep: bool) -> io::Result<u64> {
    let mut bytes = 0;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && deep {
            bytes += remove_temps(&path, deep)?;
            // If nothing is left in it.
            let _ = fs::remove_dir(path);
        } else if kind.is_file() && entry.file_name().as_encoded_bytes().starts_with(TEMP) {
            bytes += entry.metadata()?.len();
            fs::remove_file(path)?;
        }
    }
    Ok(bytes)
}

/// Opens a regular file. Anything else is no object; a FIFO, say, would never open.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("is not a regular file"))
}

/// Most bytes that are asked for at once. The disk would serve all of a long read before the short
/// ones that come meanwhile: those of who lists a folder while the index is read.
const AT_ONCE: usize = 256 << 10;

/// Reads exactly `length` bytes of `file` at `at`; `offset` is where that is in `object`.
pub(super) fn read_at(
    file: &File,
    at: u64,
    length: usize,
    offset: u64,
    object: &str,
) -> Result<Vec<u8>, StorageError> {
    let mut bytes = vec![0; length];
    let mut next = at;
    let read = bytes.chunks_mut(AT_ONCE).try_for_each(|part| {
        file.read_exact_at(part, next)?;
        next = next.saturating_add(part.len() as u64);
        Ok(())
    });
    read.map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            ErrorKind::Short(offset.saturating_add(length as u64)).of(object)
        }
        _ => StorageError::io(object, error),
    })?;
    Ok(bytes)
}

/// Maps part of a local file.
#[expect(unsafe_code, reason = "objects are immutable: nobody but a vandal writes to one")]
pub(super) fn map(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the map is only read, each value read from it is checked where it is used, and
    // objects are never changed in place.
    unsafe { memmap2::MmapOptions::new().offset(offset).len(length).map(file) }.map(Bytes::Mapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_back_whole_and_in_part() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let storage = LocalStorage::new(folder.path());
        storage.put("packs/aa/b", b"hello").unwrap();
        storage.put("packs/ab/c", &vec![7; usize::try_from(MAP_ABOVE + 1).unwrap()]).unwrap();
        assert_eq!(storage.list("packs/").unwrap(), ["packs/aa/b", "packs/ab/c"]);
        assert_eq!(storage.list("roots/").unwrap(), [""; 0]);
        assert_eq!(storage.get_range("packs/aa/b", 1, 3).unwrap(), b"ell");
        let short = storage.get_range("packs/aa/b", 3, 3).unwrap_err();
        assert!(matches!(short.kind, ErrorKind::Short(6)));
        let long: Vec<u8> = (0..=250).cycle().take(AT_ONCE * 2 + 9).collect();
        storage.put("packs/ad/e", &long).unwrap();
        assert_eq!(storage.get_range("packs/ad/e", 5, long.len() - 5).unwrap(), long[5..]);
        storage.get_range("packs/ad/e", u64::MAX, AT_ONCE * 2).unwrap_err();
        let short = storage.get_range("packs/ad/e", 9, long.len()).unwrap_err();
        assert!(matches!(short.kind, ErrorKind::Short(_)));
        assert_eq!(storage.get("packs/ab/c", 1 << 30).unwrap().as_ref()[9], 7);
        assert!(storage.get("packs/ab/c", 1 << 20).is_err());
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("packs/aa"), mode("packs/aa/b")), (0o750, 0o640));
        storage.delete("packs/aa/b").unwrap();
        storage.delete("packs/aa/b").unwrap();
        assert!(storage.size("packs/aa/b").unwrap_err().is_not_found());
        for content in [b"one", b"two"] {
            storage.put("snapshots/a", content).unwrap();
            assert_eq!(storage.get("snapshots/a", 9).unwrap().as_ref(), content);
        }
        storage.sync("packs/aa/").unwrap();
        storage.sync("gone/").unwrap();
    }
}

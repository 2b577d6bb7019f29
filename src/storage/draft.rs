//! An archive under construction: nobody sees it before it is whole.
//!
//! Order of writes: everything goes below a temporary name beside DEST, each object is synced as
//! it is put, an image is synced when it is ended; then one rename makes it DEST, and the folder
//! around it is synced. A draft that is dropped, for whatever reason, removes what it wrote. One
//! whose process was killed is locked by nobody: the next draft of that name removes it.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::local::TEMP_PREFIX;
use super::{ErrorKind, ImageWriter, LocalStorage, Lock, Storage, StorageError};
use crate::format::Section;

/// File name ending that makes DEST an image.
const IMAGE_ENDING: &str = "pfs";
/// What a store has at its top.
const STORE_NAMES: [&str; 8] =
    ["packfs.toml", "roots", "snapshots", "packs", "index", "trees", "parity", "live"];

/// An archive that is being written, below a temporary name.
#[derive(Debug)]
pub struct Draft {
    dest: PathBuf,
    temp: PathBuf,
    force: bool,
    kind: DraftKind,
    /// The file or folder below the temporary name, locked: somebody is at work on it.
    _lock: File,
}

#[derive(Debug)]
enum DraftKind {
    Store(Arc<LocalStorage>),
    Image(Arc<ImageWriter>),
}

impl Draft {
    /// Begins an archive that shall become `dest`: an image where that ends in `.pfs`.
    ///
    /// # Errors
    /// If `dest` is there already (with `force`: and is no archive), or nothing can be written
    /// beside it.
    pub fn new(dest: &Path, force: bool) -> Result<Self, StorageError> {
        let name = dest.display().to_string();
        let fail = |error| StorageError::io(&name, error);
        let image = dest.extension().is_some_and(|ending| ending == IMAGE_ENDING);
        may_become(dest, image, force)?;
        let prefix = temp_prefix(dest).map_err(fail)?;
        remove_abandoned(dest, &prefix);
        let random = RandomState::new().hash_one(std::process::id());
        let temp = dest.with_file_name(format!("{prefix}{random:016x}"));
        let kind = if image {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).open(&temp).map_err(fail)?;
            let writer = ImageWriter::new(file, &name).inspect_err(|_| {
                let _ = fs::remove_file(&temp);
            })?;
            DraftKind::Image(Arc::new(writer))
        } else {
            fs::create_dir(&temp).map_err(fail)?;
            DraftKind::Store(Arc::new(LocalStorage::new(&temp)))
        };
        let lock = File::open(&temp).map_err(fail)?;
        // Where files cannot be locked, they are not removed when their process dies.
        let _ = flock(&lock, FlockOperation::LockShared);
        // Who began the same at the same moment may have taken it for abandoned.
        temp.symlink_metadata().map_err(fail)?;
        Ok(Self { dest: dest.to_owned(), temp, force, kind, _lock: lock })
    }

    /// Where its objects are to be put.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn Storage> {
        match &self.kind {
            DraftKind::Store(storage) => Arc::clone(storage) as Arc<dyn Storage>,
            DraftKind::Image(writer) => Arc::clone(writer) as Arc<dyn Storage>,
        }
    }

    /// Whether it becomes an image.
    #[must_use]
    pub fn is_image(&self) -> bool {
        matches!(self.kind, DraftKind::Image(_))
    }

    /// Makes it DEST, durably. Returns its length in bytes.
    ///
    /// # Errors
    /// If it cannot be ended or renamed; then DEST is as it was.
    pub fn publish(self) -> Result<u64, StorageError> {
        let length = match &self.kind {
            DraftKind::Image(writer) => writer.finish()?,
            DraftKind::Store(storage) => {
                storage.list("")?.iter().map(|key| storage.size(key)).sum::<Result<u64, _>>()?
            }
        };
        let fail = |error| StorageError::io(&self.dest.display().to_string(), error);
        // Again, for it may be long since the draft began.
        may_become(&self.dest, self.is_image(), self.force)?;
        // Who adds to the store that is replaced would go on in the one that takes its place.
        let replaces = !self.is_image() && self.force && self.dest.exists();
        let _lock = replaces.then(|| Lock::take(&self.dest)).transpose()?;
        self.rename().map_err(fail)?;
        let around = self.dest.parent().filter(|path| !path.as_os_str().is_empty());
        let around = File::open(around.unwrap_or(Path::new("."))).map_err(fail)?;
        around.sync_all().map_err(fail)?;
        Ok(length)
    }

    fn rename(&self) -> io::Result<()> {
        if !self.force || !self.dest.exists() {
            let flags = RenameFlags::NOREPLACE;
            return match renameat_with(CWD, &self.temp, CWD, &self.dest, flags) {
                // A file system without that flag: the check was made when the draft began.
                Err(rustix::io::Errno::INVAL) => fs::rename(&self.temp, &self.dest),
                result => Ok(result?),
            };
        }
        match self.kind {
            DraftKind::Image(_) => fs::rename(&self.temp, &self.dest),
            // The old store takes the draft's place, and goes with the draft.
            DraftKind::Store(_) => {
                Ok(renameat_with(CWD, &self.temp, CWD, &self.dest, RenameFlags::EXCHANGE)?)
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let removed = match self.kind {
            DraftKind::Image(_) => fs::remove_file(&self.temp),
            DraftKind::Store(_) => fs::remove_dir_all(&self.temp),
        };
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: left behind: {error}; remove it", self.temp.display());
        }
    }
}

/// Whether an archive may be written to `dest`.
fn may_become(dest: &Path, image: bool, force: bool) -> Result<(), StorageError> {
    let name = dest.display().to_string();
    let there = match fs::symlink_metadata(dest) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StorageError::io(&name, error)),
        Ok(there) => there,
    };
    let replaceable = match image {
        true => there.is_file() && is_image(dest),
        false => there.is_dir() && is_store(dest),
    };
    match (replaceable, force) {
        (false, _) => Err(ErrorKind::Foreign.of(&name)),
        (true, false) => Err(ErrorKind::Exists.of(&name)),
        (true, true) => Ok(()),
    }
}

/// Whether a file is an image, or nothing yet.
fn is_image(file: &Path) -> bool {
    let mut head = [0; 8];
    let read = File::open(file).and_then(|mut file| file.read(&mut head));
    read.is_ok_and(|read| read == 0 || head == Section::ImageHead.magic())
}

/// Whether a folder has nothing in it but what a store has, or the beginning of one whose writer
/// was killed: so nothing else is removed with it, or gets into it.
#[must_use]
pub fn is_store(folder: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(folder) else { return false };
    entries.all(|entry| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            let unfinished = name.as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes());
            unfinished || STORE_NAMES.iter().any(|known| name == *known)
        })
    })
}

/// What the names of drafts of `dest` start with.
fn temp_prefix(dest: &Path) -> io::Result<String> {
    let Some(name) = dest.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a name for an archive"));
    };
    // A name may be as long as the file system allows: leave room for what is added to it.
    let name: String = name.to_string_lossy().chars().take(32).collect();
    Ok(format!(".{name}.packfs-"))
}

/// Removes drafts of that prefix that nobody is at work on: their processes were killed.
fn remove_abandoned(dest: &Path, prefix: &str) {
    let around = dest.parent().filter(|path| !path.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(around.unwrap_or(Path::new("."))) else { return };
    for entry in entries.flatten() {
        let ours =
            entry.file_name().to_str().and_then(|name| name.strip_prefix(prefix)).is_some_and(
                |random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()),
            );
        let path = entry.path();
        let (image, store) = match entry.file_type() {
            Ok(kind) if ours => {
                (kind.is_file() && is_image(&path), kind.is_dir() && is_store(&path))
            }
            _ => continue,
        };
        let Some(Ok(lock)) = (image || store).then(|| File::open(&path)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = if image { fs::remove_file(&path) } else { fs::remove_dir_all(&path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_draft_is_dest_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.pfs", "a"] {
            let dest = folder.path().join(name);
            let draft = Draft::new(&dest, false).unwrap();
            draft.storage().put("packfs.toml", b"x").unwrap();
            drop(draft);
            assert!(names(folder.path()).is_empty());
        }
        for (name, force) in [("a.pfs", false), ("a", false), ("a.pfs", true), ("a", true)] {
            let draft = Draft::new(&folder.path().join(name), force).unwrap();
            draft.storage().put("packfs.toml", b"x").unwrap();
            assert_eq!(draft.storage().get_range("packfs.toml", 0, 1).unwrap(), b"x");
            assert!(draft.publish().unwrap() > 0);
        }
        assert_eq!(names(folder.path()), ["a", "a.pfs"]);
        assert!(Draft::new(&folder.path().join("a"), false).is_err());
        fs::create_dir(folder.path().join("home")).unwrap();
        fs::write(folder.path().join("home/letter"), "").unwrap();
        assert!(Draft::new(&folder.path().join("home"), true).is_err());
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_is_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.pfs", "a"] {
            let dest = folder.path().join(name);
            let used = Draft::new(&dest, false).unwrap();
            used.storage().put("packfs.toml", b"x").unwrap();
            let left = dest.with_file_name(format!(".{name}.packfs-0123456789abcdef"));
            match used.is_image() {
                true => drop(fs::copy(&used.temp, &left).unwrap()),
                false => fs::create_dir_all(left.join("packs/00")).unwrap(),
            }
            let other = dest.with_file_name(format!(".{name}.packfs-mine"));
            fs::write(&other, "").unwrap();
            let next = Draft::new(&dest, false).unwrap();
            assert!(!left.exists() && used.temp.exists() && next.temp.exists() && other.exists());
        }
    }
}

//! A disk that fails in the midst of a commit, at any write and any read of it: nothing that was
//! synced is lost, and the next attempt makes it good.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use packfs::format::Kind;
use packfs::live::{Changes, LiveFs, LiveOptions, Made};
use packfs::storage::{Bytes, ErrorKind, LocalStorage, Storage, StorageError};
use packfs::tree::ROOT;

use super::reference::Reference;
use super::trial::fresh;
use crate::support::command::packfs;
use crate::support::hostile::noise;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A write fails.
    Write,
    /// The disk is full.
    Full,
    /// A write fails half way: what it leaves is no object.
    Short,
    /// An object is there, and the disk says it cannot be sure.
    Unsure,
    /// A read fails.
    Read,
    /// It is all as with a write that fails, and nothing can be deleted.
    Stuck,
}

/// A store that fails once: when that many writes, or reads, were done.
#[derive(Debug)]
struct Faulty {
    inner: LocalStorage,
    folder: PathBuf,
    fault: Fault,
    left: AtomicU64,
}

/// What `left` is once nothing goes wrong any more.
const NEVER: u64 = u64::MAX;

impl Faulty {
    fn is_due(&self) -> bool {
        let next = |left: u64| if left == NEVER { None } else { Some(left.wrapping_sub(1)) };
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(0)
    }

    fn failed(&self, key: &str) -> StorageError {
        StorageError::io(&self.locate(key), io::Error::other("the disk failed"))
    }
}

impl Storage for Faulty {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        self.inner.size(key)
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        if self.fault == Fault::Read && self.is_due() {
            return Err(self.failed(key));
        }
        self.inner.get_range(key, offset, length)
    }

    fn get(&self, key: &str, limit: u64) -> Result<Bytes, StorageError> {
        if self.fault == Fault::Read && self.is_due() {
            return Err(self.failed(key));
        }
        self.inner.get(key, limit)
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        if self.fault == Fault::Read || !self.is_due() {
            return self.inner.put(key, bytes);
        }
        match self.fault {
            Fault::Full => return Err(ErrorKind::Full.of(&self.locate(key))),
            Fault::Unsure => self.inner.put(key, bytes)?,
            Fault::Short => {
                let (folder, _) = key.rsplit_once('/').unwrap();
                let folder = self.folder.join(folder);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(".tmp-half"), &bytes[..bytes.len() / 2]).unwrap();
            }
            _ => {}
        }
        Err(self.failed(key))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.inner.list(prefix)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        match self.fault {
            Fault::Stuck => Err(self.failed(key)),
            _ => self.inner.delete(key),
        }
    }

    fn locate(&self, key: &str) -> String {
        self.inner.locate(key)
    }
}

/// Makes, changes, moves and removes files.
fn work(fs: &LiveFs, round: u64) {
    let found = |name: &[u8]| fs.lookup(ROOT, name).unwrap().unwrap().ino;
    let make = |name: &str, mode: u32| {
        let made = Made { mode, umask: 0, owner: (1, 2), rdev: 0, target: b"" };
        fs.make(ROOT, name.as_bytes(), &made).unwrap().ino
    };
    let new = make(&format!("new-{round}"), Kind::File.mode() | 0o644);
    fs.write(new, 0, &noise(30_000, round), false).unwrap();
    fs.set_xattr(new, b"user.a", b"b", 0).unwrap();
    make(&format!("folder-{round}"), Kind::Folder.mode() | 0o755);
    fs.link(new, found(b"c"), format!("link-{round}").as_bytes()).unwrap();
    fs.write(found(b"a"), 50_000 + round, b"edited", false).unwrap();
    let shorter = Changes { size: Some(90_000 - round), ..Changes::default() };
    fs.change(found(b"a"), &shorter).unwrap();
    if round > 0 {
        fs.unlink(ROOT, format!("new-{}", round - 1).as_bytes(), false).unwrap();
    }
}

fn all(fs: &LiveFs) -> Reference {
    Reference::scan(fs).0
}

/// Commits twice in a store that fails once; false: it did not come to that.
fn fails_at(fault: Fault, count: u64, again: bool) -> bool {
    let (_folder, store) = fresh();
    let faulty = Arc::new(Faulty {
        inner: LocalStorage::new(&store),
        folder: store.clone(),
        fault,
        left: AtomicU64::new(NEVER),
    });
    let storage = Arc::clone(&faulty) as Arc<dyn Storage>;
    let mut fs = LiveFs::open_over(&store, storage, LiveOptions::default()).unwrap();
    let (mut failed, mut expected) = (false, all(&fs));
    faulty.left.store(count, Ordering::SeqCst);
    for round in 0..2 {
        work(&fs, round);
        // What may be read for that is no commit.
        fs.sync().unwrap();
        expected = all_once_read(&fs);
        failed |= fs.commit().is_err();
        assert!(all_once_read(&fs) == expected, "{fault:?} at {count}");
    }
    let spent = faulty.left.swap(NEVER, Ordering::SeqCst) > count;
    if !again {
        drop(fs);
        fs = super::open_once_free(&store).unwrap();
        assert!(all(&fs) == expected, "{fault:?} at {count}, opened again");
    }
    fs.commit().unwrap();
    assert!(all(&fs) == expected, "{fault:?} at {count}, committed");
    drop(fs);
    check_root(&store, &expected);
    assert!(!failed || spent);
    spent
}

/// All there is; what a disk fails to read once can be read again.
fn all_once_read(fs: &LiveFs) -> Reference {
    let read = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| all(fs)));
    read().or_else(|_| read()).unwrap()
}

/// The newest root has all that, and all of it can be read.
fn check_root(store: &Path, expected: &Reference) {
    let fs = super::open_once_free(store).unwrap();
    assert_eq!(fs.commit().unwrap(), None);
    assert!(all(&fs) == *expected);
    drop(fs);
    packfs!("extract", store, store.join("../out")).run().ok();
}

/// Has it fail at each step of a commit.
fn fails_everywhere(fault: Fault) {
    for again in [false, true] {
        let steps = (0..200).position(|count| !fails_at(fault, count, again)).unwrap();
        // A pack, an index, a tree and a root, twice.
        assert!(steps >= 8 || fault == Fault::Read, "{fault:?}: {steps}");
    }
}

#[test]
fn a_write_fails() {
    fails_everywhere(Fault::Write);
    fails_everywhere(Fault::Stuck);
}

#[test]
fn the_disk_is_full() {
    fails_everywhere(Fault::Full);
}

#[test]
fn a_write_is_cut_short() {
    fails_everywhere(Fault::Short);
}

#[test]
fn a_write_is_not_sure() {
    fails_everywhere(Fault::Unsure);
}

#[test]
fn a_read_fails() {
    fails_everywhere(Fault::Read);
}

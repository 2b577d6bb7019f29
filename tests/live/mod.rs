//! Stores that are written to: what is done through their mount is what a folder would have, and
//! after a crash all that was synced.

mod aside;
mod bounds;
mod crash;
mod edit;
mod ending;
mod faults;
mod journal;
mod links;
mod load;
mod model;
mod moved;
mod posix;
mod reference;
mod room;
mod snapdir;
mod trial;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use packfs::format::JournalBase;
use packfs::live::{LiveFs, LiveOptions};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::support::command::packfs;
use crate::support::tree::Folder;
use crate::support::{Scratch, patience};

/// A scratch folder with a store in it, of the `source` that `fill` makes.
fn with_store(fill: impl FnOnce(&Folder)) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).folder("source", fill);
    let store = scratch.join("store");
    packfs!("create", scratch.join("source"), store).run().ok();
    (scratch, store)
}

/// All that is below a folder, the folder itself last.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        if at.symlink_metadata().unwrap().is_dir() {
            open.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.push(at);
    }
    found.reverse();
    found
}

/// Gives all that is below a folder the times that its inode has by chance in two trees alike.
fn settle_times(folder: &Path) {
    let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    for path in walk(folder) {
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Bytes that the objects of a store take, without what lies below `live/`.
fn stored(store: &Path) -> u64 {
    let objects = walk(store).into_iter().filter(|path| !path.starts_with(store.join("live")));
    objects
        .map(|path| path.symlink_metadata().unwrap())
        .filter(fs::Metadata::is_file)
        .map(|meta| meta.size())
        .sum()
}

/// Waits until all that was done in a mount is in a root of its store.
fn await_commit(mount: &Path, store: &Path) {
    // Then it is in the journal, until that is removed.
    File::open(mount).unwrap().sync_all().unwrap();
    let empty = (journal::NEXT_AT + JournalBase::LEN) as u64;
    let start = Instant::now();
    loop {
        let live = fs::read_dir(store.join("live")).unwrap().map(Result::unwrap);
        let journals = live.filter(|entry| entry.file_name().as_encoded_bytes()[0] == b'j');
        // One may go while it is looked at.
        let lengths: Vec<_> =
            journals.map(|entry| entry.metadata().map(|meta| meta.len())).collect();
        if matches!(&lengths[..], [Ok(length)] if *length == empty) {
            return;
        }
        assert!(start.elapsed() < patience(), "no commit");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The root in that file, as a journal names it.
fn root_in(file: &Path) -> JournalBase {
    let key = format!("roots/{}", file.file_name().unwrap().display());
    let (number, root) = packfs::store::parse_root(&key).unwrap();
    JournalBase { number, root }
}

/// The files of the roots of a store, oldest first.
fn roots(store: &Path) -> Vec<PathBuf> {
    let roots = fs::read_dir(store.join("roots")).unwrap().map(|root| root.unwrap().path());
    let mut roots: Vec<PathBuf> = roots.collect();
    roots.sort_by_key(|file| root_in(file).number);
    roots
}

/// The newest root of a store, as a journal names it.
fn base(store: &Path) -> JournalBase {
    root_in(&roots(store).pop().unwrap())
}

/// Opens a store to be written to.
///
/// Another thread may be starting a program: from its fork to its exec, the child has the lock
/// that this process held on a store before.
fn open_once_free(store: &Path) -> Result<LiveFs, String> {
    let start = Instant::now();
    loop {
        match LiveFs::open(store, LiveOptions::default()).map_err(|error| error.to_string()) {
            Err(error) if error.contains("written to") && start.elapsed().as_secs() < 10 => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

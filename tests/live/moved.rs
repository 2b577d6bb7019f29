//! Stores that are moved while they are mounted: who takes their place is left alone.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use packfs::storage::Lock;

use super::with_store;
use crate::support::command::packfs;
use crate::support::mount::{need_fuse, unmount_once_free};
use crate::support::tree::Folder;
use crate::support::{Mount, Scratch, patience};

/// A store, another one, and a folder to mount on.
fn two() -> (Scratch, PathBuf, PathBuf, PathBuf) {
    need_fuse();
    let (scratch, store) = with_store(|at| at.file("one", "one"));
    Folder::open(scratch.path()).folder("others", |at| at.file("other", "other"));
    let (other, folder) = (scratch.join("other"), scratch.join("mount"));
    packfs!("create", scratch.join("others"), other).run().ok();
    fs::create_dir(&folder).unwrap();
    (scratch, store, other, folder)
}

fn write(folder: &Path) {
    fs::write(folder.join("new"), "written").unwrap();
    File::open(folder.join("new")).unwrap().sync_all().unwrap();
}

/// Waits until nobody writes to a store: `packfs umount` does not know where a moved one is.
fn await_writer(store: &Path) {
    let start = Instant::now();
    while Lock::watch(store).unwrap().is_none() {
        assert!(start.elapsed() < patience(), "{}: still written to", store.display());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_symlink_that_is_switched_changes_nothing() {
    let (scratch, store, other, folder) = two();
    let current = scratch.join("current");
    symlink(&store, &current).unwrap();
    packfs!("mount", "--rw", "--freeze-after", "3600", current, folder).run().ok();
    let shown = Mount::new(&current);
    write(&folder);
    fs::remove_file(&current).unwrap();
    symlink(&other, &current).unwrap();
    assert_eq!(fs::read(shown.path().join("one")).unwrap(), b"one");
    packfs!("flush", folder).run().ok();
    fs::write(folder.join("last"), "last").unwrap();
    unmount_once_free(&folder).unwrap();
    let listed = packfs!("ls", store).run().ok().text();
    assert!(listed.contains("new") && listed.contains("last"), "{listed}");
    packfs!("fsck", "--deep", other).run().ok();
    assert!(!other.join("live").exists());
}

#[test]
fn a_store_in_the_place_of_one_that_was_moved_is_left_alone() {
    let (scratch, store, other, folder) = two();
    let away = scratch.join("away");
    packfs!("mount", "--rw", "--freeze-after", "1", store, folder).run().ok();
    write(&folder);
    fs::rename(&store, &away).unwrap();
    packfs!("flush", folder).run().fails(1, &["nobody answers", "moved"]);
    packfs!("copy", other, store).run().ok();
    packfs!("mount", "--rw", other, scratch.join("others")).run().fails(1, &["not empty"]);
    packfs!("flush", folder).run().fails(1, &["nobody answers", "moved"]);
    fs::write(folder.join("last"), vec![7; 3_000_000]).unwrap();
    // As long as it may take to be packed by itself.
    thread::sleep(Duration::from_secs(2));
    let outcome = packfs!("umount", folder).run();
    outcome.fails(1, &["unmounted", "moved", "journal"]);
    assert_eq!(packfs!("cat", store, "other").run().ok().text(), "other");
    assert_eq!(packfs!("ls", store).run().ok().text(), packfs!("ls", other).run().ok().text());
    packfs!("fsck", "--deep", store).run().ok();
    await_writer(&away);
    let mount = Mount::writable(&away, &[]);
    assert_eq!(fs::read(mount.path().join("new")).unwrap(), b"written");
    assert_eq!(fs::read(mount.path().join("last")).unwrap(), vec![7; 3_000_000]);
    drop(mount);
    packfs!("fsck", "--deep", away).run().ok();
}

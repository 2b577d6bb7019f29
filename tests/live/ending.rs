//! What comes right after a writable mount: it finds all that was written, and a free store.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::with_store;
use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::mount::{is_mounted, need_fuse, unmount_once_free};
use crate::support::{Mount, Packfs, Scratch};

/// What takes a while to pack, in MiB.
const LARGE: usize = 24;

/// A store that was mounted in the background on a folder, and written to.
fn written() -> (Scratch, PathBuf, PathBuf) {
    need_fuse();
    let (scratch, store) = with_store(|at| at.file("packed", "packed"));
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    let options = ["--freeze-after", "3600", "--rw"];
    packfs!("mount", store, folder).args(options).run().ok();
    fs::write(folder.join("large"), noise(LARGE << 20, 1)).unwrap();
    (scratch, store, folder)
}

/// Unmounts as others do, who know nothing of what is to come.
fn unmount_bare(folder: &Path) {
    let start = Instant::now();
    while is_mounted(folder) {
        assert!(start.elapsed().as_secs() < 60, "in use");
        let _ = Packfs::program("umount").arg(folder).run();
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn all_is_packed_when_umount_returns() {
    let (_scratch, store, folder) = written();
    unmount_once_free(&folder).unwrap();
    assert!(packfs!("ls", store).run().ok().text().contains("large"));
    packfs!("snapshot", "create", store, "done").run().ok();
    packfs!("mount", "--rw", store, folder).run().ok();
    assert_eq!(fs::metadata(folder.join("large")).unwrap().size(), (LARGE as u64) << 20);
    unmount_once_free(&folder).unwrap();
}

#[test]
fn a_mount_waits_for_one_that_is_about_to_end() {
    if !crate::support::is_root() {
        return;
    }
    let (_scratch, store, folder) = written();
    unmount_bare(&folder);
    packfs!("mount", "--rw", store, folder).run().ok();
    assert_eq!(fs::metadata(folder.join("large")).unwrap().size(), (LARGE as u64) << 20);
    unmount_once_free(&folder).unwrap();
}

#[test]
fn umount_tells_of_what_could_not_be_packed() {
    if !crate::support::is_root() {
        return;
    }
    let (_scratch, store, folder) = written();
    // There, no object can be put.
    let trees = store.join("trees");
    fs::rename(&trees, store.join("aside")).unwrap();
    fs::write(&trees, "").unwrap();
    let outcome = packfs!("umount", folder).run();
    outcome.fails(1, &["mount", "journal", "store"]);
    fs::remove_file(&trees).unwrap();
    fs::rename(store.join("aside"), &trees).unwrap();
    packfs!("mount", "--rw", store, folder).run().ok();
    assert_eq!(fs::metadata(folder.join("large")).unwrap().size(), (LARGE as u64) << 20);
    unmount_once_free(&folder).unwrap();
}

#[test]
fn umount_tells_of_a_process_that_ended_before_it_had_packed() {
    let (_scratch, store) = with_store(|at| at.file("a", "packed"));
    let mount = Mount::writable(&store, &["--freeze-after", "1000"]);
    fs::write(mount.path().join("b"), "written").unwrap();
    fs::File::open(mount.path().join("b")).unwrap().sync_all().unwrap();
    mount.daemon().signal(rustix::process::Signal::KILL);
    assert!(mount.daemon().ends_within(crate::support::patience()));
    packfs!("flush", mount.path()).run().fails(1, &["mount"]);
    packfs!("umount", mount.path()).run().fails(1, &["unmounted", "journal", "mount --rw"]);
    let again = Mount::writable(&store, &[]);
    assert_eq!(fs::read(again.path().join("b")).unwrap(), b"written");
    drop(mount);
}

#[test]
fn a_mount_tells_what_is_not_packed_yet() {
    let (_scratch, store) = with_store(|at| at.file("a", noise(50_000, 3)));
    let beside = Mount::new(&store);
    let mount = Mount::writable(&store, &["--freeze-after", "1000"]);
    let tell = || -> Value {
        let told = packfs!("info", "--live", "--json", mount.path()).run().ok();
        serde_json::from_str(&told.text()).unwrap()
    };
    fs::write(mount.path().join("b"), noise(70_000, 4)).unwrap();
    let told = tell();
    assert_eq!(told.pointer("/changes/spool").unwrap(), 70_000);
    assert_eq!(told.pointer("/commits/done").unwrap(), 0);
    packfs!("flush", mount.path()).run().ok();
    let told = tell();
    assert_eq!(told.pointer("/changes/spool").unwrap(), 0);
    assert_eq!(told.pointer("/changes/inodes").unwrap(), 0);
    assert_eq!(told.pointer("/commits/done").unwrap(), 1);
    let text = packfs!("info", "--live", mount.path()).run().ok().text();
    assert!(text.contains("not packed   0 B of"), "{text}");
    // One beside it, of what was before, tells of itself.
    let text = packfs!("info", "--live", beside.path()).run().ok().text();
    assert!(text.contains("look-ups"), "{text}");
}

#[test]
fn who_asks_a_mount_that_does_not_answer_can_be_interrupted() {
    let (_scratch, store) = with_store(|at| at.file("a", "packed"));
    let mount = Mount::writable(&store, &["--freeze-after", "1000"]);
    mount.daemon().signal(rustix::process::Signal::STOP);
    for command in ["gc", "flush"] {
        let asking = packfs!(command, store).start();
        assert!(!asking.ends_within(Duration::from_millis(300)));
        asking.signal(rustix::process::Signal::INT);
        let ended = asking.ends_within(crate::support::patience());
        if !ended {
            mount.daemon().signal(rustix::process::Signal::CONT);
        }
        assert!(ended, "{command} goes on");
        assert!(asking.wait().interrupted(), "{command}");
    }
    mount.daemon().signal(rustix::process::Signal::CONT);
}

#[test]
fn flush_tells_why_there_is_nothing_to_flush() {
    let (scratch, store, folder) = written();
    let others = packfs!("flush", scratch.join("none")).run();
    others.fails(1, &["none", "not found"]);
    packfs!("snapshot", "list", folder).run().fails(1, &["is where", "store", "name that"]);
    let small = ["--spool", "4K"];
    packfs!("mount", "--rw", store, folder).args(small).run().fails(2, &["--spool"]);
    unmount_once_free(&folder).unwrap();
    packfs!("flush", store).run().fails(1, &["is not mounted with --rw"]);
    let image = scratch.join("image.pfs");
    packfs!("copy", store, image).run().ok();
    packfs!("flush", image).run().fails(1, &["image"]);
    let mount = Mount::writable(&store, &["--freeze-after", "1000"]);
    fs::write(mount.path().join("b"), "written").unwrap();
    fs::File::open(mount.path().join("b")).unwrap().sync_all().unwrap();
    mount.kill();
    packfs!("flush", store).run().fails(1, &["ended without a commit"]);
    // Who has nowhere to mount it packs nothing.
    let before = super::roots(&store).len();
    packfs!("mount", "--rw", store, scratch.join("none")).run().fails(1, &["no such folder"]);
    assert_eq!(super::roots(&store).len(), before);
    for backup in ["backup", "backup.pfs"] {
        let outcome = packfs!("copy", store, scratch.join(backup)).run().ok().to_string();
        assert!(outcome.contains("not packed yet"), "{outcome}");
    }
}

#[test]
fn a_folder_is_mounted_on_from_within() {
    let (scratch, store) = with_store(|at| at.file("a", "packed"));
    need_fuse();
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    for options in [&["--rw"][..], &[]] {
        packfs!("mount", store, ".").args(options).within(&folder).run().ok();
        assert!(folder.join("a").exists());
        unmount_once_free(&folder).unwrap();
    }
}

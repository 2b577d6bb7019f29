//! Mounts that follow what is added to their store.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::tree::Folder;
use crate::support::{Mount, Scratch, assert_same, exact, patience};

fn with_store() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).folder("source", |at| {
        at.file("stays", noise(300_000, 1));
        at.file("edited", noise(100_000, 2));
        at.file("grows", "short");
        at.file("goes", "away");
        at.folder("folder", |at| at.file("inside", "1"));
        at.symlink("link", "stays");
    });
    let store = scratch.join("store");
    packfs!("create", scratch.join("source"), store).run().ok();
    (scratch, store)
}

fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + patience();
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn stamp(path: &Path) {
    let time = Timespec { tv_sec: 1_600_000_000, tv_nsec: 7 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

#[test]
fn what_is_committed_is_shown_whatever_the_kernel_kept() {
    let (scratch, store) = with_store();
    stamp(&scratch.join("source/edited"));
    packfs!("add", store, scratch.join("source/edited")).run().ok();
    let shown = Mount::with(&store, &["-o", "follow"]);
    let folder = shown.path();
    let edited = fs::File::open(folder.join("edited")).unwrap();
    // All of it is in the kernel's caches, and that `new` is not there.
    assert_same(&scratch.join("source"), folder, &exact());
    assert!(!folder.join("new").exists());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(fs::read(folder.join("stays")).unwrap(), noise(300_000, 1));
            }
        });
        let mount = Mount::writable(&store, &[]);
        let at = mount.path();
        fs::write(at.join("new"), noise(50_000, 3)).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(at.join("edited"))
            .unwrap()
            .write_all_at(b"other", 70_000)
            .unwrap();
        // Length and time are as before.
        stamp(&at.join("edited"));
        fs::write(at.join("grows"), noise(20_000, 4)).unwrap();
        fs::remove_file(at.join("goes")).unwrap();
        fs::rename(at.join("folder"), at.join("moved")).unwrap();
        fs::remove_file(at.join("link")).unwrap();
        fs::create_dir(at.join("link")).unwrap();
        packfs!("flush", at).run().ok();
        await_that("the new root is shown", || folder.join("new").exists());
        let mut part = [0; 5];
        await_that("the kernel forgot what it kept", || {
            edited.read_exact_at(&mut part.clone(), 70_000).is_ok()
                && fs::read(folder.join("edited")).unwrap()[70_000..70_005] == *b"other"
                && !folder.join("goes").exists()
                && folder.join("link").is_dir()
        });
        edited.read_exact_at(&mut part, 70_000).unwrap();
        assert_eq!(part, *b"other");
        thread::sleep(Duration::from_millis(1100));
        assert_same(at, folder, &exact());
        drop(mount);
        stop.store(true, Ordering::Relaxed);
    });
    // And what others add, and collect.
    Folder::open(scratch.path()).file("late", "late");
    packfs!("add", store, scratch.join("late")).run().ok();
    await_that("what was added is shown", || folder.join("late").exists());
    packfs!("gc", store).run().ok();
    assert_eq!(fs::read(folder.join("late")).unwrap(), b"late");
    let told = packfs!("info", "--live", folder).run().ok().text();
    assert!(told.contains("for 0 s") || told.contains("look-ups"), "{told}");
}

#[test]
fn a_file_that_is_open_while_another_takes_its_place_is_stale() {
    let (_scratch, store) = with_store();
    let shown = Mount::with(&store, &["-o", "follow"]);
    let open = fs::File::open(shown.path().join("goes")).unwrap();
    let mount = Mount::writable(&store, &[]);
    fs::remove_file(mount.path().join("goes")).unwrap();
    packfs!("flush", mount.path()).run().ok();
    await_that("the new root is shown", || !shown.path().join("goes").exists());
    let stale = Some(rustix::io::Errno::STALE.raw_os_error());
    await_that("the kernel asks", || open.read_at(&mut [0; 1], 0).is_err());
    assert_eq!(open.read_at(&mut [0; 1], 0).unwrap_err().raw_os_error(), stale);
    assert_eq!(open.metadata().unwrap_err().raw_os_error(), stale);
}

#[test]
fn what_cannot_follow_says_so() {
    let (scratch, store) = with_store();
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    packfs!("snapshot", "create", store, "one").run().ok();
    for options in [["--rw", "-ofollow"], ["--snapshot=one", "-ofollow"]] {
        packfs!("mount", store, folder).args(options).run().fails(2, &["follow"]);
    }
    let image = scratch.join("image.pfs");
    packfs!("copy", store, image).run().ok();
    packfs!("mount", image, folder, "-ofollow").run().fails(1, &["image.pfs", "follow"]);
}

#[test]
fn a_commit_leaves_what_is_inflated_where_it_is() {
    let (_scratch, store) = with_store();
    let mount = Mount::writable(&store, &["--freeze-after", "1000"]);
    let tell = |what: &str| {
        let told = packfs!("info", "--live", "--json", mount.path()).run().ok().text();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        told.pointer(what).unwrap().as_u64().unwrap()
    };
    assert_eq!(fs::read(mount.path().join("stays")).unwrap(), noise(300_000, 1));
    let held = tell("/working_set/bytes");
    assert!(held > 300_000, "{held}");
    fs::write(mount.path().join("new"), noise(5_000, 3)).unwrap();
    packfs!("flush", mount.path()).run().ok();
    assert!(tell("/working_set/bytes") >= held);
}

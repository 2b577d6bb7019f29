//! Ctrl-C at any moment leaves nothing half-made.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::mount::{await_mount, is_mounted, need_fuse};
use crate::support::tree::Folder;
use crate::support::{Packfs, Scratch, assert_same, exact};

/// A tree that takes packfs a moment.
fn with_source() -> Scratch {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).folder("source", |at| {
        // Several large files: readers wait for one another, and must not do so for ever.
        (0..4).for_each(|n| at.file(format!("noise-{n}"), noise(8 << 20, n)));
        at.folder("many", |at| {
            (0..2000).for_each(|n| at.file(format!("file-{n}"), noise(3000, n)));
        });
    });
    scratch
}

/// Runs `packfs` several times, and interrupts each a little later than the one before, until one
/// is through. After each, `dest` is whole or not there at all.
fn interrupt_all_along(scratch: &Scratch, dest: &Path, packfs: impl Fn() -> Packfs) {
    const MOMENTS: u32 = 12;
    let names = scratch.names();
    let start = Instant::now();
    packfs().run().ok();
    let takes = start.elapsed();
    let whole = summary(dest);
    remove(dest);
    let mut interrupted = 0;
    for moment in 0..MOMENTS {
        let running = packfs().start();
        // There is no event to await: the moment is to be any.
        sleep(takes * moment / MOMENTS);
        running.signal(Signal::INT);
        let outcome = running.wait();
        if outcome.status.success() {
            assert_eq!(summary(dest), whole, "{outcome}");
            remove(dest);
        } else {
            assert!(outcome.interrupted(), "{outcome}");
            interrupted += 1;
        }
        assert_eq!(scratch.names(), names, "left behind at moment {moment}: {outcome}");
    }
    assert!(interrupted > 1, "{interrupted} of {MOMENTS}");
}

/// Enough to tell a whole thing from a part: the size of an image, the names in a folder.
fn summary(dest: &Path) -> (u64, usize) {
    let names = fs::read_dir(dest).map(Iterator::count).unwrap_or_default();
    let length = if dest.is_file() { fs::metadata(dest).unwrap().len() } else { 0 };
    (length, names)
}

fn remove(dest: &Path) {
    if dest.is_dir() { fs::remove_dir_all(dest) } else { fs::remove_file(dest) }.unwrap();
}

#[test]
fn creating_an_image() {
    let scratch = with_source();
    let dest = scratch.join("image.pfs");
    interrupt_all_along(&scratch, &dest, || packfs!("create", scratch.join("source"), dest));
}

#[test]
fn creating_a_store() {
    let scratch = with_source();
    let dest = scratch.join("store");
    interrupt_all_along(&scratch, &dest, || packfs!("create", scratch.join("source"), dest));
}

#[test]
fn creating_from_a_tar() {
    let scratch = with_source();
    let whole = scratch.join("whole.pfs");
    packfs!("create", scratch.join("source"), whole).run().ok();
    fs::write(scratch.join("tar"), packfs!("extract", whole, "-").run().ok().stdout).unwrap();
    let dest = scratch.join("image.pfs");
    let tar = || fs::File::open(scratch.join("tar")).unwrap();
    interrupt_all_along(&scratch, &dest, || packfs!("create", "-", dest).stdin(tar()));
}

#[test]
fn waiting_for_a_tar_that_does_not_come() {
    let scratch = Scratch::new();
    let (silent, _writer) = std::io::pipe().unwrap();
    let silent = fs::File::from(std::os::fd::OwnedFd::from(silent));
    let running = packfs!("create", "-", scratch.join("image.pfs")).stdin(silent).start();
    while scratch.names().is_empty() {
        sleep(Duration::from_millis(5));
    }
    running.signal(Signal::INT);
    let outcome = running.wait();
    assert!(outcome.interrupted(), "{outcome}");
    assert!(scratch.names().is_empty(), "left behind");
}

#[test]
fn extracting() {
    let scratch = with_source();
    let image = scratch.join("image.pfs");
    packfs!("create", scratch.join("source"), image).run().ok();
    let dest = scratch.join("out");
    interrupt_all_along(&scratch, &dest, || packfs!("extract", image, dest));
}

#[test]
fn an_interrupt_under_force_leaves_the_old_archive() {
    let scratch = with_source();
    let image = scratch.join("image.pfs");
    let small = scratch.join("source/many");
    packfs!("create", small, image).run().ok();
    let old = fs::read(&image).unwrap();
    for milliseconds in [20, 60, 120] {
        let running = packfs!("create", "--force", scratch.join("source"), image).start();
        sleep(Duration::from_millis(milliseconds));
        running.signal(Signal::INT);
        let outcome = running.wait();
        if outcome.status.success() {
            break;
        }
        assert!(outcome.interrupted(), "{outcome}");
        assert!(fs::read(&image).unwrap() == old, "the old archive is gone");
        assert_eq!(scratch.names(), ["image.pfs", "source"]);
    }
}

#[test]
fn signals_unmount_a_foreground_mount() {
    need_fuse();
    let scratch = with_source();
    let (image, folder) = (scratch.join("image.pfs"), scratch.join("mount"));
    packfs!("create", scratch.join("source"), image).run().ok();
    fs::create_dir(&folder).unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        let running = packfs!("mount", "--foreground", image, folder).start();
        assert!(await_mount(&folder, &running), "{}", running.stderr());
        assert_same(&scratch.join("source/many"), &folder.join("many"), &exact());
        running.signal(signal);
        let outcome = running.wait();
        assert_eq!(outcome.status.code(), Some(0), "{outcome}");
        assert!(!is_mounted(&folder), "{signal:?}");
    }
}

#[test]
fn an_interrupt_while_mounting_leaves_no_mount() {
    need_fuse();
    let scratch = with_source();
    let (image, folder) = (scratch.join("image.pfs"), scratch.join("mount"));
    packfs!("create", scratch.join("source"), image).run().ok();
    fs::create_dir(&folder).unwrap();
    for milliseconds in [0, 1, 2, 4, 8, 16, 32] {
        let running = packfs!("mount", "--foreground", image, folder).start();
        sleep(Duration::from_millis(milliseconds));
        running.signal(Signal::INT);
        let outcome = running.wait();
        assert!(outcome.status.success() || outcome.interrupted(), "{outcome}");
        assert!(!is_mounted(&folder), "after {milliseconds} ms");
    }
}

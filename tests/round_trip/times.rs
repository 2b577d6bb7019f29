//! Access and change times, which are kept only where they are asked for.

use std::fs;
use std::os::unix::fs::MetadataExt;

use packfs::compare::CompareOptions;

use crate::support::command::packfs;
use crate::support::tree::Folder;
use crate::support::{Mount, Scratch, assert_same, exact};

fn source() -> Scratch {
    let scratch = Scratch::new();
    let top = Folder::open(scratch.path());
    top.folder("source", |at| {
        at.folder("folder", |at| at.file("file", "inside"));
        at.file("file", "content");
        // No symlink: the kernel notes that its target was read, and nobody can ask it not to.
        at.accessed("file", 1_111_111_111, 222_222_222);
    });
    scratch
}

#[test]
fn all_times_are_kept_on_request() {
    let scratch = source();
    let image = scratch.join("image.pfs");
    packfs!("create", "--all-times", scratch.join("source"), image).run().ok();
    let all = CompareOptions { atimes: true, ctimes: true, ..exact() };
    let mount = Mount::new(&image);
    mount.assert_same(&scratch.join("source"), &all);
    let file = fs::metadata(mount.path().join("file")).unwrap();
    assert_eq!((file.atime(), file.atime_nsec()), (1_111_111_111, 222_222_222));
    // Nobody can set a ctime.
    packfs!("extract", image, scratch.join("out")).run().ok();
    let settable = CompareOptions { atimes: true, ..exact() };
    assert_same(&scratch.join("source"), &scratch.join("out"), &settable);
}

#[test]
fn without_it_the_mtime_stands_for_all() {
    let scratch = source();
    let image = scratch.join("image.pfs");
    packfs!("create", scratch.join("source"), image).run().ok();
    let mount = Mount::new(&image);
    let file = fs::metadata(mount.path().join("file")).unwrap();
    let mtime = (file.mtime(), file.mtime_nsec());
    assert_eq!((file.atime(), file.atime_nsec()), mtime);
    assert_eq!((file.ctime(), file.ctime_nsec()), mtime);
}

#[test]
fn creating_leaves_no_trace_in_access_times() {
    let scratch = source();
    let accessed = || {
        let metadata = fs::metadata(scratch.join("source/file")).unwrap();
        (metadata.atime(), metadata.atime_nsec())
    };
    packfs!("create", scratch.join("source"), scratch.join("image.pfs")).run().ok();
    assert_eq!(accessed(), (1_111_111_111, 222_222_222));
}

//! Access and change times, which are kept only where they are asked for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use packfs::compare::CompareOptions;

use crate::support::command::packfs;
use crate::support::tree::Folder;
use crate::support::{Mount, Scratch, exact};

fn source() -> Scratch {
    let scratch = Scratch::new();
    let top = Folder::open(scratch.path());
    top.folder("source", |at| {
        at.folder("folder", |at| at.file("file", "inside"));
        at.file("file", "content");
        at.symlink("symlink", "file");
        at.accessed("file", 1_111_111_111, 222_222_222);
    });
    scratch
}

/// The access time of everything below the source, or a copy of it.
fn atimes(top: &Path) -> BTreeMap<&'static str, (i64, i64)> {
    let paths = ["", "folder", "folder/file", "file", "symlink"];
    let atime = |path| {
        let stat = fs::symlink_metadata(top.join(path)).unwrap();
        (path, (stat.atime(), stat.atime_nsec()))
    };
    paths.into_iter().map(atime).collect()
}

#[test]
fn all_times_are_kept_on_request() {
    let scratch = source();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    let before = atimes(&source);
    assert_eq!(before["file"], (1_111_111_111, 222_222_222));
    packfs!("create", "--all-times", source, image).run().ok();
    let mount = Mount::new(&image);
    assert_eq!(atimes(mount.path()), before);
    mount.assert_same(&source, &CompareOptions { ctimes: true, ..exact() });
    // Nobody can set a ctime.
    packfs!("extract", image, scratch.join("out")).run().ok();
    assert_eq!(atimes(&scratch.join("out")), before);
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

/// Else a second archive with all times would not be the first.
#[test]
fn creating_leaves_no_trace_in_access_times() {
    let scratch = source();
    let before = atimes(&scratch.join("source"));
    packfs!("create", scratch.join("source"), scratch.join("image.pfs")).run().ok();
    let mut after = atimes(&scratch.join("source"));
    // The kernel knows no way to read a symlink without one.
    after.insert("symlink", before["symlink"]);
    assert_eq!(after, before);
}

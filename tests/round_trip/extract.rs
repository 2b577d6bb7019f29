//! Files and folders taken out of an archive.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use super::small;
use crate::support::command::packfs;
use crate::support::{Packfs, Scratch, assert_same, exact, hostile};

#[test]
fn an_extracted_image_equals_its_source() {
    let scratch = Scratch::new();
    packfs!("extract", hostile::image(), scratch.join("out")).run().ok();
    let entries = assert_same(hostile::folder(), &scratch.join("out"), &exact());
    assert!(entries > 20_000, "{entries}");
}

#[test]
fn an_extracted_store_equals_its_source() {
    let scratch = Scratch::new();
    packfs!("extract", hostile::store(), scratch.join("out")).run().ok();
    assert_same(hostile::folder(), &scratch.join("out"), &exact());
}

#[test]
fn an_empty_archive_extracts_to_an_empty_folder() {
    let (scratch, source, image) = small(|_| ());
    packfs!("extract", image, scratch.join("out")).run().ok();
    assert_eq!(assert_same(&source, &scratch.join("out"), &exact()), 1);
}

#[test]
fn only_the_paths_asked_for_are_extracted() {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let paths = ["xattrs", "holes/middle", "links/elsewhere"];
    packfs!("extract", hostile::image(), out).args(paths).run().ok();
    let source = hostile::folder();
    assert_same(&source.join("xattrs"), &out.join("xattrs"), &exact());
    let middle = [source, &out].map(|top| fs::read(top.join("holes/middle")).unwrap());
    assert_eq!(middle[0], middle[1]);
    let names = |folder: &str| {
        let entries = fs::read_dir(out.join(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["holes", "links", "xattrs"]);
    assert_eq!(names("holes"), ["middle"]);
    assert_eq!(names("links"), ["elsewhere"]);
    assert_eq!(names("links/elsewhere"), ["fifo-too", "inside", "symlink-too", "three"]);
    // Its other names were not asked for.
    assert_eq!(fs::metadata(out.join("links/elsewhere/three")).unwrap().nlink(), 1);
}

#[test]
fn cat_writes_files_one_after_another() {
    let source = hostile::folder();
    for path in ["content/40-mib", "holes/islands", "lengths/noise-65537", "links/two"] {
        let out = packfs!("cat", hostile::image(), path).run().ok().stdout;
        assert_eq!(out, fs::read(source.join(path)).unwrap(), "{path}");
    }
    let out = packfs!("cat", hostile::store(), "modes/file-0444", "kinds/file").run().ok();
    assert_eq!(out.text(), "0444a file");
}

#[test]
fn cat_takes_names_of_any_bytes() {
    let names: [&[u8]; 4] = [b"names/\xff", b"names/line\nbreak", b"names/-rf", b"names/star*"];
    for path in names {
        let out = Packfs::new()
            .args(["cat", "--"])
            .arg(hostile::image())
            .arg(OsStr::from_bytes(path))
            .run()
            .ok();
        let expected = fs::read(hostile::folder().join(OsStr::from_bytes(path))).unwrap();
        assert_eq!(out.stdout, expected, "{}", path.escape_ascii());
    }
}

#[test]
fn paths_that_overlap_are_extracted_once() {
    let (scratch, _, image) = small(|at| {
        at.folder("folder", |at| {
            at.file("first", "the same file");
            at.link("second", at, "first");
        });
    });
    let out = scratch.join("out");
    for force in [&[][..], &["--force"]] {
        packfs!("extract", image, out).args(force).args(["folder", "folder/first"]).run().ok();
        for name in ["first", "second"] {
            let content = fs::read(out.join("folder").join(name)).unwrap();
            assert_eq!(content, b"the same file", "{name} {force:?}");
        }
    }
}

//! Tars, in and out.

use std::path::Path;

use packfs::compare::CompareOptions;

use super::{create, small};
use crate::support::command::{Outcome, packfs};
use crate::support::tree::Folder;
use crate::support::{Mount, Packfs, Scratch, assert_same, exact, hostile};

/// A tar has no place for sockets.
fn through_tar() -> CompareOptions {
    CompareOptions { sockets: false, ..exact() }
}

#[test]
fn a_tar_of_an_archive_makes_the_same_archive() {
    let scratch = Scratch::new();
    let image = scratch.join("image.pfs");
    let outcomes = packfs!("extract", "--ignore-errors", hostile::image(), "-")
        .pipe_into(packfs!("create", "-", image));
    outcomes.into_iter().for_each(|outcome| _ = outcome.ok());
    Mount::new(&image).assert_same(hostile::folder(), &through_tar());
}

#[test]
fn gnu_tar_reads_what_packfs_writes() {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    std::fs::create_dir(&out).unwrap();
    // Names too long for it: it opens whole paths.
    let tar = Packfs::program("tar")
        .args(["--extract", "--preserve-permissions", "--numeric-owner", "--acls", "--xattrs"])
        .args(["--xattrs-include=*", "--exclude=./deep", "--exclude=deep", "--directory"])
        .arg(&out);
    let outcomes = packfs!("extract", "--ignore-errors", hostile::image(), "-").pipe_into(tar);
    outcomes.into_iter().for_each(|outcome| _ = outcome.ok());
    for part in ["links", "modes", "holes", "names", "lengths", "content", "many", "times"] {
        assert_same(&hostile::folder().join(part), &out.join(part), &through_tar());
    }
    for part in ["kinds", "xattrs", "symlinks"] {
        assert_same(&hostile::folder().join(part), &out.join(part), &through_tar());
    }
}

#[track_caller]
fn assert_extracts_as(image: &Path, source: &Path, options: &CompareOptions) {
    let scratch = Scratch::new();
    packfs!("extract", image, scratch.join("out")).run().ok();
    assert_same(source, &scratch.join("out"), options);
}

/// GNU tar of a folder, into `packfs create`.
fn from_gnu_tar(arguments: &[&str], source: &Path, image: &Path) {
    let tar = Packfs::program("tar")
        .args(["--create", "--numeric-owner"])
        .args(arguments)
        .arg("--directory")
        .args([source.as_os_str(), ".".as_ref()]);
    let [created, tar] = tar.pipe_into(packfs!("create", "-", image));
    created.ok();
    tar.ok();
}

#[test]
fn packfs_reads_what_gnu_tar_writes() {
    for (format, granularity) in [("posix", 1), ("gnu", 1_000_000_000)] {
        let scratch = Scratch::new();
        let image = scratch.join("image.pfs");
        let format = format!("--format={format}");
        for part in ["names", "lengths", "content", "symlinks"] {
            let source = hostile::folder().join(part);
            from_gnu_tar(&[&format], &source, &image);
            let options = CompareOptions { granularity, ..through_tar() };
            assert_extracts_as(&image, &source, &options);
            std::fs::remove_file(&image).unwrap();
        }
    }
}

#[test]
fn hard_links_come_through_gnu_tar() {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    // GNU tar itself keeps no links of FIFOs and devices.
    Folder::open(scratch.path()).folder("source", |at| {
        at.file("z", "content");
        at.folder("below", |below| below.link("y", at, "z"));
        at.link("a", at, "z");
        at.symlink("symlink", "a");
        at.link("symlink-too", at, "symlink");
    });
    from_gnu_tar(&["--format=posix"], &source, &image);
    assert_extracts_as(&image, &source, &through_tar());
}

#[test]
fn holes_come_through_gnu_tars_sparse_formats() {
    let posix = |version| vec!["--sparse", "--format=posix", version];
    let formats = [
        (vec!["--sparse", "--format=gnu"], 1_000_000_000),
        (posix("--sparse-version=0.0"), 1),
        (posix("--sparse-version=0.1"), 1),
        (posix("--sparse-version=1.0"), 1),
    ];
    for (arguments, granularity) in formats {
        let scratch = Scratch::new();
        let image = scratch.join("image.pfs");
        let source = hostile::folder().join("holes");
        from_gnu_tar(&arguments, &source, &image);
        let options = CompareOptions { granularity, ..through_tar() };
        assert_extracts_as(&image, &source, &options);
    }
}

#[test]
fn attributes_come_through_gnu_tar() {
    let scratch = Scratch::new();
    let image = scratch.join("image.pfs");
    let source = hostile::folder().join("xattrs");
    let arguments = ["--format=posix", "--xattrs", "--xattrs-include=*", "--acls"];
    from_gnu_tar(&arguments, &source, &image);
    assert_extracts_as(&image, &source, &through_tar());
}

#[test]
fn a_tar_and_its_folder_give_the_same_image() {
    let (scratch, source, image) = small(|at| {
        at.file("file", "content");
        at.folder("folder", |at| at.file("empty", ""));
        at.symlink("symlink", "file");
    });
    let [from_tar, again] = ["from-tar.pfs", "again.pfs"].map(|name| scratch.join(name));
    let outcomes = packfs!("extract", image, "-").pipe_into(packfs!("create", "-", from_tar));
    outcomes.into_iter().for_each(|outcome| _ = outcome.ok());
    create(&source, &again);
    let [from_tar, again] = [from_tar, again].map(|path| std::fs::read(path).unwrap());
    assert_eq!(again, std::fs::read(&image).unwrap());
    assert!(from_tar == again, "the image of the tar is another");
}

#[test]
fn sockets_are_told_to_be_left_out_of_a_tar() {
    let outcome = packfs!("extract", hostile::image(), "-", "kinds").run();
    assert_eq!(outcome.status.code(), Some(1), "{outcome}");
    let told = |line: &str| line.starts_with("packfs: kinds/socket: ");
    assert!(outcome.stderr.lines().any(told), "{outcome}");
}

/// A tar of one file under this name, into `packfs create`.
fn from_tar_of(name: &str, image: &Path) -> Outcome {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).file("file", "content");
    let tar = Packfs::program("tar")
        .args(["--create", "--absolute-names"])
        .arg(format!("--transform=s,^file$,{name},"))
        .arg("--directory")
        .args([scratch.path().as_os_str(), "file".as_ref()]);
    let [created, tar] = tar.pipe_into(packfs!("create", "-", image));
    tar.ok();
    created
}

#[test]
fn paths_that_lead_up_are_left_out_and_told() {
    let scratch = Scratch::new();
    let image = scratch.join("image.pfs");
    for name in ["../escaped", "a/../../escaped", "a/.."] {
        let outcome = from_tar_of(name, &image);
        assert_eq!(outcome.status.code(), Some(1), "{outcome}");
        assert!(outcome.stderr.contains(name), "{outcome}");
        assert!(!packfs!("ls", "-R", image).run().ok().text().contains("escaped"));
        std::fs::remove_file(&image).unwrap();
    }
}

#[test]
fn absolute_paths_lie_below_the_top_of_the_archive() {
    let scratch = Scratch::new();
    let image = scratch.join("image.pfs");
    from_tar_of("/very/far/off", &image).ok();
    assert_eq!(packfs!("cat", image, "very/far/off").run().ok().text(), "content");
    packfs!("extract", image, scratch.join("out")).run().ok();
    assert_eq!(std::fs::read(scratch.join("out/very/far/off")).unwrap(), b"content");
}

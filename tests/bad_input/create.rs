//! `create` where it cannot.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::{fill, with_source};
use crate::support::command::packfs;
use crate::support::tree::Folder;
use crate::support::{Packfs, Scratch, hostile, is_root, layout};

#[test]
fn a_source_that_is_missing() {
    let scratch = Scratch::new();
    for dest in ["image.pfs", "store"] {
        packfs!("create", scratch.join("gone"), scratch.join(dest))
            .run()
            .fails(1, &["gone", "not found"]);
    }
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn a_source_that_is_a_file() {
    let scratch = with_source();
    packfs!("create", scratch.join("source/file"), scratch.join("image.pfs"))
        .run()
        .fails(1, &["source/file"]);
    assert_eq!(scratch.names(), ["source"]);
}

#[test]
fn a_source_that_is_unreadable() {
    let scratch = Scratch::public();
    fill(&scratch);
    fs::set_permissions(scratch.join("source"), fs::Permissions::from_mode(0o000)).unwrap();
    Packfs::as_nobody()
        .args(["create".as_ref(), scratch.join("source").as_path()])
        .arg(scratch.join("image.pfs"))
        .run()
        .fails(1, &["source", "permission denied"]);
    assert_eq!(scratch.names(), ["source"]);
}

#[test]
fn a_destination_inside_the_source() {
    let scratch = with_source();
    let source = scratch.join("source");
    symlink(source.join("folder"), scratch.join("detour")).unwrap();
    let before = fs::read_dir(&source).unwrap().count();
    for dest in ["source/image.pfs", "source/store", "source/folder/x.pfs", "detour/x.pfs"] {
        packfs!("create", source, scratch.join(dest)).run().fails(1, &["inside"]);
    }
    packfs!("create", ".", "x.pfs").within(&source).run().fails(1, &["inside"]);
    packfs!("create", "../source", "folder/x.pfs").within(&source).run().fails(1, &["inside"]);
    packfs!("create", "--force", source, source).run().fails(1, &["source"]);
    assert_eq!(fs::read_dir(&source).unwrap().count(), before);
    assert_eq!(fs::read_dir(source.join("folder")).unwrap().count(), 1);
}

#[test]
fn a_destination_that_is_there_already() {
    let scratch = with_source();
    fs::write(scratch.join("image.pfs"), "precious").unwrap();
    fs::create_dir(scratch.join("store")).unwrap();
    fs::write(scratch.join("store/precious"), "too").unwrap();
    for dest in ["image.pfs", "store"] {
        packfs!("create", scratch.join("source"), scratch.join(dest))
            .run()
            .fails(1, &[dest, "already", "not a packfs archive"]);
    }
    assert_eq!(fs::read(scratch.join("image.pfs")).unwrap(), b"precious");
    assert_eq!(fs::read(scratch.join("store/precious")).unwrap(), b"too");
    assert_eq!(scratch.names(), ["image.pfs", "source", "store"]);
}

#[test]
fn force_replaces_an_archive_and_nothing_else() {
    let scratch = with_source();
    for dest in ["image.pfs", "store"] {
        let path = scratch.join(dest);
        packfs!("create", scratch.join("source"), path).run().ok();
        packfs!("create", scratch.join("source"), path).run().fails(1, &["already", "--force"]);
        let first = layout::load(&path);
        fs::write(scratch.join("source/file"), dest).unwrap();
        packfs!("create", "--force", scratch.join("source"), path).run().ok();
        assert_ne!(layout::load(&path), first);
        assert_eq!(packfs!("cat", path, "file").run().ok().text(), dest);
        let unused = packfs!("cat", path, "gone").run();
        unused.fails(1, &["gone"]);
    }
    assert_eq!(scratch.names(), ["image.pfs", "source", "store"]);
    let roots = fs::read_dir(scratch.join("store/roots")).unwrap().count();
    assert_eq!(roots, 1, "the old archive is still in the new one");
}

#[test]
fn a_failure_under_force_leaves_the_old_archive() {
    let scratch = with_source();
    let image = scratch.join("image.pfs");
    packfs!("create", scratch.join("source"), image).run().ok();
    let before = fs::read(&image).unwrap();
    packfs!("create", "--force", scratch.join("gone"), image).run().fails(1, &["gone"]);
    let garbage = scratch.join("garbage");
    fs::write(&garbage, hostile::noise(100_000, 3)).unwrap();
    packfs!("create", "--force", "-", image)
        .stdin(File::open(&garbage).unwrap())
        .run()
        .fails(1, &[]);
    assert_eq!(fs::read(&image).unwrap(), before);
    assert_eq!(scratch.names(), ["garbage", "image.pfs", "source"]);
}

#[test]
fn a_destination_in_a_folder_that_is_missing_or_closed() {
    let scratch = Scratch::public();
    fill(&scratch);
    packfs!("create", scratch.join("source"), scratch.join("gone/image.pfs"))
        .run()
        .fails(1, &["gone", "no such file"]);
    fs::create_dir(scratch.join("closed")).unwrap();
    fs::set_permissions(scratch.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    for dest in ["closed/image.pfs", "closed/store"] {
        Packfs::as_nobody()
            .args(["create".as_ref(), scratch.join("source").as_path()])
            .arg(scratch.join(dest))
            .run()
            .fails(1, &["closed", "permission denied"]);
    }
    assert_eq!(scratch.names(), ["closed", "source"]);
}

#[test]
fn a_disk_that_gets_full() {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).folder("source", |at| {
        (0..4).for_each(|n| at.file(format!("noise-{n}"), hostile::noise(8 << 20, n)));
    });
    fs::create_dir(scratch.join("disk")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=4m none "$1"
        code=0
        "$PACKFS" create "$2" "$1/$3" || code=$?
        ls -A "$1"
        exit "$code"
    "#;
    for dest in ["image.pfs", "store"] {
        let outcome = Packfs::namespace(script)
            .arg(scratch.join("disk"))
            .arg(scratch.join("source"))
            .arg(dest)
            .run();
        assert_eq!(outcome.text(), "", "left behind on the full disk");
        outcome.fails(1, &[dest, "no space left"]);
    }
}

#[test]
fn a_tar_that_is_none_or_ends_early() {
    let scratch = with_source();
    let image = scratch.join("image.pfs");
    packfs!("create", scratch.join("source"), image).run().ok();
    let tar = packfs!("extract", image, "-").run().ok().stdout;
    fs::remove_file(&image).unwrap();
    let feed = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        packfs!("create", "-", image).stdin(file).run()
    };
    feed(&hostile::noise(10_000, 5)).fails(1, &["tar"]);
    feed(b"\x1f\x8b\x08 this is gzip, it says").fails(1, &["gzip"]);
    let middle = tar.len() / 2;
    feed(&tar[..middle]).fails(1, &["tar"]);
    assert_eq!(scratch.names(), ["source"]);
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let lines: [&[&str]; 7] = [
        &[],
        &["create"],
        &["create", "a"],
        &["create", "a", "b", "c"],
        &["frobnicate"],
        &["ls", "--frobnicate", "x"],
        &["create", "--threads", "many", "a", "b"],
    ];
    for arguments in lines {
        let outcome = Packfs::new().args(arguments).within(Path::new("/")).run();
        assert_eq!(outcome.status.code(), Some(2), "{outcome}");
        assert!(!outcome.stderr.is_empty());
    }
}

#[test]
fn files_that_are_refused_are_told_and_the_rest_is_archived() {
    let scratch = Scratch::public();
    fill(&scratch);
    let closed = [scratch.join("source/file"), scratch.join("source/folder")];
    for path in &closed {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let create = |image: &str| {
        Packfs::as_nobody()
            .args(["create".as_ref(), scratch.join("source").as_path()])
            .arg(scratch.join(image))
    };
    let outcome = create("image.pfs").run();
    assert_eq!(outcome.status.code(), Some(1), "{outcome}");
    for name in ["file", "folder"] {
        let told = |line: &str| line.contains(name) && line.to_lowercase().contains("permission");
        assert!(outcome.stderr.lines().any(told), "nothing about {name}: {outcome}");
    }
    let rest = fs::read(scratch.join("source/noise")).unwrap();
    assert_eq!(packfs!("cat", scratch.join("image.pfs"), "noise").run().ok().stdout, rest);
    packfs!("cat", scratch.join("image.pfs"), "file").run().fails(1, &["file"]);

    create("ignoring.pfs").arg("--ignore-errors").run().ok();
    let [plain, ignoring] = ["image.pfs", "ignoring.pfs"].map(|name| scratch.join(name));
    assert_eq!(fs::read(plain).unwrap(), fs::read(ignoring).unwrap());
    assert!(!is_root() || scratch.names().len() == 3, "{:?}", scratch.names());
}

#[test]
fn force_removes_nothing_but_archives() {
    let scratch = with_source();
    Folder::open(scratch.path()).folder("home", |at| {
        at.file("packfs.toml", "x = 1");
        at.file("letter", "dear");
    });
    fs::write(scratch.join("letter.pfs"), "a letter").unwrap();
    let source = scratch.join("source");
    for dest in ["home", "letter.pfs"] {
        let create = packfs!("create", "--force", source, scratch.join(dest)).run();
        create.fails(1, &[dest, "not a packfs archive"]);
    }
    assert_eq!(fs::read(scratch.join("home/letter")).unwrap(), b"dear");
    assert_eq!(fs::read(scratch.join("letter.pfs")).unwrap(), b"a letter");
    let store = scratch.join("store");
    packfs!("create", source, store).run().ok();
    packfs!("create", "--force", store, store).run().fails(1, &["store", "SRC is DEST"]);
    packfs!("ls", store).run().ok();
}

//! Archives that are none, or not whole, or too new: every command says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use packfs::format::{Config, ENVELOPE_LEN, Section};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use xxhash_rust::xxh3::xxh3_64;

use super::archive;
use crate::support::command::packfs;
use crate::support::mount::is_mounted;
use crate::support::{Packfs, Scratch, hostile};

/// Every command that reads an archive refuses it with one line that has all of `words`.
#[track_caller]
fn assert_refused(archive: &Path, words: &[&str]) {
    let name = archive.file_name().unwrap().to_str().unwrap();
    let words = [&[name], words].concat();
    let scratch = Scratch::new();
    let (out, folder) = (scratch.join("out"), scratch.join("mount"));
    fs::create_dir(&folder).unwrap();
    let limit = Duration::from_secs(20);
    for packfs in [
        packfs!("extract", archive, out),
        packfs!("extract", archive, "-"),
        packfs!("ls", archive),
        packfs!("cat", archive, "file"),
        packfs!("info", archive),
        packfs!("mount", archive, folder),
        packfs!("mount", "--foreground", archive, folder),
    ] {
        let outcome = packfs.limit(limit).run();
        assert!(outcome.stdout.is_empty(), "{outcome}");
        outcome.fails(1, &words);
    }
    assert!(!is_mounted(&folder));
    assert_eq!(scratch.names(), ["mount"]);
}

#[test]
fn an_archive_that_is_missing() {
    let scratch = Scratch::new();
    assert_refused(&scratch.join("gone.pfs"), &["not found"]);
    assert_refused(&scratch.join("gone"), &["not found"]);
}

#[test]
fn an_archive_that_may_not_be_read() {
    let scratch = Scratch::public();
    fs::write(scratch.join("image.pfs"), "any").unwrap();
    fs::set_permissions(scratch.join("image.pfs"), fs::Permissions::from_mode(0o000)).unwrap();
    Packfs::as_nobody()
        .args(["ls".as_ref(), scratch.join("image.pfs").as_path()])
        .run()
        .fails(1, &["image.pfs", "permission denied"]);
}

#[test]
fn an_image_cut_short_anywhere() {
    let (_scratch, image) = archive("image.pfs");
    let whole = fs::read(&image).unwrap();
    let scratch = Scratch::new();
    let cut = scratch.join("cut.pfs");
    let length = whole.len();
    for length in [1, 7, 8, 47, 48, 49, length / 2, length - 33, length - 32, length - 1] {
        fs::write(&cut, &whole[..length]).unwrap();
        assert_refused(&cut, &[]);
    }
    fs::write(&cut, [&whole[..], b"x"].concat()).unwrap();
    assert_refused(&cut, &[]);
}

#[test]
fn an_image_with_a_flipped_bit_in_its_tables() {
    let (_scratch, image) = archive("image.pfs");
    let whole = fs::read(&image).unwrap();
    let contents = crate::support::layout::contents(&whole);
    let scratch = Scratch::new();
    let flipped = scratch.join("flipped.pfs");
    let root = contents.members.iter().find(|member| member.key.starts_with("roots/")).unwrap();
    let root = usize::try_from(root.offset).unwrap();
    let length = whole.len();
    for at in [root, root + 20, root + 60, length - 100, length - 32, length - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&flipped, bytes).unwrap();
        assert_refused(&flipped, &[]);
    }
}

#[test]
fn an_empty_file() {
    let scratch = Scratch::new();
    fs::write(scratch.join("empty.pfs"), b"").unwrap();
    assert_refused(&scratch.join("empty.pfs"), &[]);
}

#[test]
fn files_of_other_programs() {
    let scratch = Scratch::new();
    let foreign: [(&str, &[u8]); 5] = [
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("image.squashfs", b"hsqs\x07\0\0\0"),
        ("text.pfs", b"PFSimag"),
        ("archive.tar", b"file\0\0\0\0\0\0\0\0"),
        ("program", b"\x7fELF\x02\x01\x01"),
    ];
    for (name, start) in foreign {
        fs::write(scratch.join(name), [start, &hostile::noise(5000, 1)].concat()).unwrap();
        assert_refused(&scratch.join(name), &["not a packfs"]);
        fs::write(scratch.join(name), start).unwrap();
        assert_refused(&scratch.join(name), &[]);
    }
}

#[test]
fn folders_that_are_no_store() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("empty")).unwrap();
    assert_refused(&scratch.join("empty"), &["not a packfs"]);
    fs::create_dir_all(scratch.join("other/roots")).unwrap();
    fs::write(scratch.join("other/packfs.toml"), "[package]\nname = \"other\"\n").unwrap();
    assert_refused(&scratch.join("other"), &[]);
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    let scratch = Scratch::new();
    let fifo = scratch.join("fifo.pfs");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_refused(&fifo, &[]);
}

#[test]
fn an_image_of_a_newer_version() {
    let (scratch, image) = archive("image.pfs");
    let mut bytes = fs::read(&image).unwrap();
    assert_eq!(bytes[..8], Section::ImageHead.magic());
    bytes[8] = 2;
    let sum = xxh3_64(&bytes[..ENVELOPE_LEN - 8]);
    bytes[ENVELOPE_LEN - 8..ENVELOPE_LEN].copy_from_slice(&sum.to_le_bytes());
    let newer = scratch.join("newer.pfs");
    fs::write(&newer, bytes).unwrap();
    assert_refused(&newer, &["version 2", "newer", "update packfs"]);
}

#[test]
fn a_store_of_a_newer_version() {
    let (_scratch, store) = archive("store");
    let settings = store.join("packfs.toml");
    let config = Config::decode(&fs::read(&settings).unwrap()).unwrap();
    fs::remove_file(&settings).unwrap();
    fs::write(&settings, Config { format: 2, ..config.clone() }.encode()).unwrap();
    assert_refused(&store, &["version 2", "newer", "update packfs"]);
    let features = Config { incompatible: vec!["time-travel".into()], ..config };
    fs::write(&settings, features.encode()).unwrap();
    assert_refused(&store, &["update packfs"]);
}

#[test]
fn a_store_that_lacks_its_settings_or_its_root() {
    for missing in ["packfs.toml", "roots", "trees", "index"] {
        let (_scratch, store) = archive("store");
        let path = store.join(missing);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        assert_refused(&store, &[]);
    }
}

#[test]
fn paths_that_are_not_in_the_archive() {
    let (scratch, image) = archive("image.pfs");
    let out = scratch.join("out");
    for path in ["gone", "folder/gone", "file/below", "../source", "folder/.."] {
        packfs!("cat", image, path).run().fails(1, &[path]);
        packfs!("extract", image, out, path).run().fails(1, &[path]);
        assert!(!out.exists());
    }
    for command in ["ls", "info"] {
        packfs!(command, image, "gone").run().fails(1, &["gone"]);
    }
    packfs!("cat", image, "folder").run().fails(1, &["folder"]);
}

#[test]
fn a_place_to_extract_to_that_is_not_free() {
    let (scratch, image) = archive("image.pfs");
    fs::write(scratch.join("taken"), "precious").unwrap();
    packfs!("extract", image, scratch.join("taken")).run().fails(1, &["taken"]);
    assert_eq!(fs::read(scratch.join("taken")).unwrap(), b"precious");
    packfs!("extract", image, scratch.join("gone/out")).run().fails(1, &["gone"]);
    assert_eq!(scratch.names(), ["image.pfs", "source", "taken"]);
}

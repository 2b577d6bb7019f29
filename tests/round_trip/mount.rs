//! What a mounted archive shows.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::Path;

use super::small;
use crate::support::hostile::{self, noise};
use crate::support::{Mount, exact};

#[test]
fn a_mounted_image_equals_its_source() {
    let entries = Mount::new(hostile::image()).assert_same(hostile::folder(), &exact());
    assert!(entries > 20_000, "{entries}");
}

#[test]
fn a_mounted_store_equals_its_source() {
    Mount::new(hostile::store()).assert_same(hostile::folder(), &exact());
}

#[test]
fn an_empty_folder_is_an_archive() {
    let (_scratch, source, image) = small(|_| ());
    let mount = Mount::new(&image);
    assert_eq!(mount.assert_same(&source, &exact()), 1);
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
}

/// Inode numbers by path, for a part of the tree that has every kind in it.
fn inodes(top: &Path) -> BTreeMap<Vec<u8>, u64> {
    let mut found = BTreeMap::from([(vec![], fs::metadata(top).unwrap().ino())]);
    for part in ["kinds", "links", "links/elsewhere", "names"] {
        for entry in fs::read_dir(top.join(part)).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let inode = fs::symlink_metadata(&path).unwrap().ino();
            assert_eq!(entry.ino(), inode, "{}: listed with another number", path.display());
            let below = path.strip_prefix(top).unwrap();
            found.insert(below.as_os_str().as_encoded_bytes().to_vec(), inode);
        }
    }
    found
}

#[test]
fn inode_numbers_are_the_same_in_every_mount_and_in_listings() {
    let first = Mount::new(hostile::image()).watch(inodes);
    let second = Mount::new(hostile::image()).watch(inodes);
    assert!(first.len() > 500, "{}", first.len());
    assert_eq!(first, second);
    assert_eq!(Mount::new(hostile::store()).watch(inodes), first);
}

#[test]
fn a_listing_tells_the_kinds_of_its_entries() {
    let listed = |top: &Path| {
        for entry in fs::read_dir(top.join("kinds")).unwrap() {
            let entry = entry.unwrap();
            let kind = fs::symlink_metadata(entry.path()).unwrap().file_type();
            assert_eq!(entry.file_type().unwrap(), kind, "{}", entry.path().display());
        }
    };
    Mount::new(hostile::image()).watch(listed);
}

#[test]
fn any_range_of_a_file_reads_alike() {
    let content = noise(700_000, 11);
    let (_scratch, _, image) = small(|at| at.file("file", &content));
    let mount = Mount::new(&image);
    mount.watch(|folder| {
        let file = File::open(folder.join("file")).unwrap();
        let mut state = 12345_usize;
        for _ in 0..300 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let start = (state >> 20) % 700_000;
            let length = ((state >> 40) % 70_000).min(700_000 - start);
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, start as u64).unwrap();
            assert_eq!(bytes, content[start..start + length], "{start}+{length}");
        }
        assert_eq!(file.read_at(&mut [0; 10], 700_000).unwrap(), 0);
        assert_eq!(file.read_at(&mut [0; 10], 1 << 50).unwrap(), 0);
    });
}

#[test]
fn names_that_are_not_there_are_not_found() {
    let mount = Mount::new(hostile::image());
    mount.watch(|top| {
        for path in ["nothing", "kinds/nothing", "empty/x", "kinds/fil", "kinds/filee"] {
            let error = fs::symlink_metadata(top.join(path)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{path}");
        }
        let error = fs::symlink_metadata(top.join("kinds/file/x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    });
}

#[test]
fn a_mount_takes_no_writes() {
    let mount = Mount::new(hostile::image());
    mount.watch(|top| {
        let errors = [
            File::create(top.join("new")).unwrap_err(),
            File::options().write(true).open(top.join("kinds/file")).unwrap_err(),
            fs::remove_file(top.join("kinds/file")).unwrap_err(),
            fs::create_dir(top.join("folder")).unwrap_err(),
            fs::rename(top.join("kinds/file"), top.join("kinds/other")).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{error}");
        }
    });
}

#[test]
fn many_readers_at_once_read_the_same() {
    let mount = Mount::new(hostile::image());
    mount.watch(|top| {
        std::thread::scope(|scope| {
            for part in ["content", "content", "lengths", "lengths", "holes", "many"] {
                let source = hostile::folder().join(part);
                let target = top.join(part);
                scope.spawn(move || crate::support::assert_same(&source, &target, &exact()));
            }
        });
    });
}

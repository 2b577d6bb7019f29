//! `mount` and `umount` where they cannot.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use packfs::fs::{ArchiveFs, Owner};
use packfs::storage;
use packfs::store::{OpenOptions, Store};
use packfs::tree::ROOT;

use super::{archive, fill};
use crate::support::command::{NOBODY, packfs};
use crate::support::layout::object_keys;
use crate::support::mount::{is_mounted, need_fuse};
use crate::support::{Mount, Packfs, Scratch, is_root};

/// Both ways of mounting fail with one line; nothing is mounted after.
#[track_caller]
fn assert_no_mount(archive: &Path, folder: &Path, words: &[&str]) {
    packfs!("mount", archive, folder).run().fails(1, words);
    packfs!("mount", "--foreground", archive, folder).run().fails(1, words);
}

#[test]
fn a_mount_point_that_is_missing() {
    let (scratch, image) = archive("image.pfs");
    assert_no_mount(&image, &scratch.join("gone"), &["gone", "no such folder"]);
    assert_eq!(scratch.names(), ["image.pfs", "source"]);
}

#[test]
fn a_mount_point_that_is_no_folder() {
    let (scratch, image) = archive("image.pfs");
    fs::write(scratch.join("plain"), "").unwrap();
    assert_no_mount(&image, &scratch.join("plain"), &["plain", "not a folder"]);
    assert!(!is_mounted(&scratch.join("plain")));
}

#[test]
fn a_mount_point_that_is_not_empty() {
    let (scratch, image) = archive("image.pfs");
    assert_no_mount(&image, &scratch.join("source"), &["source", "not empty"]);
    assert!(!is_mounted(&scratch.join("source")));
}

#[test]
fn a_mount_point_that_is_busy() {
    let (_scratch, image) = archive("image.pfs");
    let (_other, empty) = {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("nothing")).unwrap();
        let image = scratch.join("empty.pfs");
        packfs!("create", scratch.join("nothing"), image).run().ok();
        (scratch, image)
    };
    for mounted in [&image, &empty] {
        let mount = Mount::new(mounted);
        assert_no_mount(&image, mount.path(), &["mount"]);
        assert!(is_mounted(mount.path()));
    }
}

#[test]
fn an_index_that_is_damaged() {
    let (scratch, store) = archive("store");
    let key = object_keys(&store).into_iter().find(|key| key.starts_with("index/")).unwrap();
    let mut bytes = fs::read(store.join(&key)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(store.join(&key), bytes).unwrap();
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    // It is read while the folder is mounted: that must come off again.
    for _ in 0..10 {
        assert_no_mount(&store, &folder, &[&key, "damaged"]);
        assert!(!is_mounted(&folder));
    }
    // Who opens it by hand, too, gets no data.
    let storage = storage::open(&store).unwrap();
    let begun = Store::begin(Arc::clone(&storage), OpenOptions::default()).unwrap();
    let files = ArchiveFs::new(Arc::new(begun), Owner::default());
    let file = files.lookup(ROOT, b"file").unwrap().unwrap();
    files.read(file.ino, 0, 1).unwrap_err();
    assert!(files.store().check_index().unwrap_err().to_string().contains(&key));
    Store::open(storage, OpenOptions::default()).unwrap_err();
}

#[test]
fn a_machine_without_fuse() {
    if !is_root() {
        // Only root can take the device away.
        return;
    }
    let (scratch, image) = archive("image.pfs");
    fs::create_dir(scratch.join("mount")).unwrap();
    let script = r#"
        mount -t tmpfs none /dev
        mknod -m 666 /dev/null c 1 3
        exec "$PACKFS" mount $3 "$1" "$2"
    "#;
    for foreground in ["", "--foreground"] {
        Packfs::namespace(script)
            .args([&image, &scratch.join("mount")])
            .arg(foreground)
            .run()
            .fails(1, &["/dev/fuse"]);
    }
}

#[test]
fn a_user_without_fusermount3() {
    if !is_root() {
        // Only root can take the program away, and give others the device.
        return;
    }
    need_fuse();
    let scratch = Scratch::public();
    fill(&scratch);
    let image = scratch.join("image.pfs");
    packfs!("create", scratch.join("source"), image).run().ok();
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    let script = r#"
        mount -t tmpfs none /dev
        mknod -m 666 /dev/null c 1 3
        mknod -m 666 /dev/fuse c 10 229
        for folder in /usr/bin /bin /usr/sbin /sbin /usr/local/bin; do
            for helper in "$folder/fusermount3" "$folder/fusermount"; do
                if [ -e "$helper" ]; then mount --bind /dev/null "$helper"; fi
            done
        done
        nobody="setpriv --reuid 65534 --regid 65534 --clear-groups"
        exec $nobody "$PACKFS" mount $3 "$1" "$2"
    "#;
    for foreground in ["", "--foreground"] {
        let mount = Packfs::namespace(script).args([&image, &folder]).arg(foreground);
        mount.run().fails(1, &["fusermount3: not found"]);
    }
}

#[test]
fn nothing_to_unmount() {
    let scratch = Scratch::new();
    packfs!("umount", scratch.path()).run().fails(1, &["not"]);
    packfs!("umount", scratch.join("gone")).run().fails(1, &["gone"]);
}

#[test]
fn options_that_no_mount_has() {
    let (scratch, image) = archive("image.pfs");
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    for options in ["frobnicate", "uid=nobody-at-all", "uid=-1"] {
        let outcome = packfs!("mount", "-o", options, image, folder).run();
        assert!([Some(1), Some(2)].contains(&outcome.status.code()), "{outcome}");
        assert!(outcome.stderr.contains(options.split('=').next().unwrap()), "{outcome}");
        assert!(!is_mounted(&folder));
    }
}

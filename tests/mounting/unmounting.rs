//! `umount`.

use std::fs::{self, File};
use std::io::Read;

use super::with_image;
use crate::support::command::packfs;
use crate::support::mount::{is_mounted, need_fuse, unmount_once_free};
use crate::support::{Mount, assert_same, exact};

#[test]
fn a_mount_in_use_stays_until_it_is_free() {
    let (_scratch, image, _) = with_image();
    let mount = Mount::new(&image);
    let file = File::open(mount.path().join("open")).unwrap();
    packfs!("umount", mount.path()).run().fails(1, &["mount", "in use"]);
    assert!(is_mounted(mount.path()));
    drop(file);
    unmount_once_free(mount.path()).unwrap();
}

#[test]
fn a_lazy_unmount_leaves_open_files_readable() {
    need_fuse();
    let (_scratch, image, folder) = with_image();
    packfs!("mount", image, folder).run().ok();
    let mut file = File::open(folder.join("open")).unwrap();
    packfs!("umount", "--lazy", folder).run().ok();
    assert!(!is_mounted(&folder));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "for all");
}

#[test]
fn an_archive_can_be_mounted_in_two_places_and_again() {
    let (scratch, image, _) = with_image();
    for _ in 0..2 {
        let mounts = [Mount::new(&image), Mount::new(&image)];
        for mount in &mounts {
            assert_same(&scratch.join("source"), mount.path(), &exact());
        }
    }
}

#[test]
fn what_is_mounted_after_an_unmount_stays() {
    need_fuse();
    let (_scratch, image, folder) = with_image();
    for _ in 0..10 {
        packfs!("mount", image, folder).run().ok();
        fs::read_dir(&folder).unwrap().count();
        packfs!("umount", folder).run().ok();
        // The process that served the first mount may still be about to end.
        packfs!("mount", image, folder).run().ok();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(is_mounted(&folder), "the new mount is gone");
        packfs!("umount", folder).run().ok();
    }
}

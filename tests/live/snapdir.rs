//! Snapshots beside the files of a writable mount, in `.packfs/snapshots`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::with_store;
use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::{Mount, assert_same, exact};

fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn snapshots_are_shown_as_they_come_and_go() {
    let (scratch, store) = with_store(|at| {
        at.file("file", "one");
        at.folder("folder", |at| at.file("large", noise(3_000_000, 1)));
    });
    let source = scratch.join("source");
    symlink("../file", source.join("folder/link")).unwrap();
    packfs!("add", store, source.join(".")).run().ok();
    packfs!("snapshot", "create", store, "first").run().ok();
    let mount = Mount::writable(&store, &["-osnapdir"]);
    let all = mount.path().join(".packfs/snapshots");
    // Whoever walks the mount comes to its files alone.
    assert_eq!(names(mount.path()), ["file", "folder"]);
    assert_eq!(names(&mount.path().join(".packfs")), ["snapshots"]);
    assert_eq!(names(&all), ["first"]);
    fs::write(mount.path().join("file"), "two").unwrap();
    fs::remove_file(mount.path().join("folder/large")).unwrap();
    packfs!("snapshot", "create", store, "second").run().ok();
    assert_eq!(names(&all), ["first", "second"]);
    assert_same(&source, &all.join("first"), &exact());
    assert_eq!(fs::read(all.join("second/file")).unwrap(), b"two");
    assert!(!all.join("second/folder/large").exists());
    let numbers = ["first", "second"].map(|name| fs::metadata(all.join(name)).unwrap().ino());
    assert!(numbers[0] != numbers[1]);
    // What was removed is brought back.
    let large = mount.path().join("folder/large");
    fs::copy(all.join("first/folder/large"), &large).unwrap();
    assert!(fs::read(&large).unwrap() == noise(3_000_000, 1));

    packfs!("snapshot", "rename", store, "second", "third").run().ok();
    packfs!("snapshot", "delete", store, "first").run().ok();
    assert_eq!(names(&all), ["third"]);
    assert!(!all.join("first/file").exists() && !all.join("second").exists());
    assert_eq!(fs::read(all.join("third/file")).unwrap(), b"two");
    packfs!("snapshot", "create", store, "first").run().ok();
    assert_eq!(fs::read(all.join("first/file")).unwrap(), b"two");
}

#[test]
fn nothing_in_a_snapshot_can_be_changed() {
    let (scratch, store) = with_store(|at| at.file("file", "one"));
    packfs!("snapshot", "create", store, "first").run().ok();
    let mount = Mount::writable(&store, &["-osnapdir"]);
    fs::create_dir(mount.path().join("folder")).unwrap();
    let (top, file) = (mount.path().join(".packfs"), mount.path().join("file"));
    let there = top.join("snapshots/first/file");
    let open = |options: &mut fs::OpenOptions| options.open(&there).map(drop);
    let tried: [io::Result<()>; 13] = [
        open(fs::File::options().read(true).write(true)),
        open(fs::File::options().append(true)),
        fs::rename(mount.path().join("folder"), &top),
        fs::write(&there, "two"),
        fs::remove_file(&there),
        fs::rename(&there, mount.path().join("moved")),
        fs::rename(&file, top.join("snapshots/first/file")),
        fs::hard_link(&there, mount.path().join("linked")),
        fs::set_permissions(&there, PermissionsExt::from_mode(0o600)),
        fs::create_dir(top.join("snapshots/second")),
        fs::remove_dir(top.join("snapshots/first")),
        fs::create_dir(top.join("more")),
        symlink("file", top.join("snapshots/first/link")),
    ];
    for (at, tried) in tried.into_iter().enumerate() {
        let error = tried.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem, "{at}: {error}");
    }
    assert_eq!(fs::read(there).unwrap(), b"one");
    // Without the option there is no such name, and so it can be given.
    drop(mount);
    let mount = Mount::writable(&store, &[]);
    fs::create_dir(mount.path().join(".packfs")).unwrap();
    drop(mount);
    let folder = scratch.join("empty");
    fs::create_dir(&folder).unwrap();
    packfs!("mount", "--rw", "-osnapdir", store, folder).run().fails(1, &["snapdir", ".packfs"]);
}

#[test]
fn what_is_not_looked_at_any_more_is_collected() {
    let (_scratch, store) = with_store(|at| at.file("file", noise(400_000, 1)));
    packfs!("snapshot", "create", store, "first").run().ok();
    let mount = Mount::writable(&store, &["-osnapdir"]);
    let file: PathBuf = mount.path().join(".packfs/snapshots/first/file");
    assert!(fs::read(file).unwrap() == noise(400_000, 1));
    fs::remove_file(mount.path().join("file")).unwrap();
    packfs!("flush", mount.path()).run().ok();
    packfs!("snapshot", "delete", store, "first").run().ok();
    let deadline = Instant::now() + Duration::from_secs(60);
    while super::stored(&store) > 100_000 {
        assert!(Instant::now() < deadline, "{} bytes are left", super::stored(&store));
        sleep(Duration::from_millis(500));
        packfs!("gc", store).run().ok();
    }
}

#[test]
fn what_can_show_no_snapshots_says_so() {
    let (scratch, store) = with_store(|at| at.file("file", "one"));
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    packfs!("mount", store, folder, "-osnapdir").run().fails(2, &["snapdir", "--rw"]);
}

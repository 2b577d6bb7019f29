//! A writable mount is a folder like any other: the same is done to both, and they are the same.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::thread;

use packfs::compare::CompareOptions;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, RenameFlags, SeekFrom as Sought, Timespec,
    Timestamps, Uid, XattrFlags, chownat, copy_file_range, fallocate, makedev, mknodat,
    removexattr, renameat_with, seek, setxattr, stat, utimensat,
};
use rustix::io::Errno;
use rustix::thread::set_thread_res_uid;

use super::{await_commit, settle_times, with_store};
use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::tree::Folder;
use crate::support::{Mount, assert_same, exact, is_root};

fn packed(at: &Folder) {
    at.file("file", noise(100_000, 1));
    at.file("small", "small");
    at.sparse("sparse", 1 << 20, &[(300_000, &noise(50_000, 2))]);
    at.folder("folder", |at| {
        at.file("inside", "inside");
        at.folder("below", |at| at.file("deep", noise(9000, 3)));
    });
    at.symlink("link", "folder/inside");
}

/// Does something to a packed tree in a plain folder, in a mount that commits when it is left, and
/// in one that commits all the time; all become the same, also in a fresh mount and extracted.
#[track_caller]
fn both(act: impl Fn(&Path) + Send + Sync) {
    both_but(&exact(), act);
}

/// The same, whatever holes the files have: here they may begin at any byte, and not on the disk.
#[track_caller]
fn both_but_holes(act: impl Fn(&Path) + Send + Sync) {
    both_but(&CompareOptions { holes: false, ..exact() }, act);
}

#[track_caller]
fn both_but(compared: &CompareOptions, act: impl Fn(&Path) + Send + Sync) {
    for options in [&["--freeze-after", "3600"], &["--freeze-after", "0"]] {
        let (scratch, store) = with_store(packed);
        let source = scratch.join("source");
        act(&source);
        settle_times(&source);
        {
            let mount = Mount::writable(&store, options);
            mount.watch(&act);
            mount.watch(settle_times);
            mount.assert_same(&source, compared);
        }
        Mount::new(&store).assert_same(&source, compared);
        let out = scratch.join("out");
        packfs!("extract", store, out).run().ok();
        assert_same(&source, &out, compared);
    }
}

fn edit(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn files_are_made_and_written() {
    both(|at| {
        fs::write(at.join("new"), noise(70_000, 4)).unwrap();
        fs::write(at.join("empty"), "").unwrap();
        // Nobody may open it to write, but who made it writes.
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o444);
        let mut file = options.open(at.join("closed")).unwrap();
        assert!(options.open(at.join("closed")).is_err());
        file.write_all(b"written all the same").unwrap();
        file.write_all_at(b"far away", 123_456).unwrap();
        let mut log = File::options().append(true).open(at.join("small")).unwrap();
        (0..100).for_each(|number| writeln!(log, "line {number}").unwrap());
        edit(&at.join("file")).write_all_at(&noise(5000, 5), 98_000).unwrap();
        edit(&at.join("file")).write_all_at(b"in the middle", 50_001).unwrap();
        fs::write(at.join("folder/inside"), "replaced").unwrap();
        fs::create_dir_all(at.join("a/b/c")).unwrap();
        fs::copy(at.join("file"), at.join("a/b/c/copy")).unwrap();
    });
}

#[test]
fn files_are_cut_and_extended() {
    both_but_holes(|at| {
        let file = edit(&at.join("file"));
        file.set_len(60_000).unwrap();
        file.set_len(90_000).unwrap();
        file.write_all_at(b"end", 99_999).unwrap();
        let mut content = Vec::new();
        (&file).read_to_end(&mut content).unwrap();
        assert!(content[60_000..99_999].iter().all(|byte| *byte == 0));
        edit(&at.join("folder/below/deep")).set_len(0).unwrap();
        let zeros = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let whole = edit(&at.join("file"));
        if fallocate(&whole, zeros, 10, 3000).is_err() {
            whole.write_all_at(&[0; 3000], 10).unwrap();
        }
        let mut bytes = vec![1; 3010];
        whole.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[10..].iter().all(|byte| *byte == 0));
        let new = File::create_new(at.join("new")).unwrap();
        new.write_all_at(&noise(20_000, 6), 0).unwrap();
        new.set_len(10).unwrap();
        new.set_len(3 << 20).unwrap();
    });
}

#[test]
fn holes_are_kept_found_and_made() {
    both(|at| {
        let file = edit(&at.join("sparse"));
        file.write_all_at(&noise(8192, 7), 704_512).unwrap();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, punch, 311_296, 8192).unwrap();
        file.sync_all().unwrap();
        let found = |from: Sought| seek(&file, from);
        assert_eq!(found(Sought::Hole(704_512)), Ok(712_704));
        assert_eq!(found(Sought::Data(400_000)), Ok(704_512));
        assert_eq!(found(Sought::Hole(307_200)), Ok(311_296));
        assert_eq!(found(Sought::Data(800_000)), Err(Errno::NXIO));
        assert_eq!(found(Sought::Hole(1 << 20)), Err(Errno::NXIO));
        let new = File::create_new(at.join("new")).unwrap();
        new.write_all_at(&noise(4096, 8), 1 << 30).unwrap();
        new.set_len(1 << 31).unwrap();
    });
}

#[test]
fn names_are_changed() {
    both(|at| {
        let to = |name: &str| at.join(name);
        fs::rename(to("small"), to("folder/small")).unwrap();
        fs::rename(to("file"), to("folder/inside")).unwrap();
        fs::rename(to("folder/below"), to("moved")).unwrap();
        let how = |from: &str, new: &str, flags| renameat_with(CWD, to(from), CWD, to(new), flags);
        let kept = how("sparse", "link", RenameFlags::NOREPLACE);
        assert_eq!(kept, Err(Errno::EXIST));
        how("sparse", "scarce", RenameFlags::NOREPLACE).unwrap();
        how("scarce", "folder", RenameFlags::EXCHANGE).unwrap();
        how("moved/deep", "scarce/inside", RenameFlags::EXCHANGE).unwrap();
        let gone = how("moved", "nowhere", RenameFlags::EXCHANGE);
        assert_eq!(gone, Err(Errno::NOENT));
        fs::create_dir(to("empty")).unwrap();
        fs::rename(to("moved"), to("empty")).unwrap();
        let errno = |result: std::io::Result<()>| Errno::from_io_error(&result.unwrap_err());
        assert_eq!(errno(fs::rename(to("link"), to("empty"))), Some(Errno::ISDIR));
        assert_eq!(errno(fs::rename(to("scarce"), to("link"))), Some(Errno::NOTDIR));
        assert_eq!(errno(fs::rename(to("scarce"), to("empty"))), Some(Errno::NOTEMPTY));
        assert_eq!(errno(fs::rename(to("scarce"), to("scarce/in"))), Some(Errno::INVAL));
        assert_eq!(errno(fs::remove_dir(to("scarce"))), Some(Errno::NOTEMPTY));
        assert_eq!(errno(fs::write(to(&"n".repeat(256)), "")), Some(Errno::NAMETOOLONG));
        fs::write(to(&"n".repeat(255)), "").unwrap();
    });
}

#[test]
fn links_and_nodes() {
    both(|at| {
        fs::hard_link(at.join("file"), at.join("folder/file")).unwrap();
        fs::hard_link(at.join("file"), at.join("third")).unwrap();
        fs::remove_file(at.join("file")).unwrap();
        fs::write(at.join("third"), "through another name").unwrap();
        fs::write(at.join("first"), "two names").unwrap();
        fs::hard_link(at.join("first"), at.join("second")).unwrap();
        // Two names of one file: nothing happens.
        fs::rename(at.join("first"), at.join("second")).unwrap();
        assert!(at.join("first").exists());
        fs::hard_link(at.join("link"), at.join("link-too")).unwrap();
        symlink("nowhere/at all", at.join("dangling")).unwrap();
        symlink("x".repeat(4000), at.join("long")).unwrap();
        let mode = Mode::from_raw_mode(0o640);
        let node = |name: &str, kind, device| mknodat(CWD, at.join(name), kind, mode, device);
        node("fifo", FileType::Fifo, 0).unwrap();
        node("socket", FileType::Socket, 0).unwrap();
        if is_root() {
            node("null", FileType::CharacterDevice, makedev(1, 3)).unwrap();
            node("block", FileType::BlockDevice, makedev(259, 70_000)).unwrap();
        }
    });
}

#[test]
fn modes_owners_times_and_attributes() {
    both(|at| {
        let mode = |name: &str, mode| {
            fs::set_permissions(at.join(name), Permissions::from_mode(mode)).unwrap();
        };
        mode("small", 0o4751);
        mode("folder", 0o1777);
        if is_root() {
            let (user, group) = (Some(Uid::from_raw(1234)), Some(Gid::from_raw(99)));
            chownat(CWD, at.join("folder/inside"), user, group, rustix::fs::AtFlags::empty())
                .unwrap();
            chownat(CWD, at.join("small"), user, None, rustix::fs::AtFlags::empty()).unwrap();
        }
        mode("file", 0o6755);
        fs::create_dir(at.join("shared")).unwrap();
        mode("shared", 0o2775);
        fs::create_dir(at.join("shared/below")).unwrap();
        let set = |name: &str, attribute: &str, value: &[u8], flags| {
            setxattr(at.join(name), OsStr::new(attribute), value, flags)
        };
        set("file", "user.one", b"1", XattrFlags::empty()).unwrap();
        set("file", "user.two", &noise(2000, 9), XattrFlags::CREATE).unwrap();
        set("file", "user.one", b"one", XattrFlags::REPLACE).unwrap();
        assert_eq!(set("file", "user.one", b"", XattrFlags::CREATE), Err(Errno::EXIST));
        assert_eq!(set("file", "user.no", b"", XattrFlags::REPLACE), Err(Errno::NODATA));
        set("folder", "user.folder", b"", XattrFlags::empty()).unwrap();
        removexattr(at.join("file"), "user.two").unwrap();
        assert_eq!(removexattr(at.join("file"), "user.two"), Err(Errno::NODATA));
    });
}

#[test]
fn who_changes_a_program_of_another_user_takes_its_privileges() {
    if !is_root() {
        return;
    }
    type Change<'a> = &'a (dyn Fn(&File, &File) + Sync);
    let how: [Change<'_>; 4] = [
        &|_, to| fallocate(to, FallocateFlags::empty(), 0, 200_000).unwrap(),
        &|_, to| {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(to, hole, 0, 5000).unwrap();
        },
        &|_, to| fallocate(to, FallocateFlags::ZERO_RANGE, 0, 5000).unwrap(),
        &|from, to| {
            assert_eq!(copy_file_range(from, None, to, None, 70_000).unwrap(), 70_000);
        },
    ];
    let (_scratch, store) = with_store(packed);
    let mount = Mount::writable(&store, &["-o", "allow_other,suid"]);
    let at = mount.path();
    for (n, change) in how.iter().enumerate() {
        for user in [0, 1234] {
            let name = at.join(format!("program-{n}-{user}"));
            fs::write(&name, noise(100_000, 5)).unwrap();
            fs::set_permissions(&name, Permissions::from_mode(0o6755)).unwrap();
            let (from, to) = (File::open(at.join("file")).unwrap(), edit(&name));
            thread::scope(|scope| {
                let changed = scope.spawn(|| {
                    let user = Uid::from_raw(user);
                    set_thread_res_uid(user, user, user).unwrap();
                    change(&from, &to);
                });
                changed.join().unwrap();
            });
            let mode = name.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, if user == 0 { 0o6755 } else { 0o755 }, "{}", name.display());
        }
    }
}

#[test]
fn times_are_kept() {
    let (_scratch, store) = with_store(packed);
    let time = |seconds| std::time::UNIX_EPOCH + std::time::Duration::new(seconds, 987_654_321);
    let times = |at: &Path| {
        let meta = at.join("file").metadata().unwrap();
        (meta.accessed().unwrap(), meta.modified().unwrap())
    };
    {
        let mount = Mount::writable(&store, &[]);
        let file = edit(&mount.path().join("file"));
        file.write_all_at(b"changed", 5).unwrap();
        let kept = fs::FileTimes::new().set_accessed(time(77)).set_modified(time(1 << 33));
        file.set_times(kept).unwrap();
        drop(file);
        assert_eq!(times(mount.path()), (time(77), time(1 << 33)));
        let start = std::time::SystemTime::now();
        fs::write(mount.path().join("new"), "new").unwrap();
        let meta = mount.path().join("new").metadata().unwrap();
        let near = std::time::Duration::from_secs(5);
        assert!(meta.modified().unwrap() + near > start);
        fs::remove_file(mount.path().join("new")).unwrap();
    }
    assert_eq!(times(Mount::new(&store).path()), (time(77), time(1 << 33)));
}

#[test]
fn times_before_1970_are_kept() {
    let (_scratch, store) = with_store(packed);
    let times = [(-1, 999_999_999), (-2, 500_000_000), (-2, 0), (i64::from(i32::MIN), 1)];
    for (sec, nsec) in times {
        let before = |at: &Path| {
            let stat = stat(at.join("file")).unwrap();
            assert_eq!((stat.st_mtime, stat.st_mtime_nsec), (sec, nsec));
        };
        {
            let mount = Mount::writable(&store, &[]);
            let time = Timespec { tv_sec: sec, tv_nsec: nsec.try_into().unwrap() };
            let both = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, mount.path().join("file"), &both, AtFlags::empty()).unwrap();
            before(mount.path());
        }
        before(Mount::new(&store).path());
    }
}

#[test]
fn attributes_are_of_namespaces_that_there_are() {
    let (_scratch, store) = with_store(packed);
    let mount = Mount::writable(&store, &[]);
    let set = |name: &str| setxattr(mount.path().join("file"), name, b"1", XattrFlags::empty());
    for name in ["foo", "foo.a", "system.foo", "system."] {
        assert_eq!(set(name), Err(Errno::OPNOTSUPP), "{name}");
    }
    assert_eq!(set("user."), Err(Errno::INVAL));
    assert_eq!(set("user.a"), Ok(()));
}

#[test]
fn acls_are_inherited() {
    // user::rwx, user:1000:rwx, group::r-x, mask::rwx, other::---
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, u32::MAX), (2, 7, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let scratch = crate::support::Scratch::new();
    let set = |at: &Path, name: &str| setxattr(at, OsStr::new(name), &acl, XattrFlags::empty());
    if set(scratch.path(), "system.posix_acl_default").is_err() {
        return; // Nothing to compare with.
    }
    both(|at| {
        let folder = at.join("folder");
        set(&folder, "system.posix_acl_default").unwrap();
        set(&at.join("file"), "system.posix_acl_access").unwrap();
        fs::create_dir(folder.join("made")).unwrap();
        fs::write(folder.join("made/file"), "file").unwrap();
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o604).open(folder.join("closed")).unwrap();
        fs::set_permissions(at.join("file"), Permissions::from_mode(0o640)).unwrap();
        symlink("made", folder.join("symlink")).unwrap();
    });
}

#[test]
fn what_is_open_stays_when_its_name_goes() {
    let (_scratch, store) = with_store(packed);
    let mount = Mount::writable(&store, &["--freeze-after", "0"]);
    let at = |name: &str| mount.path().join(name);
    fs::write(at("new"), noise(50_000, 10)).unwrap();
    let files = ["file", "new", "small"].map(|name| edit(&at(name)));
    fs::remove_file(at("file")).unwrap();
    fs::remove_file(at("new")).unwrap();
    fs::rename(at("sparse"), at("small")).unwrap();
    await_commit(mount.path(), &store);
    let contents = [noise(100_000, 1), noise(50_000, 10), b"small".to_vec()];
    for (file, mut content) in files.iter().zip(contents) {
        for round in 0..3 {
            let length = content.len() as u64;
            let mut file = file;
            file.write_all_at(b"more", length).unwrap();
            file.write_all_at(b"!", 2 + round).unwrap();
            file.sync_all().unwrap();
            content.extend(b"more");
            content[usize::try_from(round).unwrap() + 2] = b'!';
            fs::write(at("other"), format!("{round} {length}")).unwrap();
            await_commit(mount.path(), &store);
            let mut there = Vec::new();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_end(&mut there).unwrap();
            assert!(there == content, "{} bytes, not {}", there.len(), content.len());
        }
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&file.metadata().unwrap()), 0);
    }
    drop(files);
    let names = ["folder", "link", "other", "small"];
    assert_eq!(names_in(mount.path()), names);
    drop(mount);
    assert_eq!(names_in(Mount::new(&store).path()), names);
}

fn names_in(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| name(e).into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_mapped_is_written() {
    both_but_holes(|at| {
        let file = edit(&at.join("file"));
        file.set_len(120_000).unwrap();
        #[expect(unsafe_code, reason = "nobody else changes the file")]
        let mut map = unsafe { memmap2::MmapMut::map_mut(&file).unwrap() };
        map[110_000..110_005].copy_from_slice(b"there");
        map[7] = b'!';
        map.flush().unwrap();
        let mut bytes = [0; 5];
        file.read_exact_at(&mut bytes, 110_000).unwrap();
        assert_eq!(&bytes, b"there");
        map[50_000] = b'?';
    });
}

#[test]
fn what_is_mapped_and_written_has_a_new_time() {
    let (_scratch, store) = with_store(packed);
    let mount = Mount::writable(&store, &[]);
    let file = edit(&mount.path().join("file"));
    mount.watch(settle_times);
    let before = file.metadata().unwrap().modified().unwrap();
    #[expect(unsafe_code, reason = "nobody else changes the file")]
    let mut map = unsafe { memmap2::MmapMut::map_mut(&file).unwrap() };
    map[7] = b'!';
    map.flush().unwrap();
    assert!(file.metadata().unwrap().modified().unwrap() > before);
}

#[test]
fn a_large_folder_is_listed_while_it_is_emptied() {
    both(|at| {
        let many = at.join("many");
        fs::create_dir(&many).unwrap();
        (0..2000).for_each(|n| fs::write(many.join(format!("file-{n}")), n.to_string()).unwrap());
        let mut seen = 0;
        for entry in fs::read_dir(&many).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
            seen += 1;
        }
        assert_eq!(seen, 2000);
        fs::remove_dir(&many).unwrap();
        (0..1500).for_each(|n| fs::create_dir_all(many.join(format!("{n}/x"))).unwrap());
        let first = fs::read_dir(&many).unwrap().take(100).count();
        assert_eq!(first, 100);
        fs::remove_dir_all(&many).unwrap();
        assert!(!many.exists());
    });
}

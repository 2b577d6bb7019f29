//! Packed files that are changed: what did not change is not stored again, and what did is right.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use packfs::compare::CompareOptions;
use packfs::live::Changes;
use packfs::tree::ROOT;
use rustix::fs::copy_file_range;

use super::trial::{Trial, Way};
use super::{await_commit, stored, with_store};
use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::{Mount, assert_same, exact};

const LARGE: usize = 40 << 20;

/// Opens a file to read and write it.
fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn one_byte_of_a_large_file() {
    let (scratch, store) = with_store(|at| at.file("large", noise(LARGE, 1)));
    let before = stored(&store);
    let edit = |folder: &Path| open(&folder.join("large")).write_all_at(b"!", 21 << 20).unwrap();
    {
        let mount = Mount::writable(&store, &[]);
        mount.watch(edit);
        edit(&scratch.join("source"));
        super::settle_times(mount.path());
    }
    super::settle_times(&scratch.join("source"));
    let added = stored(&store) - before;
    assert!(added < 1 << 20, "{added} bytes more");
    Mount::new(&store).assert_same(&scratch.join("source"), &exact());
}

/// Copies all of a file from there on with copy_file_range(2), and nothing else.
fn copy(from: &Path, at: u64, to: &Path, to_at: u64) {
    let from = File::open(from).unwrap();
    let to = File::options().create(true).write(true).truncate(false).open(to).unwrap();
    let (mut at, mut to_at) = (at, to_at);
    while copy_file_range(&from, Some(&mut at), &to, Some(&mut to_at), 1 << 30).unwrap() > 0 {}
}

#[test]
fn copies_refer_to_what_is_packed() {
    let (scratch, store) = with_store(|at| {
        at.file("large", noise(LARGE, 1));
        at.sparse("holes", 9_000_000, &[(5000, b"start"), (4_000_123, &noise(900_000, 2))]);
    });
    let (source, before) = (scratch.join("source"), stored(&store));
    let copies = |folder: &Path| {
        copy(&folder.join("large"), 0, &folder.join("whole"), 0);
        copy(&folder.join("large"), 12_345_678, &folder.join("part"), 7);
        copy(&folder.join("holes"), 4999, &folder.join("sparse"), 3);
        // Of what is not packed yet.
        copy(&folder.join("part"), 5, &folder.join("again"), 1);
        open(&folder.join("whole")).write_all_at(b"!", 21 << 20).unwrap();
        fs::remove_file(folder.join("large")).unwrap();
    };
    {
        let mount = Mount::writable(&store, &[]);
        copies(mount.path());
        let live = packfs!("info", "--live", "--json", mount.path()).run().ok();
        let live: serde_json::Value = serde_json::from_str(&live.text()).unwrap();
        let spooled = live["changes"]["spool"].as_u64().unwrap();
        assert!(spooled < 1 << 20, "{spooled} bytes in the spool");
        copies(&source);
        let check = |mount: &Mount| {
            for name in ["whole", "part", "sparse", "again", "holes"] {
                let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
                assert!(read(mount.path()) == read(&source), "{name}");
            }
        };
        check(&mount);
        packfs!("flush", mount.path()).run().ok();
        // What was removed was all that the copies had been made from.
        packfs!("gc", store).run().ok();
        check(&mount);
    }
    let added = stored(&store).saturating_sub(before);
    assert!(added < 1 << 20, "{added} bytes more");
    packfs!("fsck", "--deep", store).run().ok();
}

#[test]
fn holes_take_no_space_whichever_layer_has_the_file() {
    let mut trial = Trial::new();
    let sectors = |trial: &Trial| trial.fs().lookup(ROOT, b"b").unwrap().unwrap().blocks;
    let ino = trial.fs().lookup(ROOT, b"b").unwrap().unwrap().ino;
    let before = sectors(&trial);
    assert!(before < 160, "{before}");
    let touch = |trial: &mut Trial, mode: u32| {
        let changes = Changes { mode: Some(mode), ..Changes::default() };
        trial.fs().change(ino, &changes).unwrap();
        trial.now.file(ino).mode = mode;
        assert_eq!(sectors(trial), before);
    };
    touch(&mut trial, 0o600);
    trial.reopen(Way::Synced);
    assert_eq!(sectors(&trial), before);
    // Now a layer that is at rest has it, then two have.
    trial.fail_to_commit();
    assert_eq!(sectors(&trial), before);
    touch(&mut trial, 0o640);
    trial.reopen(Way::Synced);
    assert_eq!(sectors(&trial), before);
    trial.commit();
    assert_eq!(sectors(&trial), before);
}

#[test]
fn many_random_edits() {
    let (scratch, store) = with_store(|at| {
        at.file("a", noise(3_000_000, 1));
        at.sparse("b", 5_000_000, &[(1_000_000, &noise(900_000, 2)), (4_000_000, b"end")]);
        at.file("c", vec![b'x'; 2_000_000]);
    });
    let source = scratch.join("source");
    let mount = Mount::writable(&store, &["--freeze-after", "0"]);
    let mut state = 7u64;
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..150 {
        let name = ["a", "b", "c"][usize::try_from(next(3)).unwrap()];
        let (offset, length) = (next(5_200_000), usize::try_from(next(30_000)).unwrap());
        let what = next(10);
        let bytes = if what < 2 { vec![0; length] } else { noise(length, round) };
        for folder in [&source, mount.path()] {
            let file = open(&folder.join(name));
            match what {
                8 => file.set_len(offset).unwrap(),
                9 => {
                    let length = file.metadata().unwrap().len();
                    file.set_len(length / 2).unwrap();
                    file.set_len(length).unwrap();
                }
                _ => file.write_all_at(&bytes, offset).unwrap(),
            }
        }
        if round % 10 == 0 {
            let [left, right] = [&source, mount.path()].map(|at| fs::read(at.join(name)).unwrap());
            assert!(left == right, "{name} after {round} rounds");
        }
    }
    // A hole may begin at any byte here, and not on the disk.
    let options = CompareOptions { holes: false, ..exact() };
    super::settle_times(mount.path());
    super::settle_times(&source);
    mount.assert_same(&source, &options);
    drop(mount);
    Mount::new(&store).assert_same(&source, &options);
    let out = scratch.join("out");
    crate::support::command::packfs!("extract", store, out).run().ok();
    assert_same(&source, &out, &options);
}

#[test]
fn what_was_committed_is_read_on_through_the_mount() {
    let (scratch, store) = with_store(|at| at.file("file", noise(1_000_000, 1)));
    let source = scratch.join("source");
    let mount = Mount::writable(&store, &["--freeze-after", "0"]);
    for round in 0..5 {
        for folder in [&source, mount.path()] {
            let file = open(&folder.join("file"));
            file.write_all_at(&noise(10_000, round), round * 150_000 + 77).unwrap();
            file.set_len(400_000 + round * 100_000).unwrap();
            file.sync_all().unwrap();
        }
        await_commit(mount.path(), &store);
        let fresh = Mount::new(&store);
        for at in [mount.path(), fresh.path()] {
            assert!(fs::read(at.join("file")).unwrap() == fs::read(source.join("file")).unwrap());
        }
    }
}

//! What a writable mount takes besides what is written to it: memory, and spools of files without
//! a name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use packfs::format::Kind;
use packfs::live::{LiveFs, LiveOptions, Made, Packer};
use packfs::tree::ROOT;

use super::{open_once_free, with_store};
use crate::support::hostile::noise;

const MIB: usize = 1 << 20;

fn make(fs: &LiveFs, name: &str) -> u64 {
    let mode = Kind::File.mode() | 0o644;
    let made = Made { mode, umask: 0, owner: (0, 0), rdev: 0, target: b"" };
    fs.make(ROOT, name.as_bytes(), &made).unwrap().ino
}

/// Bytes on the disk of files that this process has open below a folder, named or not.
fn held_open(folder: &Path) -> u64 {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    let below =
        open.filter(|entry| entry.path().read_link().is_ok_and(|to| to.starts_with(folder)));
    let about = below.filter_map(|entry| fs::metadata(entry.path()).ok());
    let mut sizes: Vec<(u64, u64)> = about.map(|about| (about.ino(), about.blocks())).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.into_iter().map(|(_, blocks)| blocks * 512).sum()
}

#[test]
fn a_file_without_a_name_keeps_no_spools() {
    let packed = noise(3 * MIB, 99);
    let (_scratch, store) = with_store(|at| at.file("packed", packed.clone()));
    let fs = open_once_free(&store).unwrap();
    // One that is new, one of a root, and one that is written to no more.
    let files = [make(&fs, "new"), fs.lookup(ROOT, b"packed").unwrap().unwrap().ino];
    let still = make(&fs, "still");
    fs.write(still, 0, &noise(MIB, 7), false).unwrap();
    let mut contents = [Vec::new(), packed];
    files.iter().chain([&still]).for_each(|ino| fs.remember(*ino));
    for name in ["new", "packed", "still"] {
        fs.unlink(ROOT, name.as_bytes(), false).unwrap();
    }
    for round in 0..24_u8 {
        for (ino, content) in files.iter().zip(&mut contents) {
            let (at, bytes) = (usize::from(round % 4) * MIB, noise(MIB, round.into()));
            fs.write(*ino, at as u64, &bytes, false).unwrap();
            content.resize(content.len().max(at + MIB), 0);
            content[at..at + MIB].copy_from_slice(&bytes);
        }
        let other = make(&fs, &format!("other-{round}"));
        fs.write(other, 0, &vec![round; 2 * MIB], false).unwrap();
        fs.commit().unwrap();
        for (ino, content) in files.iter().zip(&contents) {
            let there = fs.read(*ino, 0, u32::MAX >> 1).unwrap();
            assert!(*there == content[..], "round {round}");
        }
        let held = held_open(&store.join("live"));
        assert!(held < 60 << 20, "{held} bytes after {round} commits");
    }
    assert!(*fs.read(still, 0, u32::MAX >> 1).unwrap() == noise(MIB, 7));
    files.iter().chain([&still]).for_each(|ino| fs.forget(*ino, 1));
    let other = make(&fs, "other");
    fs.write(other, 0, b"other", false).unwrap();
    fs.commit().unwrap();
    assert!(held_open(&store.join("live")) < 20 << 20);
}

#[test]
fn changes_take_no_more_memory_than_they_may() {
    let (_scratch, store) = with_store(|at| at.file("packed", "packed"));
    let options = LiveOptions { memory: MIB, ..LiveOptions::default() };
    let fs = Arc::new(LiveFs::open(&store, options).unwrap());
    let packer = Packer::start(Arc::clone(&fs)).unwrap();
    let most = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (fs, most) = (&fs, &most);
            scope.spawn(move || {
                for number in 0..4000 {
                    let name = format!("{worker}-{number}");
                    make(fs, &name);
                    most.fetch_max(fs.memory(), Ordering::Relaxed);
                    if number % 2 == 0 {
                        fs.breathe();
                        fs.unlink(ROOT, name.as_bytes(), false).unwrap();
                    }
                }
            });
        }
    });
    packer.finish().unwrap();
    let most = most.into_inner();
    assert!((MIB / 2..MIB + 20_000).contains(&most), "{most}");
    assert_eq!(fs.attr(ROOT).unwrap().size, 8001);
}

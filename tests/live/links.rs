//! Files of several names that are linked, listed and removed at the same time: the kernel keeps
//! count of the names as it sees fit, and must not come to too few.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::with_store;
use crate::support::{Mount, Packfs};

/// How long it goes on.
const TIME: Duration = Duration::from_secs(4);

/// Gives a file more names, and takes them away in all ways there are.
fn link(folder: &Path, worker: usize, stop: &AtomicBool) {
    let (file, own) = (folder.join("file"), folder.join(format!("own-{worker}")));
    let (name, other) = (own.join("name"), own.join("other"));
    fs::create_dir(&own).unwrap();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let made = fs::hard_link(&file, &name);
        made.unwrap_or_else(|error| panic!("round {round} of {worker}: {error}"));
        match round % 3 {
            0 => fs::remove_file(&name).unwrap(),
            1 => {
                fs::write(&other, "other").unwrap();
                fs::rename(&other, &name).unwrap();
                fs::remove_file(&name).unwrap();
            }
            _ => {
                fs::rename(&name, &other).unwrap();
                fs::remove_file(&other).unwrap();
            }
        }
    }
}

/// Looks at them on and on.
fn look(folder: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for own in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let _ = own.symlink_metadata().unwrap();
            let Ok(entries) = fs::read_dir(&own) else { continue };
            entries.filter_map(Result::ok).for_each(|entry| drop(entry.metadata()));
            let _ = own.join("name").metadata();
        }
    }
}

#[test]
fn linked_listed_and_removed_at_once() {
    let (_scratch, store) = with_store(|at| at.file("file", "content"));
    let mount = Mount::writable(&store, &["--freeze-after", "0"]);
    mount.watch(|folder| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for worker in 0..3 {
                let stop = &stop;
                scope.spawn(move || link(folder, worker, stop));
                scope.spawn(|| look(folder, stop));
            }
            let start = Instant::now();
            while start.elapsed() < TIME {
                thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, Ordering::Relaxed);
        });
        let start = Instant::now();
        // What is left to be told is told soon.
        while fs::metadata(folder.join("file")).unwrap().nlink() != 1 {
            assert!(start.elapsed().as_secs() < 5, "the count of names stays wrong");
            thread::sleep(Duration::from_millis(10));
        }
        fs::remove_file(folder.join("file")).unwrap();
    });
}

/// Has the calling thread run on the first processor alone, or on all others.
fn run_on(first: bool) {
    let mut processors = CpuSet::new();
    (0..CpuSet::MAX_CPU).filter(|at| (*at == 0) == first).for_each(|at| processors.set(at));
    // With one processor alone they share it.
    let _ = sched_setaffinity(None, &processors);
}

/// Counts down from many what is left of names.
#[test]
fn who_gets_no_processor_counts_a_name_once() {
    const NAMES: u32 = 300;
    let (_scratch, store) = with_store(|at| {
        at.file("file", "content");
        at.folder("names", |_| {});
        at.folder("own", |_| {});
    });
    let mount = Mount::writable(&store, &[]);
    mount.watch(|folder| {
        let name = |number| folder.join(format!("names/{number}"));
        (1..NAMES).for_each(|number| fs::hard_link(folder.join("file"), name(number)).unwrap());
    });
    drop(mount);
    let mount = Mount::writable(&store, &[]);
    mount.watch(|folder| {
        let (stop, file, own) = (AtomicBool::new(false), folder.join("file"), folder.join("own/a"));
        thread::scope(|scope| {
            let _stop = Stop(&stop);
            for _ in 0..3 {
                scope.spawn(|| {
                    run_on(true);
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            scope.spawn(|| {
                run_on(true);
                let me = rustix::thread::gettid().as_raw_pid().to_string();
                // It runs when nobody else wants to.
                Packfs::program("chrt").args(["--idle", "--pid", "0", &me]).run().ok();
                while !stop.load(Ordering::Relaxed) {
                    fs::hard_link(&file, &own).unwrap();
                    fs::remove_file(&own).unwrap();
                }
            });
            run_on(false);
            for number in 1..NAMES {
                // The kernel does not know that name yet.
                fs::metadata(folder.join(format!("names/{number}"))).unwrap();
                thread::sleep(Duration::from_millis(10));
                // What it has counted since, without asking.
                let flags = AtFlags::STATX_DONT_SYNC;
                let kernel = statx(CWD, &file, flags, StatxFlags::NLINK).unwrap();
                assert!(kernel.stx_nlink >= NAMES, "{} at {number}", kernel.stx_nlink);
            }
        });
    });
}

/// Whatever becomes of a test, those that wait for it end.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn who_removes_a_name_is_told_right_how_many_are_left() {
    let (_scratch, store) = with_store(|at| at.file("file", "content"));
    let mount = Mount::writable(&store, &[]);
    mount.watch(|folder| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            // So that threads wait for their turn.
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let _stop = Stop(&stop);
            let file = folder.join("file");
            for round in 0..3000 {
                let name = folder.join(format!("name-{}", round % 7));
                fs::hard_link(&file, &name).unwrap();
                assert_eq!(file.metadata().unwrap().nlink(), 2, "round {round}");
                fs::remove_file(&name).unwrap();
                assert_eq!(file.metadata().unwrap().nlink(), 1, "round {round}");
            }
        });
    });
}

#[test]
fn a_killed_mount_ends_while_names_come_and_go() {
    let (_scratch, store) = with_store(|at| at.file("file", "content"));
    for _ in 0..10 {
        let mount = Mount::writable(&store, &[]);
        let folder = mount.path().to_owned();
        thread::scope(|scope| {
            for worker in 0..4 {
                let (file, name) = (folder.join("file"), folder.join(format!("name-{worker}")));
                scope.spawn(move || {
                    // Until it is killed. The name may be there since the last time.
                    let _ = fs::remove_file(&name);
                    while fs::hard_link(&file, &name).is_ok() && fs::remove_file(&name).is_ok() {}
                });
            }
            thread::sleep(Duration::from_millis(100));
            mount.kill();
        });
    }
}

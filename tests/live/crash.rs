//! The process that serves a writable mount is killed at any moment: what was synced is there, and
//! the rest is whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{walk, with_store};
use crate::support::Mount;
use crate::support::command::packfs;
use crate::support::disk::Disk;
use crate::support::hostile::noise;

/// How often it is killed: `PACKFS_KILLS`, or a few times.
fn kills() -> u64 {
    std::env::var("PACKFS_KILLS").map_or(12, |count| count.parse().unwrap())
}

/// What a name is known to have, as far as somebody waited for it to be safe.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Safe {
    /// The content that was synced.
    content: Vec<u8>,
    /// The content that is being written over it, and may be there as well.
    next: Option<Vec<u8>>,
}

type Notes = Mutex<BTreeMap<String, Safe>>;

/// Numbers by chance.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % below
    }
}

/// Writes, syncs, renames, removes, until the mount is gone.
fn load(folder: &Path, worker: u64, seed: u64, notes: &Notes, stop: &AtomicBool, cut: &AtomicBool) {
    let mut chance = Chance(seed * 31 + worker);
    while !stop.load(Ordering::Relaxed) {
        let what = chance.next(8);
        let done = match what {
            0..=3 => replace(folder, worker, &mut chance, notes, cut),
            4 => scratch_files(folder, worker, &mut chance),
            5 => append(folder, worker, &mut chance),
            6 => move_folder(folder, worker, &mut chance),
            _ => edit(folder, worker, &mut chance),
        };
        if let Err(error) = done {
            // Nobody answers any more, or the mount is out of sight.
            assert!(stop.load(Ordering::Relaxed), "{what} of {worker}: {error}");
            return;
        }
    }
}

/// A new file takes the place of an older one, as editors do it, and is then safe.
fn replace(
    folder: &Path,
    worker: u64,
    chance: &mut Chance,
    notes: &Notes,
    cut: &AtomicBool,
) -> io::Result<()> {
    let name = format!("safe-{worker}-{}", chance.next(12));
    let length = usize::try_from(chance.next(3) * chance.next(60_000)).unwrap();
    let content = noise(length + 8, chance.next(1 << 30));
    let temp = folder.join(format!("{name}.tmp"));
    let mut file = File::create(&temp)?;
    file.write_all(&content)?;
    file.sync_all()?;
    notes.lock().unwrap().entry(name.clone()).and_modify(|safe| safe.next = Some(content.clone()));
    fs::rename(&temp, folder.join(&name))?;
    File::open(folder)?.sync_all()?;
    // Without power nobody would hear of it. But a disk that is cut off lets a sync that is under
    // way go well now and then: ext4 finds no transaction any more that it would have to wait for.
    if !cut.load(Ordering::Relaxed) {
        notes.lock().unwrap().insert(name, Safe { content, next: None });
    }
    Ok(())
}

/// Files that come and go, and nobody waits for.
fn scratch_files(folder: &Path, worker: u64, chance: &mut Chance) -> io::Result<()> {
    let path = folder.join(format!("scratch-{worker}"));
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir(&path)?;
    for number in 0..chance.next(30) {
        fs::write(path.join(number.to_string()), noise(1000, number))?;
    }
    fs::hard_link(folder.join("packed"), path.join("link"))?;
    fs::hard_link(folder.join("packed"), path.join("again"))?;
    fs::remove_dir_all(&path)
}

fn append(folder: &Path, worker: u64, chance: &mut Chance) -> io::Result<()> {
    let path = folder.join(format!("log-{worker}"));
    let mut file = File::options().append(true).create(true).open(&path)?;
    for number in 0..chance.next(20) {
        writeln!(file, "line {number} of {worker}")?;
    }
    if file.metadata()?.len() > 100_000 {
        file.set_len(10)?;
    }
    Ok(())
}

fn move_folder(folder: &Path, worker: u64, chance: &mut Chance) -> io::Result<()> {
    let name = |number: u64| folder.join(format!("folder-{worker}-{number}"));
    let (from, to) = (chance.next(3), chance.next(3));
    fs::create_dir_all(name(from))?;
    fs::write(name(from).join("inside"), noise(5000, from))?;
    match fs::rename(name(from), name(to)) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            fs::remove_file(name(to).join("inside"))
        }
        done => done,
    }
}

/// Changes a file that was packed before.
fn edit(folder: &Path, worker: u64, chance: &mut Chance) -> io::Result<()> {
    let file = File::options().write(true).open(folder.join(format!("edited-{worker}")))?;
    let bytes = [u8::try_from(worker).unwrap() + b'a'; 3000];
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, chance.next(900_000))
}

/// All can be listed and read, and what was safe is there.
fn check(folder: &Path, notes: &mut BTreeMap<String, Safe>) {
    let mut names: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for path in walk(folder) {
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            let folders = fs::read_dir(&path).unwrap();
            let folders = folders.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
            assert_eq!(meta.nlink(), 2 + folders as u64, "{path:?}");
        } else {
            assert!(meta.is_file(), "{path:?}");
            names.entry(meta.ino()).or_insert((meta.nlink(), 0)).1 += 1;
            let content = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            assert_eq!(content.len() as u64, meta.len(), "{path:?}");
        }
    }
    names.into_iter().for_each(|(ino, (links, names))| assert_eq!(links, names, "names of {ino}"));
    for (name, safe) in notes.iter_mut() {
        let there = fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            there == safe.content || Some(&there) == safe.next.as_ref(),
            "{name}: {} bytes, not the {} that were synced",
            there.len(),
            safe.content.len()
        );
        *safe = Safe { content: there, next: None };
    }
    assert_eq!(fs::read(folder.join("packed")).unwrap(), noise(200_000, 1));
    for worker in 0..2u8 {
        let known = noise(1_000_000, u64::from(worker) + 5);
        let there = fs::read(folder.join(format!("edited-{worker}"))).unwrap();
        let fits = |(there, known): (&u8, &u8)| there == known || *there == worker + b'a';
        assert!(there.len() == known.len() && there.iter().zip(&known).all(fits));
    }
}

/// Kills a mount that is worked on again and again, or takes its disk away.
fn end_again_and_again(options: &[&str], seed: u64, disk: Option<&Disk>) {
    let (scratch, mut store) = with_store(|at| {
        at.file("packed", noise(200_000, 1));
        at.file("edited-0", noise(1_000_000, 5));
        at.file("edited-1", noise(1_000_000, 6));
    });
    if let Some(disk) = disk {
        store = disk.path().join("store");
        packfs!("create", scratch.join("source"), store).run().ok();
    }
    let notes = Notes::default();
    let mut chance = Chance(seed);
    for round in 0..kills() {
        let mount = Mount::writable(&store, options);
        mount.watch(|folder| check(folder, &mut notes.lock().unwrap()));
        let [stop, cut] = [false, false].map(AtomicBool::new);
        let folder = mount.path().to_owned();
        thread::scope(|scope| {
            for worker in 0..2 {
                let (folder, notes, stop, cut) = (&folder, &notes, &stop, &cut);
                scope.spawn(move || load(folder, worker, seed * 1000 + round, notes, stop, cut));
            }
            let start = Instant::now();
            let life = Duration::from_millis(50 + chance.next(1500));
            while start.elapsed() < life {
                let ended = mount.daemon().ends_within(Duration::from_millis(5));
                assert!(!ended, "ended by itself: {}", mount.log());
            }
            stop.store(true, Ordering::Relaxed);
            if let Some(disk) = disk {
                cut.store(true, Ordering::Relaxed);
                disk.cut();
            }
            mount.kill();
        });
        disk.inspect(|disk| disk.again());
    }
    {
        let mount = Mount::writable(&store, options);
        mount.watch(|folder| check(folder, &mut notes.lock().unwrap()));
    }
    packfs!("fsck", "--deep", store).run().exits(0);
    Mount::new(&store).watch(|folder| check(folder, &mut notes.lock().unwrap()));
}

#[test]
fn killed_while_it_is_written_to() {
    end_again_and_again(&[], 1, None);
}

#[test]
fn killed_while_it_commits() {
    end_again_and_again(&["--freeze-after", "0"], 2, None);
}

#[test]
#[ignore = "takes root, loop devices and ext4"]
fn powerless_while_it_is_written_to() {
    let disk = Disk::new(4096);
    end_again_and_again(&[], 3, Some(&disk));
    fs::remove_dir_all(disk.path().join("store")).unwrap();
    end_again_and_again(&["--freeze-after", "0"], 4, Some(&disk));
}

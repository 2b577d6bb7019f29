//! Readers and writers at work for a while, on what was packed, is being packed and was just
//! written, while packs are rebuilt and collected below them: always the same bytes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use packfs::maintain::Source;
use packfs::maintain::check::{Depth, check};
use packfs::monitor::Quiet;

use super::with_store;
use crate::support::Mount;
use crate::support::command::packfs;
use crate::support::hostile::noise;

/// Files that were packed before, and those that are written.
const PACKED: usize = 300;
const WRITTEN: usize = 200;
/// Seconds without upkeep, then with it, and so on.
const TURN: u64 = 15;
/// Bytes that a mount may take: its working set, changes that are not packed yet, and what else.
const MEMORY: u64 = (64 + 512 + 200) << 20;

/// How long it goes on: `PACKFS_LOAD`, in seconds, or a few.
fn duration() -> Duration {
    Duration::from_secs(std::env::var("PACKFS_LOAD").map_or(8, |secs| secs.parse().unwrap()))
}

/// What a file has: noise, and what is easy to compress.
fn content(seed: u64) -> Vec<u8> {
    let length = usize::try_from(seed % 13 * seed % 170_000).unwrap();
    let text: String = (0..length / 20).map(|line| format!("{seed:5} {line:5}\n")).collect();
    [noise(length / 2, seed), text.into_bytes()].concat()
}

fn packed(file: usize) -> String {
    format!("packed{file}")
}

/// The state of a load.
struct Load<'a> {
    folder: &'a Path,
    /// By number, what a written file has now; locked by whoever uses it.
    written: Vec<RwLock<Option<Vec<u8>>>>,
    stop: AtomicBool,
    seed: AtomicU64,
    /// Whether there is upkeep; reads without, and with it.
    turn: AtomicUsize,
    reads: [AtomicU64; 2],
    writes: AtomicU64,
    wrong: Mutex<Option<String>>,
}

impl Load<'_> {
    fn chance(&self) -> u64 {
        let mut state = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^ (state >> 27)
    }

    fn below(&self, end: usize) -> usize {
        usize::try_from(self.chance() >> 16).unwrap() % end
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Ends the load unless what was done is well.
    fn note(&self, what: &str, done: Result<(), String>) {
        if let Err(error) = done {
            self.stop.store(true, Ordering::Relaxed);
            self.wrong.lock().unwrap().get_or_insert(format!("{what}: {error}"));
        }
    }

    fn reader(&self, known: &[Vec<u8>]) {
        while self.goes_on() {
            let file = self.below(PACKED + WRITTEN);
            if let Some(known) = known.get(file) {
                self.note(&packed(file), self.read(&packed(file), Some(known)));
            } else {
                let name = format!("written{}", file - PACKED);
                let has = self.written[file - PACKED].read().unwrap();
                self.note(&name, self.read(&name, has.as_deref()));
            }
            self.reads[self.turn.load(Ordering::Relaxed)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads all of a file, or some of it, which must be what it has.
    fn read(&self, name: &str, has: Option<&[u8]>) -> Result<(), String> {
        let file = match (File::open(self.folder.join(name)), has) {
            (Err(error), None) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            (Err(error), _) => return Err(error.to_string()),
            (Ok(_), None) => return Err("is there, and was removed".to_owned()),
            (Ok(file), Some(_)) => file,
        };
        let has = has.unwrap_or_default();
        let (mut from, mut to) = (0, has.len());
        if self.chance().is_multiple_of(2) && to > 0 {
            from = self.below(to);
            to = (from + 1 + self.below(20_000)).min(to);
        }
        let mut bytes = vec![0; to - from];
        file.read_exact_at(&mut bytes, from as u64).map_err(|error| error.to_string())?;
        match bytes == has[from..to] {
            true => Ok(()),
            false => Err(format!("bytes {from} to {to} of {} are others", has.len())),
        }
    }

    fn writer(&self) {
        while self.goes_on() {
            let number = self.below(WRITTEN);
            let mut has = self.written[number].write().unwrap();
            let name = format!("written{number}");
            match self.write(&self.folder.join(&name), &mut has) {
                Ok(()) => _ = self.writes.fetch_add(1, Ordering::Relaxed),
                Err(error) => self.note(&name, Err(error.to_string())),
            }
        }
    }

    fn write(&self, path: &Path, has: &mut Option<Vec<u8>>) -> io::Result<()> {
        let new = content(self.chance() % 1_000_000);
        match (self.below(8), has.as_mut()) {
            (0, Some(_)) => {
                fs::remove_file(path)?;
                *has = None;
            }
            (1..=3, Some(old)) if !old.is_empty() => {
                let at = self.below(old.len());
                let length = new.len().min(old.len() - at).min(5000);
                old[at..at + length].copy_from_slice(&new[..length]);
                File::options().write(true).open(path)?.write_all_at(&new[..length], at as u64)?;
            }
            (4, _) => {
                let temp = path.with_extension("new");
                let mut file = File::create(&temp)?;
                file.write_all(&new)?;
                file.sync_all()?;
                fs::rename(&temp, path)?;
                *has = Some(new);
            }
            _ => {
                fs::write(path, &new)?;
                *has = Some(new);
            }
        }
        Ok(())
    }

    /// What keeps a store healthy, again and again in every other turn.
    fn upkeep(&self, store: &Path) -> u64 {
        let (start, mut runs) = (Instant::now(), 0);
        while self.goes_on() {
            let turn = start.elapsed().as_secs() / TURN.min(duration().as_secs() / 2).max(1) % 2;
            self.turn.store(usize::try_from(turn).unwrap(), Ordering::Relaxed);
            if turn == 0 {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            let name = format!("name{runs}");
            match runs % 5 {
                0 => packfs!("rebuild", "-q", "--all", "--level", "1", store).run().ok(),
                1 => packfs!("snapshot", "create", store, name).run().ok(),
                2 => packfs!("gc", "-q", store).run().ok(),
                3 => packfs!("rebuild", "-q", store).run().ok(),
                _ => packfs!("snapshot", "delete", store, format!("name{}", runs - 3)).run().ok(),
            };
            runs += 1;
        }
        runs
    }
}

#[test]
fn always_the_same_bytes() {
    let known: Vec<Vec<u8>> = (0..PACKED as u64).map(|file| content(file + 17)).collect();
    let (_scratch, store) = with_store(|at| {
        for (file, bytes) in known.iter().enumerate() {
            at.file(packed(file), bytes);
        }
    });
    packfs!("rebuild", "-q", store, "--parity", "5").run().ok();
    let mount = Mount::writable(&store, &["--freeze-after", "1", "--working-set", "64M"]);
    let load = Load {
        folder: mount.path(),
        written: (0..WRITTEN).map(|_| RwLock::new(None)).collect(),
        stop: AtomicBool::new(false),
        seed: AtomicU64::new(7),
        turn: AtomicUsize::new(0),
        reads: Default::default(),
        writes: AtomicU64::new(0),
        wrong: Mutex::new(None),
    };
    let runs = mount.watch(|_| {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| load.reader(&known));
                scope.spawn(|| load.writer());
            }
            let upkeep = scope.spawn(|| load.upkeep(&store));
            let start = Instant::now();
            while load.goes_on() && start.elapsed() < duration() {
                thread::sleep(Duration::from_millis(50));
            }
            load.stop.store(true, Ordering::Relaxed);
            upkeep.join().unwrap()
        })
    });
    assert_eq!(*load.wrong.lock().unwrap(), None, "{}", mount.log());
    let peak = mount.peak_memory();
    let [alone, beside] = load.reads.each_ref().map(|count| count.load(Ordering::Relaxed));
    println!(
        "{alone} reads without upkeep, {beside} beside {runs} runs of it; {} writes; {} MiB",
        load.writes.load(Ordering::Relaxed),
        peak >> 20
    );
    assert!(peak < MEMORY, "{peak} bytes of memory");
    drop(mount);
    let report = check(&Source::open(&store).unwrap(), Depth::Deep, &Quiet::default()).unwrap();
    assert!(report.damages.is_empty(), "{:?}", report.damages);
}

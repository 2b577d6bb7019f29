//! Archives to be damaged, how they are, and what can be read of them then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use packfs::format::Kind;
use packfs::fs::{ArchiveFs, Owner};
use packfs::maintain::check::{Depth, Harm, Report, check};
use packfs::maintain::{HEAD, Source};
use packfs::monitor::Quiet;
use packfs::storage;
use packfs::store::{At, OpenOptions, Store};

use crate::support::Scratch;
use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::layout::{self, Files};
use crate::support::tree::Folder;

/// How many cases of random damage a test tries.
pub fn cases(few: usize) -> usize {
    std::env::var("PACKFS_TEST_DAMAGES").map_or(few, |count| count.parse().unwrap())
}

/// Numbers that look random, and are the same each time.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }
}

/// What is at a path: its kind and size.
pub type Paths = BTreeMap<Vec<u8>, (Kind, u64)>;

/// An archive that is whole.
pub struct Sample {
    pub files: Files,
    /// What the roots show, by their keys.
    pub roots: BTreeMap<String, Paths>,
    /// Names of all roots that are shown.
    pub names: Vec<String>,
}

pub struct Samples {
    pub scratch: Scratch,
    pub store: Sample,
    pub image: Sample,
}

impl Samples {
    /// The source of the store's roots 1, 2 and 3, and of the image.
    pub fn source(&self, number: usize) -> PathBuf {
        self.scratch.join(&format!("source{number}"))
    }
}

/// A store of three roots, the first two of which have snapshots, and an image.
pub fn samples() -> &'static Samples {
    static SAMPLES: OnceLock<Samples> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let scratch = Scratch::new();
        let top = Folder::open(scratch.path());
        for number in 1..=3 {
            top.folder(format!("source{number}"), |at| fill(at, number));
        }
        let (store, image) = (scratch.join("store"), scratch.join("image.pfs"));
        let small = ["--pack-size", "64K", "--frame-size", "16K", "--quiet"];
        packfs!("create", scratch.join("source1"), store).args(small).run().ok();
        packfs!("create", scratch.join("source3"), image).args(small).run().ok();
        for (number, name) in [(2, "first"), (3, "second")] {
            packfs!("snapshot", "create", store, name).run().ok();
            let source = scratch.join(&format!("source{number}"));
            packfs!("add", store).arg(source.join(".")).args(small).run().ok();
        }
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let store = sample(&store, names(&[HEAD, "first", "second"]));
        let image = sample(&image, names(&[HEAD]));
        Samples { scratch, store, image }
    })
}

fn fill(at: &Folder, number: u64) {
    let text: String = (0..20_000).map(|n| format!("{} ", n * number)).collect();
    at.folder("folder", |at| at.file("text", &text.as_bytes()[..80_000]));
    at.file("noise", noise(200_000, 1));
    at.file(format!("noise{number}"), noise(100_000, number + 3));
    at.file("twice", [noise(40_000, 11), noise(40_000, 11), noise(30_000, number + 20)].concat());
    at.sparse("sparse", 1 << 20, &[(1 << 19, &noise(10_000, 21))]);
    at.symlink("symlink", "target");
    // Several pages of inodes, entries and extents.
    for folder in 0..3 {
        at.folder(format!("many{folder}"), |at| {
            at.folder("empty", |_| ());
            for file in 0..1500 {
                let length = if file % 3 == 0 { 0 } else { 40 };
                at.file(format!("file{file}"), noise(length, folder * 10_000 + file));
            }
        });
    }
    at.folder("last", |at| at.file(format!("only{number}"), noise(5_000, 99)));
}

fn sample(archive: &Path, names: Vec<String>) -> Sample {
    let mut roots = BTreeMap::new();
    for name in &names {
        let fs = open(archive, name).unwrap();
        let mut paths = Paths::new();
        list(&fs, 1, &mut Vec::new(), &mut paths);
        roots.insert(fs.store().root().0.to_owned(), paths);
    }
    let mut files = layout::load(archive);
    files.retain(|key, _| !key.starts_with("live/"));
    Sample { files, roots, names }
}

fn list(fs: &ArchiveFs, folder: u64, path: &mut Vec<u8>, paths: &mut Paths) {
    let mut found = Vec::new();
    fs.list_with_attrs(folder, 0, &mut |listed, attr| {
        found.push((listed.name.to_vec(), *attr));
        true
    })
    .unwrap();
    for (name, attr) in found {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend(&name);
        paths.insert(path.clone(), (attr.kind, attr.size));
        if attr.kind == Kind::Folder {
            list(fs, attr.ino, path, paths);
        }
        path.truncate(length);
    }
}

/// An archive as one of its roots shows it.
pub fn open(archive: &Path, name: &str) -> Result<ArchiveFs, String> {
    let at = if name == HEAD { At::Head } else { At::Snapshot(name.to_owned()) };
    let storage = storage::open(archive).map_err(|error| error.to_string())?;
    let store = Store::open(storage, OpenOptions { at, ..OpenOptions::default() });
    Ok(ArchiveFs::new(Arc::new(store.map_err(|error| error.to_string())?), Owner::default()))
}

/// What a check of an archive says.
pub fn checked(archive: &Path, depth: Depth) -> Report {
    let source = Source::open(archive).unwrap();
    check(&source, depth, &Quiet::default()).unwrap()
}

/// A random damage to an archive, and what it is.
pub fn damage(files: &mut Files, dice: &mut Dice) -> String {
    // Small objects as often as large ones.
    let keys: Vec<String> = files.keys().cloned().collect();
    let key = &keys[dice.below(keys.len())];
    let file = files.get_mut(key).unwrap();
    let at = dice.below(file.len());
    match dice.below(if key.is_empty() { 3 } else { 4 }) {
        0 => {
            file[at] ^= 1 << dice.below(8);
            format!("flip {key} at {at}")
        }
        1 => {
            let end = (at + 1 + dice.below(300)).min(file.len());
            // Not what is zero already.
            file[at..end].iter_mut().for_each(|byte| *byte = !*byte);
            format!("wipe {key} {at}..{end}")
        }
        2 => {
            file.truncate(at);
            format!("truncate {key} to {at}")
        }
        _ => {
            files.remove(key);
            format!("delete {key}")
        }
    }
}

/// What a report says is hurt in one root.
#[derive(Debug, Default)]
struct Said {
    all: BTreeSet<Vec<u8>>,
    bytes: BTreeMap<Vec<u8>, Vec<(u64, u64)>>,
    names: Vec<Unlisted>,
}

/// A folder, and the names in it that cannot be looked up, from the first to before the last.
type Unlisted = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

impl Said {
    fn of(report: &Report, name: &str) -> Self {
        let mut said = Self::default();
        let hurts = report.damages.iter().flat_map(|damage| &damage.hurts);
        for hurt in hurts.filter(|hurt| hurt.roots.iter().any(|root| root == name)) {
            let path = hurt.path.clone();
            match &hurt.harm {
                Harm::All => _ = said.all.insert(path),
                Harm::Bytes(from, to) => {
                    assert!(from < to, "{hurt:?}");
                    said.bytes.entry(path).or_default().push((*from, *to));
                }
                Harm::Names(from, to) => said.names.push((path, from.clone(), to.clone())),
                Harm::Wrong => panic!("nobody forged this: {hurt:?}"),
            }
        }
        said
    }

    /// Whether a path cannot be reached.
    fn lost(&self, path: &[u8]) -> bool {
        let mut at: Vec<u8> = Vec::new();
        if self.all.contains(&at) {
            return true;
        }
        for name in path.split(|byte| *byte == b'/') {
            let within = |(folder, from, to): &Unlisted| {
                *folder == at && name >= &from[..] && to.as_ref().is_none_or(|to| name < &to[..])
            };
            if self.names.iter().any(within) {
                return true;
            }
            if !at.is_empty() {
                at.push(b'/');
            }
            at.extend(name);
            if self.all.contains(&at) {
                return true;
            }
        }
        false
    }
}

/// Compares what a report says is hurt with what reading everything says.
pub fn compare(archive: &Path, sample: &Sample, report: &Report) -> Result<(), String> {
    for name in &sample.names {
        let said = Said::of(report, name);
        let fs = match open(archive, name) {
            Ok(fs) => fs,
            Err(_) if said.all.contains(&Vec::new()) => continue,
            Err(_) if gone(archive, name) => continue,
            Err(error) => return Err(format!("{name}: {error}, but fsck says {said:?}")),
        };
        let paths = &sample.roots[fs.store().root().0];
        for (path, (kind, size)) in paths {
            let shown = || format!("{name}: {}", String::from_utf8_lossy(path));
            let ino = reach(&fs, path);
            if ino.is_none() != said.lost(path) {
                return Err(format!("{}: found {ino:?}, said {said:?}", shown()));
            }
            let Some(ino) = ino else { continue };
            match kind {
                Kind::Folder => {
                    let listed = fs.list(ino, 0, &mut |_| true).is_ok();
                    if listed == said.names.iter().any(|(folder, ..)| folder == path) {
                        return Err(format!("{}: listed {listed}, said {said:?}", shown()));
                    }
                }
                Kind::File => {
                    let hurt = said.bytes.get(path).map_or(&[][..], Vec::as_slice);
                    data(&fs, ino, *size, hurt).map_err(|error| format!("{}: {error}", shown()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether a snapshot is not there at all.
fn gone(archive: &Path, name: &str) -> bool {
    name != HEAD && !archive.join("snapshots").join(name).exists()
}

fn reach(fs: &ArchiveFs, path: &[u8]) -> Option<u64> {
    let mut at = 1;
    for name in path.split(|byte| *byte == b'/') {
        at = fs.lookup(at, name).ok()??.ino;
    }
    Some(at)
}

/// Reads all of a file, around the edges of what is said to be hurt byte by byte.
fn data(fs: &ArchiveFs, ino: u64, size: u64, hurt: &[(u64, u64)]) -> Result<(), String> {
    let mut edges: BTreeSet<u64> = (0..size).step_by(7_001).collect();
    for (from, to) in hurt {
        edges.extend([from.saturating_sub(1), *from, from + 1, to - 1, *to, to + 1]);
    }
    let mut edges: Vec<u64> = edges.into_iter().filter(|edge| *edge < size).collect();
    edges.push(size);
    for pair in edges.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let reads = fs.read(ino, from, u32::try_from(to - from).unwrap()).is_ok();
        if reads == hurt.iter().any(|(first, end)| from < *end && *first < to) {
            return Err(format!("bytes {from} to {to}: read {reads}, said {hurt:?}"));
        }
    }
    Ok(())
}

/// A folder with an archive in it.
pub fn put(files: &Files) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let archive = scratch.join(if files.contains_key("") { "image.pfs" } else { "store" });
    if !files.contains_key("") {
        fs::create_dir(&archive).unwrap();
    }
    layout::save(files, &archive);
    (scratch, archive)
}

/// The packs that have some block of some file.
pub fn packs_read(fs: &ArchiveFs) -> BTreeSet<String> {
    let (store, mut packs) = (fs.store(), BTreeSet::new());
    let tree = store.tree();
    for at in 0..tree.footer().extents.len() {
        for extent in tree.extents_of(at).unwrap().extents {
            let Ok(origin) = store.origin(extent.origin) else { continue };
            store.index().stretches(origin, extent.first, extent.count, |segment, local, count| {
                let listed = &store.index().segments()[segment as usize];
                for block in local..local + count {
                    let (frame, _) = listed.locate(block).unwrap();
                    let (_, pack) = listed.frame(frame).unwrap();
                    packs.insert(packfs::pack::key(&listed.packs()[pack as usize].0));
                }
            });
        }
    }
    packs
}

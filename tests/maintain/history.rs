//! Histories of a store against a model that knows what each root shows: whatever is added,
//! written live, named, collected, rebuilt, read and cut off, everything that is shown reads as it
//! was, and once nobody reads an older root, two collections leave nothing that is not needed. What
//! parity protects is always there, and in the end it is all that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use packfs::format::{BlockHash, Codec, Cutting, Kind, hex};
use packfs::fs::{ArchiveFs, Owner};
use packfs::ingest::{self, CreateOptions, Source};
use packfs::live::{Changes, LiveFs, LiveOptions, Made};
use packfs::maintain::{Error, collect, protect, rebuild};
use packfs::monitor::Quiet;
use packfs::parity::{Health, sets};
use packfs::storage::{MemoryStorage, Storage};
use packfs::store::{At, OpenOptions, Store, snapshots};
use packfs::tree;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::fragile::Fragile;
use super::sample::packs_read;
use crate::support::hostile::noise;

/// What a root shows: the content of each file.
type Shown = BTreeMap<String, Vec<u8>>;

/// How many histories there are by default: `PROPTEST_CASES` says otherwise.
const HISTORIES: u32 = 60;

#[derive(Debug, Clone)]
enum Step {
    /// Files by name, and which content each gets.
    Add(Vec<(u8, u8)>),
    /// As add, but cut off before its n-th write.
    BrokenAdd(Vec<(u8, u8)>, u8),
    /// Files are written, and whoever writes stays.
    Write(Vec<(u8, u8)>),
    /// As write, and committed, but the commit is cut off before its n-th write.
    BrokenCommit(Vec<(u8, u8)>, u8),
    Commit,
    /// Whoever writes is gone at once, after a sync.
    Crash,
    Name(u8),
    Unname(u8),
    /// Somebody begins to read the newest root, or a snapshot.
    Read(Option<u8>),
    /// A reader ends.
    Leave(u8),
    Collect,
    BrokenCollect(u8),
    Rebuild(bool),
    BrokenRebuild(bool, u8),
}

fn files() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0u8..6, 0u8..12), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => files().prop_map(Step::Add),
        1 => (files(), 0u8..8).prop_map(|(files, at)| Step::BrokenAdd(files, at)),
        3 => files().prop_map(Step::Write),
        1 => (files(), 0u8..6).prop_map(|(files, at)| Step::BrokenCommit(files, at)),
        2 => Just(Step::Commit),
        1 => Just(Step::Crash),
        2 => (0u8..3).prop_map(Step::Name),
        2 => (0u8..3).prop_map(Step::Unname),
        2 => prop::option::of(0u8..3).prop_map(Step::Read),
        2 => (0u8..4).prop_map(Step::Leave),
        3 => Just(Step::Collect),
        2 => (0u8..24).prop_map(Step::BrokenCollect),
        3 => any::<bool>().prop_map(Step::Rebuild),
        2 => (any::<bool>(), 0u8..10).prop_map(|(all, at)| Step::BrokenRebuild(all, at)),
    ]
}

/// Content number so-and-so: three parts, each of which others have, too.
fn content(number: u8) -> Vec<u8> {
    let parts = [number % 3, 10 + number % 4, 20 + number];
    parts.iter().flat_map(|part| noise(900 + usize::from(*part) * 40, u64::from(*part))).collect()
}

/// A tar of these files.
fn tar(files: &[(u8, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, number) in files {
        let content = content(*number);
        let mut header = vec![0u8; 512];
        let name = format!("file-{name}");
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(header);
        out.extend(&content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn options() -> CreateOptions {
    CreateOptions {
        cutting: Cutting { min: 64, average: 256, max: 65_536 },
        hash: BlockHash::Blake3,
        codec: Codec::Lz4,
        frame_size: Some(4096),
        pack_size: 8192,
        threads: 1,
        ..CreateOptions::default()
    }
}

fn open(storage: &Arc<dyn Storage>, at: At) -> ArchiveFs {
    let store = Store::open(Arc::clone(storage), OpenOptions { at, working_set: 1 << 20 }).unwrap();
    ArchiveFs::new(Arc::new(store), Owner::default())
}

/// All that an opened archive shows.
fn shown(fs: &ArchiveFs) -> Shown {
    let tree = fs.store().tree();
    let mut names = Vec::new();
    let each = |name: &[u8], found: tree::Found, _| {
        names.push((String::from_utf8(name.to_vec()).unwrap(), found));
        true
    };
    tree.list(tree::ROOT, 0, each).unwrap();
    let read = |(name, found): (String, tree::Found)| {
        assert_eq!(found.kind, Kind::File);
        let size = tree.inode(found.inode, |_, inode| inode.size).unwrap().unwrap();
        let size = u32::try_from(size).unwrap();
        (name, fs.read(found.inode, 0, size).unwrap().to_vec())
    };
    names.into_iter().map(read).collect()
}

/// All that whoever writes sees.
fn seen(fs: &LiveFs) -> Shown {
    let mut names = Vec::new();
    fs.list(tree::ROOT, 0, &mut |entry| {
        names.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.ino));
        true
    })
    .unwrap();
    let read = |(name, ino): (String, u64)| {
        let size = u32::try_from(fs.attr(ino).unwrap().size).unwrap();
        (name, fs.read(ino, 0, size).unwrap().to_vec())
    };
    names.into_iter().map(read).collect()
}

/// Copies `bytes`, all that the file of that name has, but for the first of them, and tells them.
fn copy(fs: &LiveFs, name: &str, to: u64, bytes: &[u8], skip: usize) -> Vec<u8> {
    let from = fs.lookup(tree::ROOT, name.as_bytes()).unwrap().unwrap().ino;
    let rest = &bytes[skip.min(bytes.len())..];
    let (skip, length) = ((bytes.len() - rest.len()) as u64, rest.len() as u64);
    let mut done = 0;
    while done < length {
        done += fs.copy_range((from, skip + done), (to, done), length - done).unwrap();
    }
    rest.to_vec()
}

/// Where journals are: where a sync takes no time, if there is such a place.
fn journals() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

struct Model {
    storage: Arc<dyn Storage>,
    head: Shown,
    folder: tempfile::TempDir,
    /// Who writes, and what that sees.
    live: Option<(LiveFs, Shown)>,
    named: BTreeMap<String, Shown>,
    /// How much parity there is.
    parity: Option<u32>,
    readers: Vec<(ArchiveFs, Shown)>,
}

impl Model {
    fn new(parity: Option<u32>) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let first = [(0, 0)];
        let bytes = tar(&first);
        let source = Source::Tar(&mut &bytes[..]);
        ingest::create(source, &*storage, &options(), &Quiet::default()).unwrap();
        let head = [("file-0".to_owned(), content(0))].into();
        let (folder, named, readers) = (journals(), BTreeMap::new(), Vec::new());
        let model = Self { storage, head, folder, live: None, named, parity, readers };
        model.protect(&model.storage).unwrap();
        model
    }

    fn protect(&self, storage: &Arc<dyn Storage>) -> Result<u64, Error> {
        protect::protect(storage, self.parity, &Quiet::default())
    }

    fn add(&mut self, storage: &Arc<dyn Storage>, files: &[(u8, u8)]) {
        let bytes = tar(files);
        let store = Store::open(Arc::clone(storage), OpenOptions::default()).unwrap();
        let source = Source::Tar(&mut &bytes[..]);
        let added = ingest::add(source, &[], &store, &options(), &Quiet::default());
        let mut after = self.head.clone();
        after.extend(files.iter().map(|(name, it)| (format!("file-{name}"), content(*it))));
        match added {
            Ok(_) => {
                self.head = after;
                let _ = self.protect(storage);
            }
            // It may have been published nevertheless.
            Err(_) if shown(&open(&self.storage, At::Head)) == after => self.head = after,
            Err(_) => {}
        }
    }

    /// Writes to the store; through that `storage`, if nobody does yet.
    fn write(&mut self, storage: &Arc<dyn Storage>, files: &[(u8, u8)]) {
        let (fs, mut now) = self.live.take().unwrap_or_else(|| {
            let (folder, storage) = (self.folder.path(), Arc::clone(storage));
            let fs = LiveFs::open_over(folder, storage, LiveOptions::default()).unwrap();
            let now = seen(&fs);
            (fs, now)
        });
        for (name, number) in files {
            let name = format!("file-{name}");
            // What has two digits is written over, the others are made anew.
            let there = fs.lookup(tree::ROOT, name.as_bytes()).unwrap();
            let ino = match there {
                Some(attr) if *number > 9 => {
                    let size = Some(0);
                    fs.change(attr.ino, &Changes { size, ..Changes::default() }).unwrap();
                    attr.ino
                }
                there => {
                    if there.is_some() {
                        fs.unlink(tree::ROOT, name.as_bytes(), false).unwrap();
                    }
                    let mode = Kind::File.mode() | 0o644;
                    let made = Made { mode, umask: 0, owner: (0, 0), rdev: 0, target: b"" };
                    fs.make(tree::ROOT, name.as_bytes(), &made).unwrap().ino
                }
            };
            let source = now.iter().find(|(other, _)| *number % 3 == 0 && **other != name);
            let bytes = match source {
                Some((source, bytes)) => copy(&fs, source, ino, bytes, usize::from(*number)),
                None => {
                    let bytes = content(*number);
                    fs.write(ino, 0, &bytes, false).unwrap();
                    bytes
                }
            };
            now.insert(name, bytes);
        }
        self.live = Some((fs, now));
    }

    /// What was written is part of the store.
    fn commit(&mut self) {
        if let Some((fs, now)) = &self.live {
            fs.commit().unwrap();
            self.head.clone_from(now);
            self.protect(&self.storage).unwrap();
        }
    }

    /// Whoever writes commits, and ends.
    fn close(&mut self) {
        self.commit();
        self.live = None;
    }

    /// A commit that is cut off before its n-th write.
    fn broken_commit(&mut self, files: &[(u8, u8)], at: u8) {
        self.write(&Fragile::of(&self.storage, at), files);
        if let Some((fs, now)) = &self.live
            && fs.commit().is_ok()
        {
            self.head.clone_from(now);
        }
        self.crash();
    }

    fn name(&mut self, name: String) {
        let key = open(&self.storage, At::Head).store().root().0.to_owned();
        if snapshots::create(&*self.storage, &name, &key, 0).is_ok() {
            self.named.insert(name, self.head.clone());
        }
    }

    /// Whoever writes is gone, and another one finds what was synced.
    fn crash(&mut self) {
        let Some((fs, now)) = self.live.take() else { return };
        fs.sync().unwrap();
        drop(fs);
        let storage = Arc::clone(&self.storage);
        self.write(&storage, &[]);
        let found = self.live.as_ref().map(|(_, found)| found);
        assert_eq!(found, Some(&now), "what was synced");
        self.head = shown(&open(&self.storage, At::Head));
    }

    fn collect(&self, storage: &Arc<dyn Storage>) -> bool {
        // A plan, which must not fail, says what is read now: who reads the newest root reads an
        // older one afterwards, and an older one may be that of a snapshot again.
        collect::plan(&self.storage).unwrap();
        collect::collect(storage, 0, &Quiet::default(), &mut || Ok(())).is_ok()
    }

    fn rebuild(&self, storage: &Arc<dyn Storage>, all: bool) {
        let options = rebuild::RebuildOptions {
            all,
            dead: 100,
            max_bytes: u64::MAX,
            until: None,
            trace: None,
            naming: None,
            packing: options(),
        };
        let plan = rebuild::plan(storage, &options).unwrap();
        let made = rebuild::write(plan, &**storage, &options, &Quiet::default());
        match (made, &self.live) {
            (Ok((Some(made), _)), Some((fs, _))) => fs.adopt(&made).unwrap(),
            (Ok((Some(made), _)), None) => _ = rebuild::adopt(&**storage, &made, 0),
            (_, Some((fs, _))) => _ = fs.commit().unwrap(),
            _ => {}
        }
    }

    fn step(&mut self, step: &Step) {
        let storage = Arc::clone(&self.storage);
        if matches!(step, Step::Add(_) | Step::BrokenAdd(..) | Step::BrokenCommit(..))
            || matches!(step, Step::BrokenCollect(_) | Step::BrokenRebuild(..))
        {
            // Only one writes at a time.
            self.close();
        }
        match step {
            Step::Write(files) => self.write(&storage, files),
            Step::Commit => self.commit(),
            Step::Crash => self.crash(),
            Step::BrokenCommit(files, at) => self.broken_commit(files, *at),
            Step::Add(files) => self.add(&storage, files),
            Step::BrokenAdd(files, at) => self.add(&Fragile::of(&storage, *at), files),
            Step::Name(name) => self.name(format!("snapshot-{name}")),
            Step::Unname(name) => {
                let name = format!("snapshot-{name}");
                let was = self.named.remove(&name).is_some();
                assert_eq!(snapshots::delete(&*storage, &name).is_ok(), was);
            }
            Step::Read(None) => {
                self.readers.push((open(&storage, At::Head), self.head.clone()));
            }
            Step::Read(Some(name)) => {
                let name = format!("snapshot-{name}");
                if let Some(shown) = self.named.get(&name) {
                    self.readers.push((open(&storage, At::Snapshot(name)), shown.clone()));
                }
            }
            Step::Leave(reader) => {
                if !self.readers.is_empty() {
                    self.readers.remove(usize::from(*reader) % self.readers.len());
                }
            }
            Step::Collect => match &self.live {
                Some((fs, now)) => {
                    fs.collect().unwrap();
                    self.head.clone_from(now);
                }
                None => assert!(self.collect(&storage)),
            },
            Step::BrokenCollect(at) => {
                self.collect(&Fragile::of(&storage, *at));
            }
            Step::Rebuild(all) => {
                self.rebuild(&storage, *all);
                if let Some((_, now)) = &self.live {
                    self.head.clone_from(now);
                }
            }
            Step::BrokenRebuild(all, at) => self.rebuild(&Fragile::of(&storage, *at), *all),
        }
        self.check();
    }

    fn check(&self) {
        self.check_parity(false);
        assert_eq!(shown(&open(&self.storage, At::Head)), self.head, "the newest root");
        if let Some((fs, now)) = &self.live {
            assert_eq!(&seen(fs), now, "what was written");
        }
        for (name, expected) in &self.named {
            let fs = open(&self.storage, At::Snapshot(name.clone()));
            assert_eq!(&shown(&fs), expected, "{name}");
        }
        for (reader, expected) in &self.readers {
            assert_eq!(&shown(reader), expected, "a reader of {}", reader.store().root().0);
        }
    }

    /// Whether all that parity protects is there, and it is whole; with `all`, whether it protects
    /// all there is.
    fn check_parity(&self, all: bool) {
        let (sets, broken) = sets(&*self.storage).unwrap();
        assert!(broken.is_empty());
        let mut protected = BTreeSet::new();
        for set in &sets {
            let health = set.heal(&*self.storage).unwrap();
            assert!(matches!(health, Health::Whole), "{health:?}");
            protected.extend(set.members().iter().map(|member| member.key.clone()));
        }
        if all && self.parity.is_some() {
            let there = self.storage.list("").unwrap().into_iter();
            let not = ["parity/", "snapshots/"];
            let there = there.filter(|key| !not.iter().any(|not| key.starts_with(not)));
            assert_eq!(protected, there.collect(), "what is protected, and what there is");
        }
    }

    /// Whether there are just those objects that the newest root and snapshots need.
    fn check_lean(&self) {
        let mut needed = BTreeSet::new();
        let at = self.named.keys().map(|name| At::Snapshot(name.clone()));
        for at in at.chain([At::Head]) {
            let fs = open(&self.storage, at);
            let (key, root) = fs.store().root();
            needed.insert(key.to_owned());
            needed.insert(tree::key(&root.tree.id));
            needed.extend(fs.store().tree().footer().others.iter().map(|it| tree::key(&it.id)));
            needed.extend(root.segments.iter().map(|it| format!("index/{}", hex(&it.id))));
            needed.extend(packs_read(&fs));
            // Those that link what is left of chains have no blocks.
            for segment in fs.store().index().segments() {
                let of = |frame| segment.frame(frame).map(|(_, pack)| pack as usize);
                let full: BTreeSet<_> = (0..segment.frame_count()).filter_map(of).collect();
                let links = segment.packs().iter().enumerate().filter(|(at, _)| !full.contains(at));
                needed.extend(links.map(|(_, (id, _))| packfs::pack::key(id)));
            }
        }
        let there: BTreeSet<String> = ["roots/", "trees/", "index/", "packs/"]
            .iter()
            .flat_map(|prefix| self.storage.list(prefix).unwrap())
            .collect();
        assert_eq!(there, needed, "what there is, and what is needed");
    }
}

/// Plays steps, and then checks what is left without readers.
fn play(steps: &[Step], parity: Option<u32>) {
    let mut model = Model::new(parity);
    steps.iter().for_each(|step| model.step(step));
    model.close();
    model.readers.clear();
    let storage = Arc::clone(&model.storage);
    for _ in 0..2 {
        assert!(model.collect(&storage));
    }
    model.check();
    model.check_lean();
    model.check_parity(true);
}

#[test]
fn what_was_moved_and_is_shown_by_a_snapshot_alone_lies_in_one_pack() {
    let first = Step::Add(vec![(0, 1), (3, 4)]);
    play(&[first, Step::Name(0), Step::Rebuild(false), Step::Add(vec![(3, 9)])], None);
}

proptest! {
    #![proptest_config(Config {
        cases: std::env::var("PROPTEST_CASES").map_or(HISTORIES, |it| it.parse().unwrap()),
        failure_persistence: None,
        ..Config::default()
    })]
    #[test]
    fn nothing_needed_goes_and_nothing_else_stays(
        parity in prop::option::of(Just(30)),
        steps in prop::collection::vec(step(), 1..24),
    ) {
        play(&steps, parity);
    }
}

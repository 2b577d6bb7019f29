//! A store under test beside what it should be: compared, committed, cut short, opened again.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use packfs::format::{Cutting, Kind};
use packfs::fs::{ArchiveFs, Owner};
use packfs::ingest::{CreateOptions, Source, create};
use packfs::live::LiveFs;
use packfs::monitor::Quiet;
use packfs::storage::{self, LocalStorage};
use packfs::store::{OpenOptions, Store};

use super::reference::{File, Reads, Reference, Rest, check_holes, look};
use crate::support::hostile::noise;
use crate::support::tree::Folder;

/// How a store comes to be opened again.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// All is committed.
    Committed,
    /// All is in the journal.
    Synced,
    /// Something may be lost since the last sync.
    Crashed,
    /// All was committed, and its journal is still there.
    Replayed,
}

/// A store with a few files in it, to be copied.
fn template() -> &'static Path {
    static STORE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = STORE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        Folder::open(folder.path()).folder("source", |at| {
            at.file("a", noise(100_000, 1));
            at.sparse("b", 250_000, &[(0, &noise(40_000, 2)), (200_000, &noise(30_000, 3))]);
            at.folder("c", |at| at.file("d", "small"));
            at.symlink("d", "target");
        });
        let cutting = Cutting { min: 512, average: 2048, max: 8192 };
        let options = CreateOptions { cutting, ..CreateOptions::default() };
        let storage = LocalStorage::new(&folder.path().join("store"));
        let source = Source::Folder(&folder.path().join("source"));
        create(source, &storage, &options, &Quiet::default()).unwrap();
        folder
    });
    made.path()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A store of its own.
pub fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    copy(&template().join("store"), &store);
    (folder, store)
}

/// A store under test, and what it should be.
pub struct Trial {
    _folder: tempfile::TempDir,
    store: PathBuf,
    pub fs: Option<LiveFs>,
    pub now: Reference,
    /// What it was when it was synced, and what was written since.
    synced: Reference,
    pub written: Vec<(u64, u64, Vec<u8>)>,
}

impl Trial {
    pub fn new() -> Self {
        let (folder, store) = fresh();
        let fs = super::open_once_free(&store).unwrap();
        let (now, _) = Reference::scan(&fs);
        let synced = now.clone();
        Self { _folder: folder, store, fs: Some(fs), now, synced, written: vec![] }
    }

    pub fn fs(&self) -> &LiveFs {
        self.fs.as_ref().unwrap()
    }

    /// All there is now would survive a crash.
    pub fn safe(&mut self) {
        self.synced = self.now.clone();
        self.written.clear();
    }

    /// A file is what it should be.
    pub fn check(&self, ino: u64) {
        let Some(file) = self.now.files.get(&ino) else {
            assert!(self.fs().attr(ino).is_err());
            return;
        };
        same(&look(self.fs(), ino), file, ino);
        if file.kind == Kind::File {
            check_holes(self.fs(), ino, &file.data);
            let (from, to) = (file.data.len() / 3, file.data.len() / 2);
            let (at, length) = (from as u64, u32::try_from(to - from).unwrap());
            assert_eq!(Reads::read(self.fs(), ino, at, length).unwrap(), file.data[from..to]);
        }
    }

    /// All files are what they should be.
    pub fn check_all(&self) -> Rest {
        let (found, rest) = Reference::scan(self.fs());
        let named = self.now.named();
        assert!(found.files.keys().eq(named.files.keys()), "{:?}", found.files.keys());
        found.files.iter().for_each(|(ino, file)| same(file, &named.files[ino], *ino));
        self.now.files.keys().for_each(|ino| self.check(*ino));
        rest
    }

    pub fn commit(&mut self) {
        let before = self.check_all();
        self.fs().commit().unwrap();
        self.safe();
        assert_eq!(self.check_all(), before);
        self.check_root();
    }

    /// The newest root has all that there is.
    fn check_root(&self) {
        let storage = storage::open(&self.store).unwrap();
        let store = Store::open(storage, OpenOptions::default()).unwrap();
        let totals = store.root().1.totals;
        let archive = ArchiveFs::new(Arc::new(store), Owner::default());
        let (found, _) = Reference::scan(&archive);
        let named = self.now.named();
        assert!(found.files.keys().eq(named.files.keys()), "{:?}", found.files.keys());
        for (ino, file) in &found.files {
            same(file, &named.files[ino], *ino);
            if file.kind == Kind::File {
                let kept = file.data.len() as u64 - check_holes(&archive, *ino, &file.data);
                let blocks = Reads::attr(&archive, *ino).unwrap().blocks;
                assert_eq!(blocks, kept.div_ceil(512), "blocks of {ino}");
            }
        }
        let files = found.files.values().filter(|file| file.kind == Kind::File);
        let bytes: usize = files.clone().map(|file| file.data.len()).sum();
        let entries: usize = found.files.values().map(|file| file.names.len()).sum();
        assert_eq!(totals.files, files.count() as u64);
        assert_eq!(totals.bytes, bytes as u64);
        assert_eq!(totals.entries, entries as u64 + 1);
    }

    /// Roots cannot be written while this commits.
    pub fn fail_to_commit(&mut self) {
        let before = self.check_all();
        let (roots, aside) = (self.store.join("roots"), self.store.join("aside"));
        fs::rename(&roots, &aside).unwrap();
        fs::write(&roots, "").unwrap();
        let journal = self.newest_journal();
        let failed = self.fs().commit();
        fs::remove_file(&roots).unwrap();
        fs::rename(&aside, &roots).unwrap();
        match failed {
            // An older layer failed: what came after it is not in the journal.
            Err(_) if self.newest_journal() == journal => {}
            Err(_) => self.safe(),
            Ok(number) => {
                assert_eq!(number, None);
                self.safe();
            }
        }
        assert_eq!(self.check_all(), before);
    }

    pub fn reopen(&mut self, way: Way) {
        let before = self.check_all();
        let aside = self.store.join("aside");
        match way {
            Way::Committed => self.commit(),
            Way::Synced => {
                self.fs().sync().unwrap();
                self.safe();
            }
            Way::Crashed => {}
            Way::Replayed => {
                self.fs().sync().unwrap();
                copy(&self.store.join("live"), &aside);
                self.commit();
            }
        }
        self.fs = None;
        if let Way::Replayed = way {
            self.put_back(&aside);
        }
        self.fs = Some(super::open_once_free(&self.store).unwrap());
        self.now.known.clear();
        self.now = match way {
            Way::Crashed => self.after_crash(),
            _ => self.now.named(),
        };
        self.safe();
        let after = self.check_all();
        assert!(matches!(way, Way::Crashed) || after == before);
    }

    fn newest_journal(&self) -> u64 {
        let files = fs::read_dir(self.store.join("live")).unwrap().map(Result::unwrap);
        let names = files.map(|file| file.file_name().into_string().unwrap());
        let number = |name: String| name.strip_prefix("journal-")?.parse().ok();
        names.filter_map(number).max().unwrap_or(0)
    }

    /// Puts the journal back that was removed last since they were set aside, and its spool: as if
    /// the last commit had been cut short before it removed them.
    fn put_back(&mut self, aside: &Path) {
        let live = self.store.join("live");
        let numbers = 0..=self.newest_journal();
        let removed = |number: &u64| {
            let journal = format!("journal-{number}");
            aside.join(&journal).exists() && !live.join(&journal).exists()
        };
        if let Some(last) = numbers.rev().find(removed) {
            for name in [format!("journal-{last}"), format!("spool-{last}")] {
                fs::copy(aside.join(&name), live.join(&name)).unwrap();
            }
            // Before the root was there, the journal was told which it was to be.
            let journal =
                fs::File::options().write(true).open(live.join(format!("journal-{last}")));
            let next = super::base(&self.store).encode();
            journal.unwrap().write_all_at(&next, super::journal::NEXT_AT as u64).unwrap();
        }
        fs::remove_dir_all(aside).unwrap();
    }

    /// What was synced, but for bytes that were written over it since.
    fn after_crash(&self) -> Reference {
        let mut named = self.synced.named();
        for (ino, file) in &mut named.files {
            if file.kind != Kind::File {
                continue;
            }
            let there = Reads::read(self.fs(), *ino, 0, u32::MAX >> 1).unwrap();
            assert_eq!(there.len(), file.data.len());
            let mut known: Vec<bool> = there.iter().zip(&file.data).map(|(a, b)| a == b).collect();
            for (_, offset, bytes) in self.written.iter().filter(|written| written.0 == *ino) {
                let at = usize::try_from(*offset).unwrap();
                let range = known.iter_mut().zip(&there).skip(at);
                range.zip(bytes).for_each(|((known, there), byte)| *known |= there == byte);
            }
            assert!(known.into_iter().all(|known| known), "bytes of {ino} that nobody wrote");
            file.data = there;
        }
        named
    }
}

#[track_caller]
fn same(found: &File, expected: &File, ino: u64) {
    if found == expected {
        return;
    }
    let at = found.data.iter().zip(&expected.data).position(|(a, b)| a != b);
    let short = |file: &File| File { data: Vec::new(), ..file.clone() };
    let (sizes, found) = ((found.data.len(), expected.data.len()), short(found));
    panic!("{ino}: {found:?}, not {:?}; sizes {sizes:?}, from byte {at:?}", short(expected));
}

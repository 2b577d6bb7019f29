//! Any sequence of operations leaves what the same leaves in a plain model, whenever it is synced,
//! committed, or cut short by a crash.

use std::collections::BTreeMap;

use packfs::format::Kind;
use packfs::live::{Changes, Made, Replace};
use proptest::prelude::*;
use proptest::sample::Index;

use super::reference::File;
use super::trial::{Trial, Way};
use crate::support::hostile::noise;

const NAMES: [&[u8]; 6] = [b"a", b"b", b"c", b"d", b"e", b"f"];
const KINDS: [Kind; 6] =
    [Kind::File, Kind::File, Kind::File, Kind::Folder, Kind::Symlink, Kind::Fifo];
const LONGEST: u64 = 300_000;

/// Something that is done: to some of the files that there are, under one of the names.
#[derive(Debug, Clone)]
enum Step {
    Make(Index, usize, usize),
    Link(Index, Index, usize),
    Unlink(Index, usize),
    Rename((Index, usize), (Index, usize), u8),
    Write(Index, u64, u64, u8),
    Resize(Index, u64),
    Punch(Index, u64, u64),
    Copy((Index, u64), (Index, u64), u64),
    Extend(Index, u64, u64),
    Mode(Index, u32),
    Xattr(Index, u8, Option<usize>),
    Remember(Index),
    Forget(Index),
    Sync,
    Commit,
    FailingCommit,
    Reopen(Way),
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<Index>;
    let name = || 0..NAMES.len();
    let offset =
        || prop_oneof![Just(0), 0..5000u64, 0..LONGEST, (0..70u64).prop_map(|page| page * 4096)];
    let length = || prop_oneof![0..100u64, Just(4096), 0..20_000u64, 0..90_000u64];
    let way = prop_oneof![
        Just(Way::Committed),
        Just(Way::Synced),
        Just(Way::Crashed),
        Just(Way::Replayed)
    ];
    prop_oneof![
        6 => (at(), name(), 0..KINDS.len()).prop_map(|(a, b, c)| Step::Make(a, b, c)),
        2 => (at(), at(), name()).prop_map(|(a, b, c)| Step::Link(a, b, c)),
        4 => (at(), name()).prop_map(|(a, b)| Step::Unlink(a, b)),
        4 => ((at(), name()), (at(), name()), 0..3u8).prop_map(|(a, b, c)| Step::Rename(a, b, c)),
        8 => (at(), offset(), length(), any::<u8>())
            .prop_map(|(a, b, c, d)| Step::Write(a, b, c, d)),
        4 => (at(), offset()).prop_map(|(a, b)| Step::Resize(a, b)),
        3 => (at(), offset(), length()).prop_map(|(a, b, c)| Step::Punch(a, b, c)),
        4 => ((at(), offset()), (at(), offset()), length())
            .prop_map(|(a, b, c)| Step::Copy(a, b, c)),
        1 => (at(), offset(), length()).prop_map(|(a, b, c)| Step::Extend(a, b, c)),
        1 => (at(), 0..0o2000u32).prop_map(|(a, b)| Step::Mode(a, b)),
        2 => (at(), 0..3u8, prop::option::of(0..300usize))
            .prop_map(|(a, b, c)| Step::Xattr(a, b, c)),
        2 => at().prop_map(Step::Remember),
        2 => at().prop_map(Step::Forget),
        2 => Just(Step::Sync),
        2 => Just(Step::Commit),
        1 => Just(Step::FailingCommit),
        3 => way.prop_map(Step::Reopen),
    ]
}

impl Trial {
    fn any(&self, index: Index) -> u64 {
        *self.now.files.keys().nth(index.index(self.now.files.len())).unwrap()
    }

    /// A regular file, if there is one.
    fn any_file(&self, index: Index) -> Option<u64> {
        let files = self.now.files.iter().filter(|(_, file)| file.kind == Kind::File);
        let files: Vec<u64> = files.map(|(ino, _)| *ino).collect();
        (!files.is_empty()).then(|| files[index.index(files.len())])
    }

    fn any_folder(&self, index: Index) -> u64 {
        let folders = self.now.folders();
        folders[index.index(folders.len())]
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Make(folder, name, kind) => self.make(self.any_folder(folder), name, kind),
            Step::Link(file, folder, name) => {
                self.link(self.any(file), self.any_folder(folder), NAMES[name]);
            }
            Step::Unlink(folder, name) => self.unlink(self.any_folder(folder), NAMES[name]),
            Step::Rename((from, name), (to, new), how) => {
                let from = (self.any_folder(from), NAMES[name]);
                self.rename(from, (self.any_folder(to), NAMES[new]), how);
            }
            Step::Write(file, offset, length, seed) => {
                self.any_file(file).into_iter().for_each(|f| self.write(f, offset, length, seed));
            }
            Step::Resize(file, size) => {
                let Some(ino) = self.any_file(file) else { return };
                let changes = Changes { size: Some(size), ..Changes::default() };
                assert_eq!(self.fs().change(ino, &changes).unwrap().size, size);
                self.now.file(ino).data.resize(usize::try_from(size).unwrap(), 0);
                self.check(ino);
            }
            Step::Punch(file, from, length) => {
                let Some(ino) = self.any_file(file) else { return };
                self.fs().punch(ino, from, length).unwrap();
                let data = self.now.file(ino).data.iter_mut();
                let (from, length) = (usize::try_from(from), usize::try_from(length));
                data.skip(from.unwrap()).take(length.unwrap()).for_each(|byte| *byte = 0);
                self.check(ino);
            }
            Step::Copy(from, to, length) => self.copy(from, to, length),
            Step::Extend(file, from, length) => self.extend(file, from, length),
            Step::Mode(file, mode) => {
                let ino = self.any(file);
                let changes = Changes { mode: Some(mode), ..Changes::default() };
                assert_eq!(self.fs().change(ino, &changes).unwrap().mode, mode);
                self.now.file(ino).mode = mode;
            }
            Step::Xattr(file, name, value) => self.xattr(self.any(file), name, value),
            Step::Remember(file) => {
                let ino = self.any(file);
                self.fs().remember(ino);
                *self.now.known.entry(ino).or_default() += 1;
            }
            Step::Forget(file) => {
                let ino = self.any(file);
                let times = self.now.known.remove(&ino).unwrap_or(1);
                self.fs().forget(ino, times);
                self.now.drop_if_gone(ino);
            }
            Step::Sync => {
                self.fs().sync().unwrap();
                self.safe();
            }
            Step::Commit => self.commit(),
            Step::FailingCommit => self.fail_to_commit(),
            Step::Reopen(way) => self.reopen(way),
        }
    }

    fn extend(&mut self, file: Index, from: u64, length: u64) {
        let Some(ino) = self.any_file(file) else { return };
        self.fs().extend(ino, from, length).unwrap();
        let data = &mut self.now.file(ino).data;
        data.resize(data.len().max(usize::try_from(from + length).unwrap()), 0);
        self.check(ino);
    }

    fn copy(&mut self, from: (Index, u64), to: (Index, u64), length: u64) {
        let (Some(a), Some(b)) = (self.any_file(from.0), self.any_file(to.0)) else { return };
        // What the kernel sees to by itself.
        if a == b && from.1.abs_diff(to.1) < length {
            return;
        }
        let bytes = |at: u64| usize::try_from(at).unwrap();
        let source = &self.now.files[&a].data;
        let start = bytes(from.1).min(source.len());
        let source = source[start..bytes(from.1 + length).min(source.len())].to_vec();
        let mut done = 0;
        while done < source.len() as u64 {
            let (from, to) = ((a, from.1 + done), (b, to.1 + done));
            let copied = self.fs().copy_range(from, to, length - done).unwrap();
            assert!(copied > 0);
            done += copied;
        }
        assert_eq!(done, source.len() as u64);
        let (data, at) = (&mut self.now.file(b).data, bytes(to.1));
        if !source.is_empty() {
            data.resize(data.len().max(at + source.len()), 0);
            data[at..at + source.len()].copy_from_slice(&source);
            self.written.push((b, to.1, source));
        }
        self.check(b);
    }

    fn make(&mut self, folder: u64, name: usize, kind: usize) {
        let (kind, name) = (KINDS[kind], NAMES[name]);
        let target = if kind == Kind::Symlink { b"some/where".to_vec() } else { Vec::new() };
        let mode = kind.mode() | 0o754;
        let made = Made { mode, umask: 0o22, owner: (1, 2), rdev: 0, target: &target };
        let there = self.now.found(folder, name).is_some();
        let made = self.fs().make(folder, name, &made);
        assert_eq!(made.is_ok(), !there);
        let Ok(attr) = made else { return };
        let is_folder = kind == Kind::Folder;
        let file = File {
            kind,
            mode: if kind == Kind::Symlink { 0o777 } else { 0o754 },
            nlink: if is_folder { 2 } else { 1 },
            data: Vec::new(),
            xattrs: BTreeMap::new(),
            target,
            names: BTreeMap::new(),
            around: if is_folder { folder } else { 0 },
        };
        assert!(self.now.files.insert(attr.ino, file).is_none());
        let around = self.now.file(folder);
        around.names.insert(name.to_vec(), attr.ino);
        around.nlink += u32::from(is_folder);
        self.check(attr.ino);
        self.check(folder);
    }

    fn link(&mut self, ino: u64, folder: u64, name: &[u8]) {
        let file = &self.now.files[&ino];
        if file.kind == Kind::Folder {
            return; // The kernel does not let it come to that.
        }
        let fits = file.nlink > 0 && self.now.found(folder, name).is_none();
        assert_eq!(self.fs().link(ino, folder, name).is_ok(), fits);
        if fits {
            self.now.file(ino).nlink += 1;
            self.now.file(folder).names.insert(name.to_vec(), ino);
            self.check(ino);
        }
    }

    fn unlink(&mut self, folder: u64, name: &[u8]) {
        let Some((ino, is_folder)) = self.now.found(folder, name) else {
            assert!(self.fs().unlink(folder, name, false).is_err());
            return;
        };
        assert!(self.fs().unlink(folder, name, !is_folder).is_err());
        let fits = self.now.files[&ino].names.is_empty();
        assert_eq!(self.fs().unlink(folder, name, is_folder).is_ok(), fits);
        if fits {
            self.now.file(folder).names.remove(name);
            self.now.unname(ino);
        }
        self.check(folder);
    }
}

impl Trial {
    fn rename(&mut self, from: (u64, &[u8]), to: (u64, &[u8]), how: u8) {
        let how = [Replace::Yes, Replace::No, Replace::Exchange][usize::from(how)];
        let (moved, there) = (self.now.found(from.0, from.1), self.now.found(to.0, to.1));
        // What the kernel sees to by itself.
        let inside = |file: Option<(u64, bool)>, to: u64| {
            file.is_some_and(|(ino, is_folder)| is_folder && self.now.is_below(to, ino))
        };
        let same = there.is_some() && moved == there;
        if inside(moved, to.0) || inside(there, from.0) || same {
            return;
        }
        let done = self.fs().rename(from, to, how).is_ok();
        let expected = match how {
            Replace::Yes => self.now.rename(from, to),
            Replace::No => there.is_none() && self.now.rename(from, to),
            Replace::Exchange => match (moved, there) {
                (Some(moved), Some(there)) => {
                    self.now.file(from.0).names.insert(from.1.to_vec(), there.0);
                    self.now.file(to.0).names.insert(to.1.to_vec(), moved.0);
                    if moved.1 {
                        self.now.move_folder(moved.0, from.0, to.0);
                    }
                    if there.1 {
                        self.now.move_folder(there.0, to.0, from.0);
                    }
                    true
                }
                _ => false,
            },
        };
        assert_eq!(done, expected);
        self.check(from.0);
        self.check(to.0);
    }

    fn write(&mut self, ino: u64, offset: u64, length: u64, seed: u8) {
        let length = usize::try_from(length).unwrap();
        // Zeros among them.
        let bytes = if seed < 40 { vec![0; length] } else { noise(length, seed.into()) };
        let written = self.fs().write(ino, offset, &bytes, false).unwrap();
        assert_eq!(written as usize, length);
        let (data, at) = (&mut self.now.file(ino).data, usize::try_from(offset).unwrap());
        data.resize(data.len().max(at + length), 0);
        data[at..at + length].copy_from_slice(&bytes);
        self.written.push((ino, offset, bytes));
        self.check(ino);
    }

    fn xattr(&mut self, ino: u64, name: u8, length: Option<usize>) {
        let name = [b"user.", &[b'a' + name][..]].concat();
        let file = self.now.files.get_mut(&ino).unwrap();
        let fs = self.fs.as_ref().unwrap();
        match length {
            Some(length) => {
                fs.set_xattr(ino, &name, &vec![7; length], 0).unwrap();
                file.xattrs.insert(name, vec![7; length]);
            }
            None => {
                let there = file.xattrs.remove(&name).is_some();
                assert_eq!(fs.remove_xattr(ino, &name).is_ok(), there);
            }
        }
        self.check(ino);
    }
}

/// As many cases as `PROPTEST_CASES` says.
pub fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(200),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    }
}

/// Each time what is committed again is a new root, and the journal is still there.
#[test]
fn commits_are_cut_short_again_and_again() {
    let mut trial = Trial::new();
    trial.make(packfs::tree::ROOT, 4, 0);
    let ino = trial.now.found(packfs::tree::ROOT, NAMES[4]).unwrap().0;
    trial.write(ino, 0, 10_000, 50);
    for _ in 0..4 {
        trial.reopen(Way::Replayed);
    }
    trial.commit();
    trial.reopen(Way::Committed);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_is_done_is_there(steps in prop::collection::vec(step(), 1..40)) {
        let mut trial = Trial::new();
        steps.iter().for_each(|step| trial.run(step));
        trial.check_all();
        trial.commit();
        trial.reopen(Way::Committed);
    }
}

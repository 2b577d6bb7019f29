//! Journals that are torn, damaged, or not those of the store: what is whole is there, or one line
//! says why nothing is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use packfs::format::{Blocks, Change, DataAt, Inode, JournalBase, JournalHead, Kind, seal_group};
use packfs::live::{Changes, LiveFs, Made};
use packfs::tree::ROOT;
use proptest::prelude::*;

use super::reference::Reference;
use super::{base, roots, with_store};
use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::{Mount, Scratch};

/// Where in a journal the root is that was about to follow.
pub const NEXT_AT: usize = JournalHead::LEN + JournalBase::LEN;
/// How many files are made, each with a sync of its own.
pub const FILES: u64 = 6;

fn open(store: &Path) -> Result<LiveFs, String> {
    super::open_once_free(store)
}

pub fn make(fs: &LiveFs, name: &[u8], content: &[u8]) -> u64 {
    let mode = Kind::File.mode() | 0o644;
    let made = Made { mode, umask: 0, owner: (0, 0), rdev: 0, target: b"" };
    let ino = fs.make(ROOT, name, &made).unwrap().ino;
    fs.write(ino, 0, content, false).unwrap();
    ino
}

pub fn name(number: u64) -> Vec<u8> {
    format!("file-{number}").into_bytes()
}

/// A store with changes in its journal, and where in it each sync ended.
pub fn with_journal() -> (Scratch, PathBuf, Vec<u64>) {
    let (scratch, store) = with_store(|at| at.file("packed", noise(20_000, 1)));
    let fs = open(&store).unwrap();
    let journal = store.join("live/journal-1");
    let length = || fs::metadata(&journal).unwrap().len();
    let mut ends = vec![length()];
    for number in 0..FILES {
        make(&fs, &name(number), &noise(3000, number));
        fs.sync().unwrap();
        ends.push(length());
    }
    (scratch, store, ends)
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

/// Opens a copy of a store whose journal is `bytes`; how many of its files are there, one after
/// the other, and whole.
fn files_with(store: &Path, bytes: &[u8]) -> Result<u64, String> {
    let live = store.join("live");
    let kept = live.with_extension("kept");
    if !kept.exists() {
        copy(&live, &kept);
    }
    copy(&kept, &live);
    fs::write(live.join("journal-1"), bytes).unwrap();
    Ok(whole_files(&open(store)?))
}

pub fn whole_files(fs: &LiveFs) -> u64 {
    let mut there = 0;
    while let Some(attr) = fs.lookup(ROOT, &name(there)).unwrap() {
        assert_eq!(*fs.read(attr.ino, 0, 1 << 20).unwrap(), noise(3000, there));
        there += 1;
    }
    let root = fs.attr(ROOT).unwrap();
    assert_eq!(root.size, there + 1);
    there
}

#[test]
fn a_journal_that_is_cut_short() {
    let (_scratch, store, ends) = with_journal();
    let journal = fs::read(store.join("live/journal-1")).unwrap();
    assert_eq!(journal.len() as u64, *ends.last().unwrap());
    let near = |length: &u64| ends.iter().any(|end| end.abs_diff(*length) < 3);
    for length in (0..=journal.len() as u64).filter(|length| near(length) || length % 23 == 0) {
        let whole = ends.iter().filter(|end| **end <= length).count() as u64;
        let there = files_with(&store, &journal[..usize::try_from(length).unwrap()]);
        assert_eq!(there, Ok(whole.saturating_sub(1)), "cut at {length}");
    }
    // Room that was set aside, and what a torn write may leave.
    for more in [vec![0; 5000], noise(5000, 1), journal[100..].to_vec(), journal.clone()] {
        assert_eq!(files_with(&store, &[&journal[..], &more].concat()), Ok(FILES));
    }
}

#[test]
fn a_journal_with_flipped_bits() {
    let (_scratch, store, ends) = with_journal();
    let journal = fs::read(store.join("live/journal-1")).unwrap();
    for at in (0..journal.len()).filter(|at| *at < 170 || at % 17 == 0) {
        let mut bytes = journal.clone();
        bytes[at] ^= 1 << (at % 8);
        let whole = ends.iter().filter(|end| **end <= at as u64).count() as u64;
        // The last group may be torn; one before others is damaged, and so is the head. No other
        // root was about to follow.
        match (files_with(&store, &bytes), whole) {
            (there, 0) if at >= NEXT_AT => assert_eq!(there, Ok(FILES), "flipped at {at}"),
            (Err(error), whole) if whole <= FILES => {
                assert!(error.contains("journal-1"), "flipped at {at}: {error}");
            }
            (there, whole) => assert_eq!(there, Ok(whole - 1), "flipped at {at}"),
        }
    }
}

#[test]
fn what_was_written_after_a_torn_group_is_kept() {
    let (_scratch, store, ends) = with_journal();
    let journal = fs::read(store.join("live/journal-1")).unwrap();
    let torn = usize::try_from(ends[3] + 10).unwrap();
    assert_eq!(files_with(&store, &journal[..torn]), Ok(3));
    let fs = open(&store).unwrap();
    make(&fs, &name(3), &noise(3000, 3));
    fs.sync().unwrap();
    drop(fs);
    assert_eq!(whole_files(&open(&store).unwrap()), 4);
}

#[test]
fn a_spool_that_is_missing_or_short() {
    let (scratch, store, _) = with_journal();
    let spool = store.join("live/spool-1");
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    let fails = |words: &[&str]| {
        packfs!("mount", "--rw", store, folder).run().fails(1, words);
    };
    let length = fs::metadata(&spool).unwrap().len();
    File::options().write(true).open(&spool).unwrap().set_len(length - 1).unwrap();
    fails(&["spool-1", "cut short"]);
    fs::rename(&spool, scratch.join("aside")).unwrap();
    fails(&["spool-1", "not found"]);
    std::os::unix::fs::symlink(scratch.join("aside"), &spool).unwrap();
    fails(&["spool-1"]);
    fs::remove_file(&spool).unwrap();
    fs::create_dir(&spool).unwrap();
    fails(&["spool-1"]);
    fs::remove_dir(&spool).unwrap();
    // All of it can still be read, as it was.
    assert_eq!(packfs!("ls", store).run().ok().text(), "packed\n");
    fs::rename(scratch.join("aside"), &spool).unwrap();
    File::options().write(true).open(&spool).unwrap().set_len(length).unwrap();
    Mount::writable(&store, &[]).watch(|folder| assert!(folder.join("file-5").exists()));
}

#[test]
fn a_journal_over_a_root_that_is_gone() {
    let (scratch, store) = with_store(|at| at.file("packed", "packed"));
    let fs = open(&store).unwrap();
    make(&fs, b"first", b"first");
    assert_eq!(fs.commit().unwrap(), Some(2));
    make(&fs, b"second", b"second");
    assert_eq!(fs.commit().unwrap(), Some(3));
    make(&fs, b"third", b"third");
    fs.sync().unwrap();
    drop(fs);
    fs::create_dir(scratch.join("mount")).unwrap();
    // The journal was begun before the last of them was made, and rests on it nevertheless.
    for lost in [1, 2] {
        let lost = roots(&store).split_off(lost);
        let aside = |root: &PathBuf| scratch.join(root.file_name().unwrap().to_str().unwrap());
        lost.iter().for_each(|root| fs::rename(root, aside(root)).unwrap());
        let mount = packfs!("mount", "--rw", store, scratch.join("mount"));
        mount.run().fails(1, &["journal-", "root 3"]);
        lost.iter().for_each(|root| fs::rename(aside(root), root).unwrap());
    }
    let fs = open(&store).unwrap();
    assert!(fs.lookup(ROOT, b"third").unwrap().is_some());
}

#[test]
fn a_root_that_is_gone_while_its_journal_is_not() {
    let (scratch, store) = with_store(|at| at.file("packed", "packed"));
    let fs = open(&store).unwrap();
    make(&fs, b"first", b"first");
    fs.sync().unwrap();
    let live = store.join("live");
    for file in ["journal-1", "spool-1"] {
        fs::copy(live.join(file), scratch.join(file)).unwrap();
    }
    assert_eq!(fs.commit().unwrap(), Some(2));
    make(&fs, b"second", b"second");
    fs.sync().unwrap();
    drop(fs);
    // As if it had ended before they were removed.
    for file in ["journal-1", "spool-1"] {
        fs::copy(scratch.join(file), live.join(file)).unwrap();
    }
    let journal = File::options().write(true).open(live.join("journal-1")).unwrap();
    journal.write_all_at(&base(&store).encode(), NEXT_AT as u64).unwrap();
    let newest = roots(&store).pop().unwrap();
    fs::rename(&newest, scratch.join("root")).unwrap();
    for lost in [true, false] {
        if !lost {
            fs::rename(scratch.join("root"), &newest).unwrap();
        }
        let copied = scratch.join("copy");
        copy(&store, &copied);
        let fs = open(&copied).unwrap();
        assert_eq!(
            *fs.read(fs.lookup(ROOT, b"first").unwrap().unwrap().ino, 0, 9).unwrap(),
            *b"first"
        );
        assert!(fs.lookup(ROOT, b"second").unwrap().is_some());
        fs.commit().unwrap();
        assert!(fs.lookup(ROOT, b"first").unwrap().is_some());
        assert!(fs.lookup(ROOT, b"second").unwrap().is_some());
    }
}

#[test]
fn a_journal_that_nothing_was_written_to_rests_on_any_root() {
    let (scratch, store) = with_store(|at| at.file("packed", "packed"));
    drop(open(&store).unwrap());
    assert!(store.join("live/journal-1").exists());
    packfs!("add", store, scratch.join("source")).run().ok();
    packfs!("add", store, scratch.join("source"), "--at", "again").run().ok();
    let fs = open(&store).unwrap();
    make(&fs, b"new", b"new");
    fs.sync().unwrap();
    drop(fs);
    assert!(open(&store).unwrap().lookup(ROOT, b"new").unwrap().is_some());
}

#[test]
fn files_beside_the_journal() {
    let (_scratch, store, _) = with_journal();
    let live = store.join("live");
    for name in ["spool-77", "spool-0", "journal-2"] {
        fs::write(live.join(name), "").unwrap();
    }
    // None of packfs's own.
    for name in ["spool-x", "journal-", "journal-03", "notes"] {
        fs::write(live.join(name), "").unwrap();
    }
    let fs = open(&store).unwrap();
    assert!(fs.lookup(ROOT, b"file-0").unwrap().is_some());
    for (name, kept) in [("spool-77", false), ("spool-0", false), ("spool-1", true)] {
        assert_eq!(live.join(name).exists(), kept, "{name}");
    }
    assert!(live.join("spool-x").exists() && live.join("notes").exists());
    drop(fs);
    fs::write(live.join(format!("journal-{}", u64::MAX)), "").unwrap();
    assert!(open(&store).is_err_and(|error| error.contains("journal-")));
}

#[test]
fn a_journal_below_another_that_is_cut_short_or_not_its_own() {
    let (_scratch, store, _) = with_journal();
    let live = store.join("live");
    let head = JournalHead { number: 2, below: 1 }.encode();
    let group = seal_group(1, b"");
    let journal = [head, vec![0; 2 * JournalBase::LEN], group].concat();
    for other in ["journal-2", "journal-3"] {
        fs::write(live.join(other), &journal).unwrap();
        fs::write(live.join("spool-2"), "").unwrap();
        fs::write(live.join("spool-3"), "").unwrap();
        let journal = fs::read(live.join("journal-1")).unwrap();
        if other == "journal-2" {
            fs::write(live.join("journal-1"), &journal[..20]).unwrap();
        }
        assert!(open(&store).is_err_and(|error| error.contains("journal-")), "{other}");
        fs::write(live.join("journal-1"), &journal).unwrap();
        fs::remove_file(live.join(other)).unwrap();
    }
    // What it rests on is gone, be it in a root or not.
    fs::rename(live.join("journal-1"), live.join("aside")).unwrap();
    fs::write(live.join("journal-2"), &journal).unwrap();
    assert!(open(&store).is_err_and(|error| error.contains("those of journal 1")));
    fs::rename(live.join("aside"), live.join("journal-1")).unwrap();
    assert_eq!(whole_files(&open(&store).unwrap()), FILES);
}

#[test]
fn more_changes_than_a_group_takes() {
    let (_scratch, store) = with_store(|at| at.file("packed", "packed"));
    let fs = open(&store).unwrap();
    for number in 0..1200 {
        let ino = make(&fs, &name(number), b"");
        fs.set_xattr(ino, b"user.large", &noise(60_000, number), 0).unwrap();
    }
    fs.sync().unwrap();
    drop(fs);
    let fs = open(&store).unwrap();
    for number in 0..1200 {
        let ino = fs.lookup(ROOT, &name(number)).unwrap().unwrap().ino;
        assert_eq!(fs.xattr(ino, b"user.large").unwrap().unwrap(), noise(60_000, number));
    }
}

#[test]
fn more_attributes_than_a_reader_takes() {
    let (_scratch, store) = with_store(|at| at.file("packed", "packed"));
    let fs = open(&store).unwrap();
    let ino = make(&fs, b"file", b"content");
    let set = |number: u32| fs.set_xattr(ino, format!("user.{number}").as_bytes(), b"", 0);
    let most = (0..70_000).position(|number| set(number).is_err()).unwrap();
    fs.sync().unwrap();
    drop(fs);
    let fs = open(&store).unwrap();
    assert_eq!(fs.xattrs(ino).unwrap().len(), most);
    fs.commit().unwrap();
    assert_eq!(fs.xattrs(ino).unwrap().len(), most);
}

#[test]
fn one_writer_at_a_time() {
    let (scratch, store) = with_store(|at| at.file("packed", "packed"));
    let mount = Mount::writable(&store, &[]);
    fs::create_dir(scratch.join("other")).unwrap();
    let holder = fs::read_to_string(store.join("live/lock")).unwrap();
    let holder = format!("process {}", holder.trim());
    packfs!("mount", "--rw", store, scratch.join("other")).run().fails(1, &[&holder, "store"]);
    packfs!("add", store, scratch.join("source")).run().fails(1, &[&holder]);
    fs::write(mount.path().join("new"), "new").unwrap();
    // Those who read need not wait.
    assert!(Mount::new(&store).path().join("packed").exists());
}

#[test]
fn changes_that_nobody_committed_are_not_passed_over() {
    let (scratch, store, _) = with_journal();
    packfs!("add", store, scratch.join("source")).run().fails(1, &["mount", "--rw"]);
    for verb in [&["create", "new"][..], &["delete", "new"], &["rename", "new", "newer"]] {
        let snapshot = packfs!("snapshot", verb[0], store).args(&verb[1..]);
        snapshot.run().fails(1, &["mount", "--rw"]);
    }
    drop(Mount::writable(&store, &[]));
    packfs!("add", store, scratch.join("source")).run().ok();
    assert!(packfs!("ls", store).run().ok().text().contains("file-5"));
}

#[test]
fn an_image_is_never_written_to() {
    let (scratch, _) = with_store(|at| at.file("packed", "packed"));
    let (image, folder) = (scratch.join("image.pfs"), scratch.join("mount"));
    packfs!("create", scratch.join("source"), image).run().ok();
    fs::create_dir(&folder).unwrap();
    packfs!("mount", "--rw", image, folder).run().fails(1, &["image", "never changed"]);
    packfs!("mount", "--rw", scratch.join("gone"), folder).run().fails(1, &["gone"]);
    packfs!("mount", "--rw", scratch.join("source"), folder).run().fails(1, &["source"]);
    assert!(!scratch.join("source/live").exists());
}

/// Any change, senseless ones too.
fn change() -> impl Strategy<Value = Change> {
    let number = || prop_oneof![8 => 1..9u64, 1 => Just(40_000), 1 => Just(u64::MAX), 1 => Just(0)];
    let kind = || prop_oneof![Just(Kind::File), Just(Kind::Folder), Just(Kind::Symlink)];
    let size = || prop_oneof![0..50_000u64, Just(i64::MAX.cast_unsigned()), Just(1 << 40)];
    let node = (number(), size(), prop::option::of(kind()), 0..3u32, size(), number());
    let node = node.prop_map(|(number, inherited, kind, nlink, size, parent)| {
        let mode = kind.map_or(0, |kind| kind.mode() | 0o644);
        let inode = Inode { mode, nlink, size, parent, ..Inode::default() };
        let (inode, target) = (Box::new(inode), (*b"x").into());
        Change::Node { number, inherited, inode, target, xattrs: Vec::new() }
    });
    let entry = (number(), 0..4u8, prop::option::of((number(), kind())));
    let entry = entry.prop_map(|(folder, name, to)| Change::Entry {
        folder,
        name: [b'a' + name].into(),
        to,
    });
    let spooled = (1..3000u64, 0..3000u64).prop_map(|(length, at)| match at + length <= 3000 {
        true => (length, DataAt::Spool(at)),
        false => (length, DataAt::Hole),
    });
    let first = prop_oneof![4 => 0..4u32, 1 => Just(u32::MAX)];
    let blocks = (1..4u32, first, 0..5u32, 1..9000u64, 0..9000u64);
    let blocks = blocks.prop_map(|(origin, first, count, bytes, skip)| {
        let skip = skip % bytes;
        (bytes - skip, DataAt::Blocks(Blocks { origin, first, count, bytes, skip }))
    });
    let place = prop_oneof![spooled, blocks];
    let data = (number(), size(), place).prop_map(|(number, offset, (length, at))| Change::Data {
        number,
        offset,
        length,
        at,
    });
    let cut = (number(), size()).prop_map(|(number, size)| Change::Cut { number, size });
    let below = any::<u64>().prop_map(|groups| Change::Below { groups });
    prop_oneof![4 => node, 4 => entry, 2 => data, 1 => cut, 1 => below]
}

proptest! {
    #![proptest_config(super::model::config())]

    #[test]
    fn a_journal_that_makes_no_sense(changes in prop::collection::vec(change(), 1..25)) {
        let (_scratch, store) = super::trial::fresh();
        let live = store.join("live");
        fs::create_dir(&live).unwrap();
        let mut payload = Vec::new();
        changes.iter().for_each(|change| change.encode(&mut payload));
        let head = JournalHead { number: 1, below: 0 }.encode();
        let journal = [
            head,
            base(&store).encode(),
            vec![0; JournalBase::LEN],
            seal_group(1, &payload),
        ]
        .concat();
        fs::write(live.join("journal-1"), journal).unwrap();
        fs::write(live.join("spool-1"), noise(3000, 1)).unwrap();
        // Errors are welcome, panics are not.
        if let Ok(fs) = open(&store) {
            Reference::peek(&fs);
            let _ = fs.commit();
            Reference::peek(&fs);
            for ino in 1..9 {
                let _ = fs.write(ino, 5, b"more", false);
                let _ = fs.change(ino, &Changes { size: Some(7), ..Changes::default() });
                let _ = fs.unlink(ROOT, b"a", ino % 2 == 0);
            }
            let _ = fs.commit();
            let _ = fs.sync();
        }
        let _ = open(&store);
    }
}

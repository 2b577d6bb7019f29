//! What a writer left behind and is damaged: a mount refuses it, fsck tells of it, and a repair
//! sets it aside, so that what comes before it is there.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use packfs::format::JournalBase;
use packfs::live::LiveFs;
use packfs::storage::Lock;
use packfs::tree::ROOT;

use super::journal::{FILES, NEXT_AT, make, name, whole_files, with_journal};
use super::open_once_free;
use crate::support::Scratch;
use crate::support::command::packfs;
use crate::support::hostile::noise;

/// Changes a byte of a file.
fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 16], at).unwrap();
}

/// The journals and spools, and what is in them.
fn live(store: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = super::walk(&store.join("live"));
    files.retain(|file| file.is_file() && !file.ends_with("lock"));
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Nobody can write to it; fsck says why, in `words`, and sets aside what cannot be used.
fn set_aside(store: &Path, words: &[&str]) {
    let before = live(store);
    let wrong = open_once_free(store).err().unwrap();
    assert!(words.iter().all(|word| wrong.contains(word)), "{wrong}");
    assert!(wrong.contains("fsck --repair"), "{wrong}");
    let checked = packfs!("fsck", store).run().exits(4);
    assert!(words.iter().all(|word| checked.text().contains(word)), "{}", checked.text());
    let told = packfs!("fsck", "--repair", "--dry-run", store).run().exits(4).text();
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
    // Who refuses it leaves it as it is.
    assert!(before == live(store), "changed");
    let repaired = packfs!("fsck", "--repair", store).run().exits(4).text();
    assert!(repaired.contains("live/aside-1") && repaired.contains(words[0]), "{repaired}");
}

/// What can be used is taken up, and packed.
fn taken_up(store: &Path) -> LiveFs {
    let fs = open_once_free(store).unwrap();
    fs.commit().unwrap();
    drop(fs);
    packfs!("fsck", "--deep", "--repair", store).run().exits(0);
    open_once_free(store).unwrap()
}

#[test]
fn a_store_with_changes_is_not_replaced() {
    let (scratch, store, _) = with_journal();
    let source = scratch.join("new");
    fs::create_dir(&source).unwrap();
    let before = live(&store);
    packfs!("create", "--force", source, store).run().fails(1, &["not packed", "--rw"]);
    assert!(before == live(&store), "changed");
    drop(taken_up(&store));
    packfs!("create", "--force", source, store).run().ok();
    assert_eq!(packfs!("ls", store).run().ok().text(), "");
}

#[test]
fn what_comes_before_a_damaged_group_is_there() {
    let (_scratch, store, ends) = with_journal();
    let journal = store.join("live/journal-1");
    flip(&journal, ends[4] + 60);
    let damaged = fs::read(&journal).unwrap();
    set_aside(&store, &["journal-1", "checksum"]);
    assert!(fs::read(store.join("live/aside-1/journal-1")).unwrap() == damaged);
    let spool = |at: &str| fs::read(store.join(at)).unwrap();
    assert!(spool("live/aside-1/spool-1") == spool("live/spool-1"));
    let told = packfs!("fsck", &store).run().exits(0).to_string();
    assert!(told.contains("changes that are not packed"), "{told}");
    assert_eq!(whole_files(&taken_up(&store)), 4);
}

#[test]
fn a_journal_without_head_or_spool() {
    for what in ["journal-1", "spool-1"] {
        let (_scratch, store, _) = with_journal();
        let file = store.join("live").join(what);
        match what {
            "spool-1" => fs::remove_file(&file).unwrap(),
            _ => flip(&file, 3),
        }
        set_aside(&store, &[what]);
        assert!(store.join("live/aside-1/journal-1").exists());
        assert_eq!(whole_files(&taken_up(&store)), 0);
    }
}

#[test]
fn a_spool_that_ends_too_early() {
    let (_scratch, store, _) = with_journal();
    let spool = File::options().write(true).open(store.join("live/spool-1")).unwrap();
    // The last two files are not whole any more.
    spool.set_len(spool.metadata().unwrap().len() - 3001).unwrap();
    set_aside(&store, &["spool-1", "cut short"]);
    assert_eq!(whole_files(&taken_up(&store)), FILES - 2);
}

/// A layer that could not be committed, with one above it; and where the groups of the lower end.
fn two_layers() -> (Scratch, PathBuf, Vec<u64>) {
    let (scratch, store, ends) = with_journal();
    let fs = open_once_free(&store).unwrap();
    let (roots, aside) = (store.join("roots"), store.join("aside"));
    fs::rename(&roots, &aside).unwrap();
    fs::write(&roots, "").unwrap();
    assert!(fs.commit().is_err());
    fs::remove_file(&roots).unwrap();
    fs::rename(&aside, &roots).unwrap();
    make(&fs, &name(FILES), &noise(3000, FILES));
    fs.sync().unwrap();
    (scratch, store, ends)
}

#[test]
fn a_journal_below_another_must_have_all_its_groups() {
    let (_scratch, store, ends) = two_layers();
    let journal = File::options().write(true).open(store.join("live/journal-1")).unwrap();
    let whole = fs::read(store.join("live/journal-1")).unwrap();
    // In the middle of a group, and where one ends.
    for end in [ends[5] + 9, ends[5], ends[2]] {
        journal.set_len(end).unwrap();
        let error = open_once_free(&store).err().unwrap();
        assert!(error.contains("journal-1") && error.contains("groups"), "{end}: {error}");
        journal.write_all_at(&whole, 0).unwrap();
    }
    assert_eq!(whole_files(&open_once_free(&store).unwrap()), FILES + 1);
    journal.set_len(ends[5]).unwrap();
    set_aside(&store, &["journal-1", "groups"]);
    assert!(store.join("live/aside-1/journal-2").exists());
    let fs = taken_up(&store);
    assert_eq!(whole_files(&fs), 5);
    assert!(fs.lookup(ROOT, &name(FILES)).unwrap().is_none());
}

#[test]
fn what_somebody_writes_is_no_damage() {
    let (_scratch, store, ends) = with_journal();
    flip(&store.join("live/journal-1"), ends[4] + 60);
    let _lock = Lock::take(&store).unwrap();
    packfs!("fsck", &store).run().exits(0);
    packfs!("fsck", "--repair", &store).run().exits(8);
}

#[test]
fn changes_to_a_root_that_is_damaged_wait_until_it_is_repaired() {
    let (scratch, store, _) = with_journal();
    let copy = scratch.join("copy");
    packfs!("copy", store, copy).run().ok();
    flip(&super::roots(&store)[0], 70);
    assert!(open_once_free(&store).is_err());
    packfs!("fsck", &store).run().exits(4);
    packfs!("fsck", "--repair", "--from", copy, &store).run().exits(1);
    assert!(!store.join("live/aside-1").exists());
    assert_eq!(whole_files(&taken_up(&store)), FILES);
}

#[test]
fn a_spool_whose_journal_is_gone_is_kept() {
    let (scratch, store, _) = two_layers();
    let (journal, aside) = (store.join("live/journal-1"), scratch.join("journal-1"));
    fs::rename(&journal, &aside).unwrap();
    set_aside(&store, &["journal"]);
    assert_eq!(whole_files(&taken_up(&store)), 0);
    // With all of them, it is as it was before.
    let live = store.join("live");
    for file in ["journal-2", "spool-1", "spool-2"] {
        let there = live.join(file);
        let _ = fs::remove_file(&there);
        fs::rename(live.join("aside-1").join(file), there).unwrap();
    }
    fs::rename(&aside, &journal).unwrap();
    assert_eq!(whole_files(&open_once_free(&store).unwrap()), FILES + 1);
}

#[test]
fn what_is_no_file_is_set_aside() {
    for what in ["journal-2", "spool-2"] {
        for kind in ["folder", "symlink"] {
            let (_scratch, store, _) = two_layers();
            let file = store.join("live").join(what);
            fs::remove_file(&file).unwrap();
            match kind {
                "folder" => fs::create_dir(&file).unwrap(),
                _ => std::os::unix::fs::symlink("/dev/zero", &file).unwrap(),
            }
            set_aside(&store, &[what]);
            assert_eq!(whole_files(&taken_up(&store)), FILES);
        }
    }
}

#[test]
fn changes_are_not_those_of_a_root_that_somebody_else_made() {
    let (scratch, store, _) = with_journal();
    fs::rename(store.join("live"), scratch.join("live")).unwrap();
    let other = open_once_free(&store).unwrap();
    make(&other, b"other", b"other");
    other.commit().unwrap();
    drop(other);
    fs::remove_dir_all(store.join("live")).unwrap();
    fs::rename(scratch.join("live"), store.join("live")).unwrap();
    set_aside(&store, &["journal-1", "root 1"]);
    let fs = taken_up(&store);
    assert_eq!(fs.attr(ROOT).unwrap().size, 2);
}

/// A repair makes a new root; changes that rested on the one before rest on that.
#[test]
fn a_store_is_repaired_beside_changes() {
    let (_scratch, store, _) = two_layers();
    let mut packs = super::walk(&store.join("packs"));
    packs.sort_by_key(|pack| pack.is_file().then(|| pack.metadata().unwrap().len()));
    // That of the packed file; what a failed commit left is smaller.
    fs::remove_file(packs.pop().unwrap()).unwrap();
    let before = super::roots(&store).len();
    // As if it had been killed once the root was there that it was to become.
    let journal = File::options().read(true).write(true).open(store.join("live/journal-1"));
    let (journal, none) = (journal.unwrap(), JournalBase { number: 0, root: [7; 32] });
    journal.write_all_at(&none.encode(), (NEXT_AT - JournalBase::LEN) as u64).unwrap();
    journal.write_all_at(&super::base(&store).encode(), NEXT_AT as u64).unwrap();
    packfs!("fsck", &store).run().exits(4);
    packfs!("fsck", "--repair", &store).run().exits(4);
    assert_eq!(super::roots(&store).len(), before + 1);
    assert!(!store.join("live/aside-1").exists());
    assert_eq!(whole_files(&open_once_free(&store).unwrap()), FILES + 1);
}

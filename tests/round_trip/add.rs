//! What is added to a store comes together with what was there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::support::command::packfs;
use crate::support::hostile::{self, noise};
use crate::support::layout::object_keys;
use crate::support::{Mount, Scratch, assert_same, exact, tree::Folder};

/// A scratch folder with `first` in it, and a store of that.
fn store() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).folder("first", |at| {
        at.folder("both", |at| {
            at.file("kept", "kept");
            at.file("replaced", "before");
            at.symlink("turned", "into a file");
        });
        at.file("alone", noise(300_000, 1));
        at.link("linked", at, "alone");
    });
    let store = scratch.join("store");
    packfs!("create", scratch.join("first"), store).run().ok();
    (scratch, store)
}

fn roots(store: &Path) -> usize {
    object_keys(store).iter().filter(|key| key.starts_with("roots/")).count()
}

/// The archive, written out.
fn extracted(scratch: &Scratch, store: &Path, name: &str) -> PathBuf {
    let out = scratch.join(name);
    packfs!("extract", store, out).run().ok();
    out
}

/// As `cp -a`, which keeps everything, and merges folders.
fn copy(from: &[&Path], to: &Path) {
    let mut cp = std::process::Command::new("cp");
    let status = cp.args(["-a", "--remove-destination"]).args(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn folders_come_together_and_files_are_replaced() {
    let (scratch, store) = store();
    Folder::open(scratch.path()).folder("more", |at| {
        at.folder("both", |at| {
            at.file("new", noise(100_000, 2));
            at.file("replaced", "after, and longer");
            at.file("turned", "a file");
            at.folder("deep", |at| at.symlink("link", "../new"));
        });
        at.file("linked", "no longer a link");
    });
    let both = scratch.join("more/both");
    let (linked, known) = (scratch.join("more/linked"), scratch.join("first/alone"));
    packfs!("add", store, both, linked).run().ok();
    copy(&[&both, &linked], &scratch.join("first"));
    // What `cp` cannot know: the root folder changed when the store did.
    let out = extracted(&scratch, &store, "out");
    let top = Folder::open(scratch.path());
    ["first", "out"].iter().for_each(|name| top.settle_as(name, "out"));
    assert_same(&scratch.join("first"), &out, &exact());
    // Adding what is known takes next to nothing, and its other name still has it.
    let before = fs::read_dir(store.join("packs")).unwrap().count();
    packfs!("add", store, known, "--at", "a/new//folder/").run().ok();
    assert_eq!(fs::read_dir(store.join("packs")).unwrap().count(), before);
    let out = extracted(&scratch, &store, "again");
    let added = fs::read(out.join("a/new/folder/alone")).unwrap();
    assert!(added == fs::read(out.join("alone")).unwrap());
    assert_eq!(roots(&store), 3);
}

#[test]
fn what_is_there_just_so_adds_nothing() {
    let (scratch, store) = store();
    for _ in 0..2 {
        let outcome = packfs!("add", store, scratch.join("first/.")).run().ok();
        assert!(outcome.text().contains("nothing to add"), "{}", outcome.text());
    }
    assert_eq!(roots(&store), 1);
    packfs!("add", store, scratch.join("first")).run().ok();
    let outcome = packfs!("add", store, scratch.join("first"), "--json").run().ok();
    assert!(outcome.text().contains(r#""root":null"#), "{}", outcome.text());
    assert_eq!(roots(&store), 2);
    let out = extracted(&scratch, &store, "out");
    assert_same(&scratch.join("first"), &out.join("first"), &exact());
}

#[test]
fn times_that_are_not_kept_any_more_are_not_forgotten() {
    let (scratch, store) = store();
    let (first, all) = (scratch.join("first"), scratch.join("all"));
    packfs!("create", "--all-times", first, all).run().ok();
    let outcome = packfs!("add", all, first.join(".")).run().ok();
    assert!(outcome.text().contains("nothing to add"), "{}", outcome.text());
    // And the other way round they are kept from then on.
    packfs!("add", store, first.join("."), "--all-times").run().ok();
    assert_eq!(roots(&store), 2);
}

#[test]
fn the_hostile_tree_is_added_whole_beside_another() {
    let scratch = Scratch::new();
    let (source, store) = (scratch.join("hostile"), scratch.join("store"));
    Folder::open(scratch.path()).folder("first", |at| at.file("file", "content"));
    packfs!("create", scratch.join("first"), store).run().ok();
    fs::create_dir(&source).unwrap();
    hostile::make(&source);
    packfs!("add", store, source, "--at", "here", "--all-times").run().ok();
    let mount = Mount::new(&store);
    assert_same(&source, &mount.path().join("here/hostile"), &exact());
    assert_eq!(fs::read(mount.path().join("file")).unwrap(), b"content");
}

#[test]
fn a_tar_is_added() {
    let (scratch, store) = store();
    let tar = scratch.join("some.tar");
    let mut make = std::process::Command::new("tar");
    let status = make
        .args(["--format=pax", "-C"])
        .arg(scratch.join("first"))
        .arg("-cf")
        .arg(&tar)
        .arg("both")
        .status();
    assert!(status.unwrap().success());
    let add = || packfs!("add", store, "-", "--at", "from/tar").stdin(File::open(&tar).unwrap());
    add().run().ok();
    let out = extracted(&scratch, &store, "out");
    assert_same(&scratch.join("first/both"), &out.join("from/tar/both"), &exact());
    assert!(add().run().ok().text().contains("nothing to add"));
}

#[test]
fn a_small_addition_to_a_large_store_writes_little() {
    let scratch = Scratch::new();
    let store = scratch.join("store");
    Folder::open(scratch.path()).folder("large", |at| {
        for folder in 0..40 {
            at.folder(format!("{folder:02}"), |at| {
                (0..500).for_each(|n| at.file(format!("{n:03}"), format!("{folder} {n}")));
            });
        }
    });
    Folder::open(scratch.path()).folder("small", |at| at.file("file", "content"));
    packfs!("create", scratch.join("large"), store).run().ok();
    let length = || -> u64 {
        let keys = object_keys(&store);
        keys.iter().map(|key| fs::metadata(store.join(key)).unwrap().len()).sum()
    };
    let before = length();
    packfs!("add", store, scratch.join("small"), "--at", "20").run().ok();
    let grown = length() - before;
    // One page of each kind of twenty thousand rows, and tables.
    assert!(grown * 5 < before, "{grown} of {before}");
    let mut expected = vec![b"content".to_vec()];
    for round in 0..40 {
        let name = format!("{round}");
        Folder::open(&scratch.join("small")).file(&name, noise(5000, round));
        expected.push(noise(5000, round));
        packfs!("add", store, scratch.join("small"), "--at", "20").run().ok();
    }
    let segments = object_keys(&store).iter().filter(|key| key.starts_with("index/")).count();
    assert!(segments > 30, "each root keeps its own: {segments}");
    let mount = Mount::new(&store);
    for (at, content) in expected.iter().enumerate() {
        let name = if at == 0 { "file".to_owned() } else { format!("{}", at - 1) };
        assert!(fs::read(mount.path().join("20/small").join(name)).unwrap() == *content);
    }
    assert_same(&scratch.join("large/07"), &mount.path().join("07"), &exact());
}

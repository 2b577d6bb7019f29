//! `diff` tells what changed, all of it, and reads no data that it need not.

use std::fs;
use std::path::{Path, PathBuf};

use packfs::format::{Snapshot, unhex};
use rustix::fs::{FileType, makedev};

use crate::support::command::{Outcome, packfs};
use crate::support::hostile::noise;
use crate::support::layout::object_keys;
use crate::support::{Scratch, is_root, tree::Folder};

fn lines(outcome: Outcome) -> Vec<String> {
    outcome.ok().text().lines().map(str::to_owned).collect()
}

/// Puts the objects of another store into this one, with a snapshot of its root: two trees that
/// know nothing of each other, as two writers leave them.
fn graft(store: &Path, other: &Path, name: &str) {
    for key in object_keys(other).into_iter().filter(|key| key != "packfs.toml") {
        if store != other {
            fs::create_dir_all(store.join(&key).parent().unwrap()).unwrap();
            fs::copy(other.join(&key), store.join(&key)).unwrap();
        }
        if let Some(id) = key.strip_prefix("roots/1-") {
            let snapshot = Snapshot { number: 1, root: unhex(id).unwrap(), created: 0 };
            fs::create_dir_all(store.join("snapshots")).unwrap();
            fs::write(store.join("snapshots").join(name), snapshot.encode()).unwrap();
        }
    }
}

/// A store with snapshots `old` and `new` of two trees.
fn stores() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let top = Folder::open(scratch.path());
    top.folder("old", |at| fill(at, false));
    top.folder("new", |at| fill(at, true));
    ["old", "new"].iter().for_each(|name| top.settle_as(name, "top"));
    for name in ["old", "new"] {
        packfs!("create", scratch.join(name), scratch.join(&format!("{name}.store"))).run().ok();
    }
    let store = scratch.join("old.store");
    graft(&store, &store, "old");
    graft(&store, &scratch.join("new.store"), "new");
    (scratch, store)
}

/// A tree, before and after something of every kind changed.
fn fill(at: &Folder, new: bool) {
    let pick = |old: &'static str, now: &'static str| if new { now } else { old };
    let number = u64::from(new);
    at.file("content", noise(50_000, number));
    at.file("empty", "");
    at.folder("folder", |at| {
        at.file("a", "the same");
        at.file(pick("b", "c"), "renamed");
    });
    at.file(pick("folder!", "folder-x"), "between, but for the slash");
    at.file("kind", pick("was a file", "is a file"));
    at.folder("linked", |at| {
        at.file("one", noise(20_000, 7));
        match new {
            true => at.file("two", noise(20_000, 7)),
            false => at.link("two", at, "one"),
        }
        at.settle_as("two", "one");
    });
    at.file("mode", "mode");
    at.mode("mode", if new { 0o4755 } else { 0o644 });
    at.file("mtime", "mtime");
    at.mtime("mtime", 1, i64::from(new));
    at.file("same", noise(200_000, 3));
    at.file("size", pick("short", "not so short"));
    at.sparse("sparse", 300_000, if new { &[] } else { &[(100_000, &[0; 5000])] });
    at.symlink("target", pick("there", "elsewhere"));
    match new {
        true => at.folder("turned", |at| at.file("in", "a folder")),
        false => at.file("turned", "a file"),
    }
    if !new {
        at.folder("was", |at| at.folder("deep", |at| at.symlink("link", "nowhere")));
    }
    at.file("xattrs", "xattrs");
    at.xattr("xattrs", "user.same", b"1").unwrap();
    at.xattr("xattrs", "user.number", &[u8::from(new)]).unwrap();
    if is_root() {
        at.file("owner", "owner");
        at.owner("owner", u32::from(new), 5);
        at.node("device", FileType::CharacterDevice, makedev(1, 3 + u32::from(new)));
    }
}

#[test]
fn changes_of_every_kind_are_told_in_order() {
    let (_scratch, store) = stores();
    let mut expected = vec![
        "M content (content)",
        "M device (device)",
        "- folder/b",
        "+ folder/c",
        "- folder!",
        "+ folder-x",
        "M kind (content,size)",
        "M linked/two (links)",
        "M mode (mode)",
        "M mtime (mtime)",
        "M owner (owner)",
        "M size (content,size)",
        "M target (target)",
        "- turned",
        "+ turned",
        "+ turned/in",
        "- was",
        "- was/deep",
        "- was/deep/link",
        "M xattrs (xattrs)",
    ];
    let kept = |line: &&str| is_root() || !line.contains("owner") && !line.contains("device");
    expected.retain(kept);
    assert_eq!(lines(packfs!("diff", store, "old", "new").run()), expected);
    // The other way round, the same changes, and what was new is gone.
    let mut back = lines(packfs!("diff", store, "new", "old").run());
    let swap = |line: &&str| match line.split_at(1) {
        ("+", path) => format!("-{path}"),
        ("-", path) => format!("+{path}"),
        _ => (*line).to_owned(),
    };
    let mut swapped: Vec<String> = expected.iter().map(swap).collect();
    back.sort();
    swapped.sort();
    assert_eq!(back, swapped);
    assert_eq!(lines(packfs!("diff", store, "new", "new").run()), [""; 0]);
}

#[test]
fn changes_are_told_to_programs() {
    let (_scratch, store) = stores();
    let told = lines(packfs!("diff", "--json", store, "old", "new").run());
    let json: Vec<serde_json::Value> =
        told.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |path: &str| json.iter().filter(|line| line["path"] == path).collect::<Vec<_>>();
    let [modified] = of("kind")[..] else { panic!("{told:?}") };
    assert_eq!((&modified["change"], &modified["type"]), (&"modified".into(), &"file".into()));
    assert_eq!(modified["what"], serde_json::json!(["content", "size"]));
    let [before, after] = of("turned")[..] else { panic!("{told:?}") };
    assert_eq!((&before["change"], &before["type"]), (&"removed".into(), &"file".into()));
    assert_eq!((&after["change"], &after["type"]), (&"added".into(), &"folder".into()));
}

/// A store of some thousand files whose first root is snapshot `before`, and of which little
/// changed since: the pages of its trees are mostly shared.
fn grown(more: impl FnOnce(&Folder)) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let store = scratch.join("store");
    let top = Folder::open(scratch.path());
    top.folder("first", |at| {
        for folder in 0..20 {
            at.folder(format!("{folder:02}"), |at| {
                (0..200).for_each(|n| at.file(format!("{n:03}"), format!("{folder} {n}")));
                at.file("large", noise(300_000, folder));
                at.link("linked", at, "large");
            });
        }
    });
    packfs!("create", scratch.join("first"), store).run().ok();
    packfs!("snapshot", "create", store, "before").run().ok();
    top.folder("more", more);
    top.settle_as("more", "first");
    packfs!("add", store, scratch.join("more/.")).run().ok();
    (scratch, store)
}

#[test]
fn what_was_added_is_told() {
    let (_scratch, store) = grown(|at| {
        at.folder("07", |at| {
            at.file("100", "7 101");
            at.file("100-and", "more");
            at.file("linked", noise(300_000, 7));
        });
        at.folder("more", |at| at.file("file", "content"));
        at.folder("12", |at| at.file("large", "no longer"));
    });
    let expected = [
        "M 07/100 (content)",
        "+ 07/100-and",
        "M 07/linked (mtime,links)",
        "M 12/large (content,size)",
        "M 12/linked (links)",
        "+ more",
        "+ more/file",
    ];
    for from in ["before", "#1"] {
        let told = lines(packfs!("diff", store, from).run());
        let told: Vec<&String> = told.iter().filter(|line| !line.ends_with(" (mtime)")).collect();
        assert_eq!(told, expected);
    }
    let back = lines(packfs!("diff", store, "@head", "before").run());
    assert!(back.contains(&"- more/file".to_owned()), "{back:?}");
    assert_eq!(lines(packfs!("diff", store, "#2").run()), [""; 0]);
}

#[test]
fn data_is_read_only_where_blocks_differ() {
    let (_scratch, store) = grown(|at| {
        at.folder("03", |at| {
            at.file("large", "shorter");
            at.file("new", noise(100_000, 99));
        });
    });
    fs::remove_dir_all(store.join("packs")).unwrap();
    let told = lines(packfs!("diff", store, "before").run());
    assert!(told.contains(&"M 03/large (content,size)".to_owned()), "{told:?}");
    assert!(told.contains(&"+ 03/new".to_owned()), "{told:?}");
    // Of the same length: now it has to.
    let (_scratch, store) = grown(|at| at.folder("03", |at| at.file("050", "x 50")));
    fs::remove_dir_all(store.join("packs")).unwrap();
    let outcome = packfs!("diff", store, "before").run();
    assert!(!outcome.text().contains("050"), "{outcome}");
    outcome.fails(1, &["03/050", "lost; packfs fsck --repair"]);
}

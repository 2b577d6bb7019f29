//! Snapshots show what a store was, whatever is added.

use std::fs;
use std::path::PathBuf;

use packfs::format::{Snapshot, hex};

use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::layout::{load, object_keys};
use crate::support::{Mount, Scratch, assert_same, exact, tree::Folder};

/// A store whose first root is snapshot `before`, and whose second one has other files; the scratch
/// folder holds `source` as it was for the first.
fn store() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let (source, store) = (scratch.join("source"), scratch.join("store"));
    let top = Folder::open(scratch.path());
    top.folder("source", |at| {
        at.file("replaced", noise(100_000, 1));
        at.folder("folder", |at| at.file("kept", "kept"));
    });
    packfs!("create", source, store).run().ok();
    packfs!("snapshot", "create", store, "before").run().ok();
    top.folder("more", |at| {
        at.file("replaced", "after");
        at.file("new", noise(100_000, 2));
    });
    packfs!("add", store, scratch.join("more/.")).run().ok();
    (scratch, store)
}

fn list(store: &PathBuf) -> Vec<String> {
    let names = |line: &str| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
    packfs!("snapshot", "list", store).run().ok().text().lines().map(names).collect()
}

#[test]
fn a_mount_shows_the_snapshot_that_it_was_asked_for() {
    let (scratch, store) = store();
    let source = scratch.join("source");
    for options in [&["--snapshot", "before"], &["-o", "ro,snapshot=before"]] {
        Mount::with(&store, options).assert_same(&source, &exact());
    }
    let now = Mount::new(&store);
    assert_eq!(fs::read(now.path().join("replaced")).unwrap(), b"after");
    assert!(now.path().join("new").exists());
}

#[test]
fn commands_that_read_show_the_snapshot_that_they_were_asked_for() {
    let (scratch, store) = store();
    let text = |command| packfs!(command, "--snapshot", "before", store);
    assert_eq!(text("ls").run().ok().text(), "folder\nreplaced\n");
    assert_eq!(text("cat").arg("replaced").run().ok().stdout, noise(100_000, 1));
    assert!(text("info").run().ok().text().contains("roots/1-"));
    assert!(text("info").arg("replaced").run().ok().text().contains("100,000 bytes"));
    let out = scratch.join("out");
    packfs!("extract", store, out, "--snapshot", "before").run().ok();
    assert_same(&scratch.join("source"), &out, &exact());
    assert_eq!(packfs!("ls", store).run().ok().text(), "folder\nnew\nreplaced\n");
}

#[test]
fn snapshots_are_listed_renamed_and_deleted() {
    let (_scratch, store) = store();
    let made = packfs!("snapshot", "create", store, "now it is \u{e4}").run().ok();
    assert_eq!(made.text(), "now it is \u{e4}: root 2\n");
    assert_eq!(list(&store), ["root 1 before", "root 2 now it is \u{e4}"]);
    packfs!("snapshot", "rename", store, "before", "-").run().ok();
    assert_eq!(list(&store), ["root 1 -", "root 2 now it is \u{e4}"]);
    packfs!("ls", store, "--snapshot", "-").run().ok();
    packfs!("snapshot", "delete", store, "-").run().ok();
    assert_eq!(list(&store), ["root 2 now it is \u{e4}"]);
    packfs!("ls", store, "--snapshot", "before").run().fails(1, &["before", "no such snapshot"]);
    // Two names for a root are two snapshots.
    packfs!("snapshot", "create", store, "again").run().ok();
    assert_eq!(list(&store).len(), 2);
    packfs!("ls", store).run().ok();
}

#[test]
fn a_list_is_there_for_programs() {
    let (_scratch, store) = store();
    let text = packfs!("snapshot", "list", "--json", store).run().ok().text();
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    let object = fs::read(store.join("snapshots/before")).unwrap();
    let snapshot = Snapshot::decode(&object).unwrap();
    assert_eq!((line["name"].as_str(), line["root"].as_u64()), (Some("before"), Some(1)));
    assert_eq!(line["id"].as_str(), Some(hex(&snapshot.root).as_str()));
    assert!(line["created"].as_str().unwrap().starts_with("20"));
    let root = format!("roots/1-{}", hex(&snapshot.root));
    assert!(object_keys(&store).contains(&root));
}

#[test]
fn adding_leaves_snapshots_alone() {
    let (scratch, store) = store();
    let snapshots = || -> Vec<_> {
        load(&store).into_iter().filter(|(key, _)| key.starts_with("snapshots/")).collect()
    };
    let before = snapshots();
    packfs!("add", store, scratch.join("source"), "--at", "again").run().ok();
    assert_eq!(snapshots(), before);
    assert_eq!(before.len(), 1);
}

#[test]
fn an_image_lists_the_snapshots_that_it_has() {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).folder("source", |at| at.file("file", "content"));
    let image = scratch.join("image.pfs");
    packfs!("create", scratch.join("source"), image).run().ok();
    assert_eq!(packfs!("snapshot", "list", image).run().ok().text(), "");
}

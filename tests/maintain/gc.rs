//! `packfs gc`, as its users meet it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::layout::object_keys;
use crate::support::{Mount, Scratch, assert_same, exact, tree::Folder};

/// A store with a snapshot `old` of what is in `one`, and whose newest root has what is in `two`.
pub fn store() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let top = Folder::open(scratch.path());
    let fill = |at: &Folder, seed: u64| {
        at.file("same", noise(200_000, 1));
        at.file("other", noise(300_000, seed));
        at.folder("folder", |at| at.file("file", noise(50_000, seed + 50)));
    };
    top.folder("one", |at| fill(at, 10));
    top.folder("two", |at| fill(at, 20));
    let store = scratch.join("store");
    packfs!("create", scratch.join("one"), store).run().ok();
    packfs!("snapshot", "create", store, "old").run().ok();
    packfs!("add", store, scratch.join("two/.")).run().ok();
    (scratch, store)
}

fn bytes(store: &Path) -> u64 {
    let length = |key: &String| fs::metadata(store.join(key)).unwrap().len();
    object_keys(store).iter().map(length).sum()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_a_snapshot_had_alone_goes_with_it() {
    let (scratch, store) = store();
    packfs!("gc", store).run().ok();
    let out = scratch.join("old");
    packfs!("extract", store, out, "--snapshot", "old").run().ok();
    assert_same(&scratch.join("one"), &out, &exact());
    packfs!("snapshot", "delete", store, "old").run().ok();
    // What both have lies in the pack of the first.
    packfs!("rebuild", store, "-q", "--dead-ratio", "0.1").run().ok();
    let left = bytes(&store);
    assert!(left < 600_000, "{left} bytes are left of 550,000");
    let now = scratch.join("now");
    packfs!("extract", store, now).run().ok();
    assert_same(&scratch.join("two"), &now, &exact());
    let again = packfs!("gc", "--json", store).run().ok().text();
    assert_eq!(json(&again)["objects"], 0, "{again}");
}

#[test]
fn a_plan_changes_nothing_and_says_what_would_go() {
    let (_scratch, store) = store();
    packfs!("snapshot", "delete", store, "old").run().ok();
    let before = object_keys(&store);
    let plan = json(&packfs!("gc", "--dry-run", "--json", store).run().ok().text());
    assert_eq!(object_keys(&store), before);
    let (start, done) = (bytes(&store), json(&packfs!("gc", "--json", store).run().ok().text()));
    assert_eq!(plan["objects"], done["objects"], "{plan} {done}");
    assert_eq!(plan["bytes"], done["bytes"], "{plan} {done}");
    assert_eq!(start - bytes(&store), done["bytes"].as_u64().unwrap());
}

#[test]
fn what_a_mount_reads_stays_until_it_ends() {
    let (scratch, store) = store();
    let mount = Mount::with(&store, &["--snapshot", "old"]);
    packfs!("snapshot", "delete", store, "old").run().ok();
    let said = packfs!("rebuild", store, "--all").run().ok();
    assert!(said.stderr.contains("1 older roots are being read"), "{}", said.stderr);
    packfs!("gc", store).run().ok();
    mount.assert_same(&scratch.join("one"), &exact());
    drop(mount);
    let done = json(&packfs!("gc", "--json", store).run().ok().text());
    assert!(done["bytes"].as_u64().unwrap() > 300_000, "{done}");
    let now = scratch.join("now");
    packfs!("extract", store, now).run().ok();
    assert_same(&scratch.join("two"), &now, &exact());
}

#[test]
fn a_mount_that_writes_goes_on_beside_it() {
    let (scratch, store) = store();
    let mount = Mount::writable(&store, &[]);
    fs::write(mount.path().join("new"), noise(100_000, 7)).unwrap();
    packfs!("snapshot", "delete", store, "old").run().ok();
    packfs!("rebuild", store, "--all").run().ok();
    fs::write(mount.path().join("newer"), noise(100_000, 8)).unwrap();
    packfs!("gc", store).run().ok();
    assert_eq!(fs::read(mount.path().join("other")).unwrap(), noise(300_000, 20));
    assert_eq!(fs::read(mount.path().join("new")).unwrap(), noise(100_000, 7));
    drop(mount);
    packfs!("gc", store).run().ok();
    let now = scratch.join("now");
    packfs!("extract", store, now).run().ok();
    fs::write(scratch.join("two/new"), noise(100_000, 7)).unwrap();
    fs::write(scratch.join("two/newer"), noise(100_000, 8)).unwrap();
    for (name, seed) in [("new", 7), ("newer", 8)] {
        assert_eq!(fs::read(now.join(name)).unwrap(), noise(100_000, seed));
    }
    assert_eq!(fs::read(now.join("other")).unwrap(), noise(300_000, 20));
}

#[test]
fn what_is_left_of_a_chain_can_still_be_told_from_its_packs() {
    let scratch = Scratch::new();
    let top = Folder::open(scratch.path());
    let fill = |at: &Folder, last: u64| {
        (0..9u64).for_each(|n| at.file(format!("file-{n}"), noise(60_000, n)));
        at.file("middle", noise(60_000, last));
        at.file("zzz", noise(300_000, last + 1));
    };
    top.folder("one", |at| fill(at, 40));
    top.folder("two", |at| fill(at, 50));
    let store = scratch.join("store");
    packfs!("create", scratch.join("one"), store, "--pack-size", "64K").run().ok();
    packfs!("add", store, scratch.join("two/."), "--pack-size", "64K").run().ok();
    let packs = || object_keys(&store).into_iter().filter(|key| key.starts_with("packs/")).count();
    let before = packs();
    packfs!("gc", store).run().ok();
    assert!(packs() < before - 3, "{before} packs, then {}", packs());
    for key in object_keys(&store).iter().filter(|key| key.starts_with("index/")) {
        fs::remove_file(store.join(key)).unwrap();
    }
    let repaired = packfs!("fsck", store, "--repair").run();
    assert_eq!(repaired.status.code(), Some(1), "{repaired}");
    packfs!("fsck", store, "--deep").run().ok();
    packfs!("gc", store).run().ok();
    // A copy has all that it takes, too.
    let copy = scratch.join("copy");
    packfs!("copy", store, copy).run().ok();
    assert_eq!(object_keys(&copy), object_keys(&store));
    let now = scratch.join("now");
    packfs!("extract", store, now).run().ok();
    assert_same(&scratch.join("two"), &now, &exact());
}

#[test]
fn nothing_is_collected_from_what_is_damaged() {
    let (_scratch, store) = store();
    let keys = object_keys(&store);
    let tree = keys.iter().find(|key| key.starts_with("trees/")).unwrap();
    let mut bytes = fs::read(store.join(tree)).unwrap();
    let middle = bytes.len() - 40;
    bytes[middle] ^= 1;
    fs::write(store.join(tree), bytes).unwrap();
    packfs!("gc", store).run().fails(1, &["trees/"]);
    assert_eq!(object_keys(&store), keys);
}

#[test]
fn nothing_is_collected_where_two_histories_came_together() {
    let (scratch, store) = store();
    let other = scratch.join("other");
    packfs!("copy", store, other).run().ok();
    packfs!("add", store, scratch.join("one")).run().ok();
    packfs!("add", store, scratch.join("one"), "--at", "again").run().ok();
    packfs!("add", other, scratch.join("two")).run().ok();
    for key in object_keys(&other) {
        if !store.join(&key).exists() {
            fs::create_dir_all(store.join(&key).parent().unwrap()).unwrap();
            fs::copy(other.join(&key), store.join(&key)).unwrap();
        }
    }
    let keys = object_keys(&store);
    packfs!("gc", store).run().fails(1, &["history"]);
    assert_eq!(object_keys(&store), keys);
}

#[test]
fn a_snapshot_may_be_called_head() {
    let (scratch, store) = store();
    packfs!("snapshot", "rename", store, "old", "head").run().ok();
    packfs!("rebuild", store, "--all").run().ok();
    let again = json(&packfs!("gc", "--json", store).run().ok().text());
    assert_eq!(again["objects"], 0, "{again}");
    let old = scratch.join("old");
    packfs!("extract", store, old, "--snapshot", "head").run().ok();
    assert_same(&scratch.join("one"), &old, &exact());
}

#[test]
fn an_image_is_not_collected() {
    let (scratch, _) = store();
    let image = scratch.join("image.pfs");
    packfs!("create", scratch.join("one"), image).run().ok();
    packfs!("gc", image).run().fails(1, &["never changed"]);
    packfs!("gc", scratch.join("one")).run().fails(1, &["not a packfs archive"]);
    packfs!("gc").run().fails(2, &["STORE"]);
}

#[test]
fn a_snapshot_whose_root_is_lost_can_be_given_up() {
    let (_scratch, store) = store();
    let oldest = object_keys(&store).into_iter().find(|key| key.starts_with("roots/")).unwrap();
    fs::remove_file(store.join(oldest)).unwrap();
    packfs!("gc", store).run().fails(1, &["old", "snapshot delete"]);
    packfs!("snapshot", "delete", store, "old").run().ok();
    packfs!("gc", store).run().ok();
    packfs!("fsck", "--deep", store).run().exits(0);
}

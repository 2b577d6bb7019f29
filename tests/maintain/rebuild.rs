//! `packfs rebuild`: blocks lie elsewhere, and nothing else has changed.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::gc::store;
use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::layout::object_keys;
use crate::support::{Mount, Scratch, assert_same, exact, tree::Folder};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn packs(store: &Path) -> usize {
    object_keys(store).iter().filter(|key| key.starts_with("packs/")).count()
}

#[test]
fn small_packs_become_one_and_all_snapshots_show_what_they_did() {
    let (scratch, store) = store();
    for seed in 30..36u64 {
        let more = scratch.join(&format!("more-{seed}"));
        fs::create_dir(&more).unwrap();
        fs::write(more.join("file"), noise(100_000, seed)).unwrap();
        packfs!("add", store, more).run().ok();
    }
    let tree = object_keys(&store).into_iter().filter(|key| key.starts_with("trees/")).count();
    assert!(tree > 1 && packs(&store) == 8);
    let plan = json(&packfs!("rebuild", "-n", "--json", store).run().ok().text());
    assert_eq!((plan["packs"].as_u64(), packs(&store)), (Some(8), 8), "{plan}");
    packfs!("rebuild", store).run().ok();
    assert_eq!(packs(&store), 1);
    let said = packfs!("rebuild", store).run().ok().text();
    assert!(said.contains("nothing to rebuild"), "{said}");
    let (old, now) = (scratch.join("was"), scratch.join("now"));
    packfs!("extract", store, old, "--snapshot", "old").run().ok();
    assert_same(&scratch.join("one"), &old, &exact());
    packfs!("extract", store, now).run().ok();
    assert_eq!(fs::read(now.join("more-33/file")).unwrap(), noise(100_000, 33));
    // What is added goes on from there, and what is there is known.
    let added = packfs!("add", "--json", store, scratch.join("one")).run().ok().text();
    assert_eq!(json(&added)["unique_bytes"], 0, "{added}");
    packfs!("rebuild", "--all", store).run().ok();
    let again = scratch.join("again");
    packfs!("extract", store, again, "one").run().ok();
    assert_same(&scratch.join("one"), &again.join("one"), &exact());
}

#[test]
fn packs_are_written_as_they_are_asked_for() {
    let (scratch, store) = store();
    packfs!("rebuild", store, "--codec", "lz4", "--pack-size", "128K").run().ok();
    let info = packfs!("info", store).run().ok().text();
    assert!(!info.contains("zstd"), "{info}");
    assert!(packs(&store) > 5);
    Mount::new(&store).assert_same(&scratch.join("two"), &exact());
    packfs!("rebuild", store, "--max-bytes", "1").run().ok();
    packfs!("rebuild", store, "--level", "1", "--order", "path", "--max-time", "60").run().ok();
    assert!(packs(&store) <= 2);
    Mount::new(&store).assert_same(&scratch.join("two"), &exact());
}

#[test]
fn what_comes_out_as_it_was_is_not_counted_twice() {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).folder("source", |at| at.file("noise", noise(3_000_000, 1)));
    let store = scratch.join("store");
    packfs!("create", scratch.join("source"), store).run().ok();
    let info = || packfs!("info", store).run().ok().text();
    packfs!("rebuild", store, "--order", "path").run().ok();
    let (before, keys) = (info(), object_keys(&store).len());
    for _ in 0..2 {
        let done = json(&packfs!("rebuild", store, "--json", "--order", "path").run().ok().text());
        assert_eq!(done["dead_bytes"], 0, "{done}");
    }
    let line = |text: &str| text.lines().find(|line| line.contains("unique")).unwrap().to_owned();
    assert_eq!((line(&info()), object_keys(&store).len()), (line(&before), keys));
    let said = packfs!("rebuild", store).run().ok().text();
    assert!(said.contains("nothing to rebuild"), "{said}");
}

#[test]
fn what_there_was_no_time_for_is_not_said_to_be_done() {
    let (_scratch, store) = store();
    let keys = object_keys(&store);
    let done =
        json(&packfs!("rebuild", store, "--json", "--all", "--max-time", "0").run().ok().text());
    let of = |key: &str| done[key].as_u64().unwrap();
    assert_eq!((of("packs"), of("live_bytes"), of("written_bytes")), (0, 0, 0), "{done}");
    assert_eq!((&done["late"], object_keys(&store)), (&Value::Bool(true), keys));
    let said = packfs!("rebuild", store, "--all", "--max-time", "0").run().ok().text();
    assert!(said.contains("run it again"), "{said}");
}

#[test]
fn what_was_read_first_comes_first() {
    let scratch = Scratch::new();
    let top = Folder::open(scratch.path());
    top.folder("source", |at| {
        (0..40u64).for_each(|n| at.file(format!("file-{n:02}"), noise(60_000, n)));
        // Part of it is read, part of it is not.
        at.file("other", [noise(60_000, 17), noise(60_000, 99), noise(60_000, 4)].concat());
    });
    let (store, trace) = (scratch.join("store"), scratch.join("trace"));
    packfs!("create", scratch.join("source"), store).run().ok();
    let mount = Mount::with(&store, &["--trace", trace.to_str().unwrap()]);
    for n in [31, 4, 17] {
        fs::read(mount.path().join(format!("file-{n}"))).unwrap_or_default();
        fs::read(mount.path().join(format!("file-{n:02}"))).unwrap();
    }
    drop(mount);
    let order = format!("trace:{}", trace.display());
    packfs!("rebuild", store, "--order", order, "--frame-size", "64K").run().ok();
    Mount::new(&store).assert_same(&scratch.join("source"), &exact());
    packfs!("rebuild", store, "--order", "trace:/nowhere").run().fails(1, &["/nowhere"]);
    fs::write(&trace, "hello").unwrap();
    let order = format!("trace:{}", trace.display());
    packfs!("rebuild", store, "--order", order).run().fails(1, &["access trace"]);
    packfs!("rebuild", store, "--order", "chaos").run().fails(2, &["trace:FILE"]);
    packfs!("rebuild", store, "--dead-ratio", "7").run().fails(2, &["from 0 to 1"]);
}

#[test]
fn an_image_is_replaced_by_a_new_one() {
    let (scratch, store) = store();
    let (image, trial) = (scratch.join("image.pfs"), scratch.join("trial.pfs"));
    packfs!("copy", store, image).run().ok();
    fs::copy(&image, &trial).unwrap();
    packfs!("rebuild", image, "-n").run().ok();
    assert_eq!(fs::read(&image).unwrap(), fs::read(&trial).unwrap());
    let mount = Mount::new(&image);
    packfs!("rebuild", image, "-q", "--level", "1").run().ok();
    mount.assert_same(&scratch.join("two"), &exact());
    drop(mount);
    assert_ne!(fs::read(&image).unwrap(), fs::read(&trial).unwrap());
    packfs!("fsck", image, "--deep").run().ok();
    for (snapshot, folder) in [("old", "one"), ("@head", "two")] {
        let out = scratch.join(snapshot);
        match snapshot {
            "old" => packfs!("extract", image, out, "--snapshot", snapshot).run().ok(),
            _ => packfs!("extract", image, out).run().ok(),
        };
        assert_same(&scratch.join(folder), &out, &exact());
    }
    let left = scratch.names();
    assert!(!left.iter().any(|name| name.starts_with(".packfs")), "{left:?}");
}

#[test]
fn one_rebuild_at_a_time() {
    let (_scratch, store) = store();
    let config = fs::File::open(store.join("packfs.toml")).unwrap();
    rustix::fs::flock(&config, rustix::fs::FlockOperation::LockExclusive).unwrap();
    packfs!("rebuild", store).run().fails(1, &["somebody else"]);
    packfs!("gc", store).run().fails(1, &["somebody else"]);
    packfs!("gc", "-n", store).run().ok();
}

#[test]
fn blocks_get_other_names_and_the_store_goes_on() {
    let (scratch, store) = store();
    packfs!("rebuild", store, "--parity", "20").run().ok();
    let text = packfs!("rebuild", store, "--hash", "xxh3-128").run().ok().text();
    assert!(text.contains("anew"), "{text}");
    let settings = || fs::read_to_string(store.join("packfs.toml")).unwrap();
    assert!(settings().contains("xxh3-128"), "{}", settings());
    packfs!("fsck", "--deep", store).run().ok();
    // What is there is known by its new name.
    let json = packfs!("add", store, scratch.join("two/."), "--at", "again", "--json").run().ok();
    let json: Value = serde_json::from_str(&json.text()).unwrap();
    assert_eq!(json["unique_bytes"], 0, "{json}");
    packfs!("fsck", "--deep", store).run().ok();
    let again = packfs!("rebuild", store, "--hash-length", "12").run().ok();
    assert!(settings().contains("hash_len = 12"), "{}", again.text());
    let copy = scratch.join("copy");
    packfs!("copy", store, copy).run().ok();
    packfs!("rebuild", store, "--hash", "blake3").run().ok();
    packfs!("copy", store, copy).run().ok();
    assert_eq!(
        fs::read(copy.join("packfs.toml")).unwrap(),
        fs::read(store.join("packfs.toml")).unwrap()
    );
    for archive in [&store, &copy] {
        packfs!("fsck", "--deep", archive).run().ok();
    }
    let image = scratch.join("image.pfs");
    packfs!("copy", store, image).run().ok();
    packfs!("rebuild", image, "--hash", "xxh3-128").run().ok();
    packfs!("fsck", "--deep", image).run().ok();
    assert!(packfs!("info", image, "--json").run().ok().text().contains("xxh3-128"));
}

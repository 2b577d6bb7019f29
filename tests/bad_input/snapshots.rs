//! Snapshots where there cannot be any, and damaged ones.

use std::fs;
use std::path::Path;
use std::time::Duration;

use packfs::format::Config;

use super::archive;
use crate::support::command::packfs;
use crate::support::layout::object_keys;
use crate::support::mount::is_mounted;

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_has_no_snapshots_to_change() {
    let (scratch, image) = archive("image.pfs");
    let source = scratch.join("source");
    for verb in [&["create"][..], &["delete"], &["rename", "other"]] {
        let run = |store: &Path| packfs!("snapshot", verb[0], store, "name").args(&verb[1..]).run();
        run(&image).fails(1, &["image.pfs", "never changed"]);
        run(&scratch.join("gone")).fails(1, &["gone", "not found"]);
        run(&source).fails(1, &["source", "not a packfs archive"]);
    }
    packfs!("snapshot", "list", source).run().fails(1, &["source", "not a packfs archive"]);
    assert!(!source.join("live").exists() && !source.join("snapshots").exists());
    assert_eq!(packfs!("snapshot").run().status.code(), Some(2));
}

#[test]
fn names_that_no_snapshot_can_have() {
    let (_scratch, store) = archive("store");
    packfs!("snapshot", "create", store, "good").run().ok();
    let before = object_keys(&store);
    let long = "n".repeat(256);
    for name in ["", ".", "..", ".hidden", "a/b", "../roots/1-a", "a\tb", "a\nb", &long] {
        for packfs in [
            packfs!("snapshot", "create", store, name),
            packfs!("snapshot", "delete", store, name),
            packfs!("snapshot", "rename", store, "good", name),
            packfs!("ls", store, "--snapshot", name),
            packfs!("diff", store, name),
        ] {
            packfs.run().fails(2, &["packfs --help"]);
        }
    }
    for name in ["@head", "#1"] {
        packfs!("snapshot", "create", store, name).run().fails(1, &[name, "another"]);
        packfs!("snapshot", "rename", store, "good", name).run().fails(1, &[name, "another"]);
    }
    packfs!("mount", store, "/mnt", "-o", "snapshot=a/b").run().fails(2, &["snapshot=a/b"]);
    packfs!("snapshot", "create", store, &long[1..]).run().ok();
    packfs!("snapshot", "delete", store, &long[1..]).run().ok();
    assert_eq!(object_keys(&store), before);
}

#[test]
fn names_that_are_taken_or_not_there() {
    let (scratch, store) = archive("store");
    packfs!("snapshot", "create", store, "one").run().ok();
    packfs!("snapshot", "create", store, "two").run().ok();
    let before = crate::support::layout::load(&store);
    let taken = ["two", "is there already"];
    packfs!("snapshot", "create", store, "two").run().fails(1, &taken);
    packfs!("snapshot", "rename", store, "one", "two").run().fails(1, &taken);
    packfs!("snapshot", "rename", store, "two", "two").run().fails(1, &taken);
    let gone = ["gone", "no such snapshot", "snapshot list"];
    packfs!("snapshot", "rename", store, "gone", "three").run().fails(1, &gone);
    packfs!("snapshot", "delete", store, "gone").run().fails(1, &gone);
    for command in ["ls", "info", "cat"] {
        packfs!(command, store, "file", "--snapshot", "gone").run().fails(1, &gone);
    }
    packfs!("extract", store, scratch.join("out"), "--snapshot", "gone").run().fails(1, &gone);
    packfs!("diff", store, "gone").run().fails(1, &gone);
    packfs!("diff", store, "one", "gone").run().fails(1, &gone);
    packfs!("diff", store, "#7").run().fails(1, &["number 7"]);
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    packfs!("mount", store, folder, "--snapshot", "gone").run().fails(1, &gone);
    assert!(!is_mounted(&folder) && !scratch.join("out").exists());
    let after = crate::support::layout::load(&store);
    let objects = |files: &crate::support::layout::Files| {
        files.iter().filter(|(key, _)| !key.starts_with("live/")).count()
    };
    assert_eq!(objects(&after), objects(&before));
    assert_eq!(after["snapshots/two"], before["snapshots/two"]);
}

#[test]
fn a_damaged_snapshot_hurts_no_other() {
    let (scratch, store) = archive("store");
    for name in ["bad", "good", "short"] {
        packfs!("snapshot", "create", store, name).run().ok();
    }
    let damaged = ["snapshots/bad", "damaged", "packfs fsck --repair"];
    flip(&store.join("snapshots/bad"), 60);
    fs::remove_file(store.join("snapshots/short")).unwrap();
    let listed = packfs!("snapshot", "list", store).run();
    assert_eq!(listed.text().lines().count(), 1, "{listed}");
    assert!(listed.text().ends_with("good\n"));
    listed.fails(1, &damaged);
    let json = packfs!("snapshot", "list", store, "--json").run();
    assert_eq!(json.text().lines().filter(|line| line.contains("error")).count(), 1);
    packfs!("ls", store, "--snapshot", "bad").run().fails(1, &damaged);
    packfs!("diff", store, "bad").run().fails(1, &damaged);
    packfs!("snapshot", "rename", store, "bad", "worse").run().fails(1, &damaged);
    for (name, bytes) in [("empty", &b""[..]), ("long", &[0; 5000])] {
        fs::write(store.join("snapshots").join(name), bytes).unwrap();
        packfs!("ls", store, "--snapshot", name).run().fails(1, &[name]);
    }
    // Neither does it hurt the store.
    packfs!("ls", store).run().ok();
    packfs!("add", store, scratch.join("source")).run().ok();
    packfs!("ls", store, "--snapshot", "good").run().ok();
    ["bad", "empty", "long"].iter().for_each(|name| {
        packfs!("snapshot", "delete", store, name).run().ok();
    });
    assert_eq!(packfs!("snapshot", "list", store).run().ok().text().lines().count(), 1);
}

#[test]
fn a_snapshot_whose_root_is_lost_says_so() {
    let (scratch, store) = archive("store");
    packfs!("snapshot", "create", store, "first").run().ok();
    packfs!("add", store, scratch.join("source")).run().ok();
    packfs!("snapshot", "create", store, "second").run().ok();
    let keys = object_keys(&store);
    let root = keys.iter().find(|key| key.starts_with("roots/1-")).unwrap();
    // Another root does not stand in for it.
    flip(&store.join(root), 60);
    packfs!("ls", store, "--snapshot", "first").run().fails(1, &["first", root, "damaged"]);
    fs::remove_file(store.join(root)).unwrap();
    let words = ["first", root, "not found", "delete the snapshot"];
    packfs!("ls", store, "--snapshot", "first").run().fails(1, &words);
    let listed = packfs!("snapshot", "list", store).run();
    assert!(listed.text().ends_with("second\n"));
    listed.fails(1, &words);
}

#[test]
fn an_older_root_gets_no_name_in_place_of_the_newest() {
    let (scratch, store) = archive("store");
    packfs!("add", store, scratch.join("source")).run().ok();
    let keys = object_keys(&store);
    flip(&store.join(keys.iter().find(|key| key.starts_with("roots/2-")).unwrap()), 60);
    packfs!("snapshot", "create", store, "now").run().fails(1, &["roots/2-", "damaged"]);
    assert_eq!(object_keys(&store), keys);
}

#[test]
fn who_lacks_a_feature_changes_no_snapshots() {
    let (_scratch, store) = archive("store");
    packfs!("snapshot", "create", store, "one").run().ok();
    let settings = store.join("packfs.toml");
    let config = Config::decode(&fs::read(&settings).unwrap()).unwrap();
    let features = Config { compatible: vec!["parity".into()], ..config };
    fs::remove_file(&settings).unwrap();
    fs::write(&settings, features.encode()).unwrap();
    packfs!("snapshot", "create", store, "two").run().fails(1, &["parity", "update packfs"]);
    packfs!("snapshot", "delete", store, "one").run().fails(1, &["parity", "update packfs"]);
    packfs!("ls", store, "--snapshot", "one").run().ok();
}

#[test]
fn snapshots_are_not_changed_while_somebody_writes() {
    let (_scratch, store) = archive("store");
    let (reader, writer) = std::io::pipe().unwrap();
    let file = fs::File::from(std::os::fd::OwnedFd::from(reader));
    let first = packfs!("add", store, "-").stdin(file).start();
    let holds = || fs::read_to_string(store.join("live/lock")).is_ok_and(|text| !text.is_empty());
    while !holds() {
        assert!(!first.ends_within(Duration::from_millis(20)), "{}", first.stderr());
    }
    packfs!("snapshot", "create", store, "a").run().fails(1, &["being written to by process"]);
    assert_eq!(packfs!("snapshot", "list", store).run().ok().text(), "");
    drop(first);
    drop(writer);
    packfs!("snapshot", "create", store, "a").run().ok();
}

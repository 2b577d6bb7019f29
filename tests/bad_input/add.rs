//! `add` where it cannot.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::process::Signal;

use super::archive;
use crate::support::command::{binary, packfs};
use crate::support::hostile::noise;
use crate::support::layout::object_keys;
use crate::support::{Packfs, Scratch, assert_same, exact};

#[test]
fn what_cannot_be_added_to() {
    let (scratch, image) = archive("image.pfs");
    let source = scratch.join("source");
    packfs!("add", image, source).run().fails(1, &["image.pfs", "never changed"]);
    packfs!("add", scratch.join("gone"), source).run().fails(1, &["gone", "not found"]);
    packfs!("add", source, source).run().fails(1, &["source", "not a packfs archive"]);
    assert!(!source.join("live").exists());
}

#[test]
fn what_cannot_be_added() {
    let (scratch, store) = archive("store");
    let source = scratch.join("source");
    let before = object_keys(&store);
    packfs!("add", store, scratch.join("gone")).run().fails(1, &["gone", "not found"]);
    packfs!("add", store, scratch.path()).run().fails(1, &["inside"]);
    packfs!("add", store, store.join("packs")).run().fails(1, &["inside"]);
    packfs!("add", store, source, "--at", "a/../b").run().fails(2, &["--at"]);
    packfs!("add", store).run().fails(2, &["SRC"]);
    packfs!("add", store, source, "-").run().fails(2, &["only SRC"]);
    packfs!("add", store, source, format!("{}/.", source.display())).run().fails(2, &["only SRC"]);
    packfs!("add", store, source, source).run().fails(2, &["two SRC", "source"]);
    // A file where the archive has a folder, and the other way round.
    fs::write(scratch.join("folder"), "a file").unwrap();
    packfs!("add", store, scratch.join("folder")).run().fails(1, &["folder", "--at"]);
    packfs!("add", store, source, "--at", "file").run().fails(1, &["file", "--at"]);
    assert_eq!(object_keys(&store), before, "packs of what failed are gone");
}

#[test]
fn a_symlink_is_added_as_such() {
    let (scratch, store) = archive("store");
    symlink("source", scratch.join("link")).unwrap();
    packfs!("add", store, scratch.join("link")).run().ok();
    packfs!("add", store, format!("{}/", scratch.join("link").display()), "--at", "b").run().ok();
    let out = scratch.join("out");
    packfs!("extract", store, out).run().ok();
    assert_eq!(fs::read_link(out.join("link")).unwrap().to_str(), Some("source"));
    assert_same(&scratch.join("source"), &out.join("b/link"), &exact());
}

#[test]
fn a_second_writer_is_told_of_the_first() {
    let (scratch, store) = archive("store");
    let before = object_keys(&store);
    // A tar that never comes.
    let (reader, writer) = std::io::pipe().unwrap();
    let file = std::fs::File::from(std::os::fd::OwnedFd::from(reader));
    let first = packfs!("add", store, "-").stdin(file).start();
    let holds = || fs::read_to_string(store.join("live/lock")).is_ok_and(|text| !text.is_empty());
    while !holds() {
        assert!(!first.ends_within(Duration::from_millis(20)), "{}", first.stderr());
    }
    let line = packfs!("add", store, scratch.join("source")).run();
    line.fails(1, &["being written to by process", "wait"]);
    // Who reads needs no lock.
    packfs!("ls", store).run().ok();
    first.signal(Signal::INT);
    assert!(first.wait().interrupted());
    drop(writer);
    assert_eq!(object_keys(&store), before);
    packfs!("add", store, scratch.join("source")).run().ok();
}

#[test]
fn an_addition_that_is_killed_changes_nothing() {
    let (scratch, store) = archive("store");
    let (before, big) = (scratch.join("before"), scratch.join("big"));
    packfs!("extract", store, before).run().ok();
    fs::create_dir(&big).unwrap();
    for n in 0..40 {
        fs::write(big.join(format!("{n}")), noise(1 << 20, n)).unwrap();
    }
    for wait in [1, 20, 60, 150, 300] {
        let add = packfs!("add", store, big, "--threads", "1").start();
        let ended = add.ends_within(Duration::from_millis(wait));
        drop(add);
        let after = scratch.path().join(format!("after-{wait}"));
        packfs!("extract", store, after).run().ok();
        if ended {
            break;
        }
        let added = after.join("big").exists();
        if added {
            assert_same(&big, &after.join("big"), &exact());
            break;
        }
        assert_same(&before, &after, &exact());
    }
    packfs!("add", store, big).run().ok();
    let whole = scratch.join("whole");
    packfs!("extract", store, whole).run().ok();
    assert_same(&big, &whole.join("big"), &exact());
}

#[test]
fn blocks_of_a_damaged_pack_are_stored_anew() {
    let (scratch, store) = archive("store");
    let pack = object_keys(&store).into_iter().find(|key| key.starts_with("packs/")).unwrap();
    let path = store.join(pack);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let outcome = packfs!("add", store, scratch.join("source"), "--at", "again").run().ok();
    assert!(outcome.stderr.contains("stored anew"), "{outcome}");
    let out = scratch.join("out");
    packfs!("extract", store, out).run().ok();
    assert_same(&scratch.join("source"), &out.join("again/source"), &exact());
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    if !crate::support::is_root() {
        return;
    }
    let script = r#"
        mount -t tmpfs -o size=3m none "$1"
        mkdir "$1/source" "$1/store-source"
        echo one > "$1/store-source/file"
        "$PACKFS" create -q "$1/store-source" "$1/store"
        (cd "$1/store" && find . -type f ! -path './live/*' | sort) > "$1/before"
        ! "$PACKFS" add -q "$1/store" "$2" 2> "$1/said"
        grep -q 'no space left' "$1/said"
        (cd "$1/store" && find . -type f ! -path './live/*' | sort) > "$1/after"
        cmp "$1/before" "$1/after"
        "$PACKFS" cat "$1/store" file | grep -q one
    "#;
    let scratch = Scratch::public();
    fs::create_dir(scratch.join("small")).unwrap();
    fs::create_dir(scratch.join("big")).unwrap();
    for n in 0..20 {
        fs::write(scratch.path().join(format!("big/{n}")), noise(1 << 20, n)).unwrap();
    }
    let run = Packfs::namespace(script);
    let outcome = run.arg(scratch.join("small")).arg(scratch.join("big")).run();
    assert!(outcome.status.success(), "{outcome}");
}

#[test]
fn a_newest_root_that_is_damaged_is_not_passed_over() {
    let (scratch, store) = archive("store");
    packfs!("add", store, scratch.join("source")).run().ok();
    let newest = object_keys(&store).into_iter().find(|key| key.starts_with("roots/2-")).unwrap();
    let path = store.join(newest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    // Who reads gets the older one; who would bury the newest is refused.
    let listed = packfs!("ls", store).run().ok();
    assert!(!listed.text().contains("source") && listed.stderr.contains("older root is shown"));
    fs::create_dir(scratch.join("mount")).unwrap();
    let mounted = packfs!("mount", store, scratch.join("mount")).run().ok();
    assert!(mounted.stderr.lines().count() == 1 && mounted.stderr.contains("an older root"));
    packfs!("umount", scratch.join("mount")).run().ok();
    let out = scratch.join("out");
    let outcome = packfs!("extract", "--quiet", store, out).run();
    assert!(outcome.status.code() == Some(1) && outcome.stderr.contains("from an older root"));
    let before = object_keys(&store);
    packfs!("add", store, scratch.join("source/file")).run().fails(1, &["roots/2-", "damaged"]);
    assert_eq!(object_keys(&store), before);
}

#[test]
fn a_lock_that_is_a_symlink_is_refused() {
    let (scratch, store) = archive("store");
    fs::create_dir(store.join("live")).unwrap();
    symlink(scratch.join("source/file"), store.join("live/lock")).unwrap();
    packfs!("add", store, scratch.join("source")).run().fails(1, &["live/lock", "remove it"]);
    assert_eq!(fs::read(scratch.join("source/file")).unwrap(), b"content");
}

#[test]
fn more_files_than_can_be_open_at_once_are_added() {
    let (scratch, store) = archive("store");
    let many = scratch.join("many");
    fs::create_dir(&many).unwrap();
    (0..400).for_each(|n| fs::write(many.join(format!("{n}")), format!("file {n}")).unwrap());
    let script = r#"ulimit -n 100; cd "$1"; exec "$PACKFS" add -q "$2" *"#;
    let packfs = Packfs::program("sh").args(["-c", script, "sh"]);
    packfs.env("PACKFS", binary()).arg(&many).arg(&store).run().ok();
    let out = scratch.join("out");
    packfs!("extract", store, out).run().ok();
    assert_eq!(fs::read_to_string(out.join("399")).unwrap(), "file 399");
}

#[test]
fn what_is_added_can_be_used_by_whoever_can_use_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let (scratch, store) = archive("store");
    fs::set_permissions(&store, fs::Permissions::from_mode(0o2775)).unwrap();
    let script = r#"umask 077; exec "$PACKFS" add -q "$1" "$2" --at new"#;
    let packfs = Packfs::program("sh").args(["-c", script, "sh"]).env("PACKFS", binary());
    fs::write(scratch.join("more"), noise(9000, 77)).unwrap();
    packfs.arg(&store).arg(scratch.join("more")).run().ok();
    let mode = |path: &str| fs::metadata(store.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("live"), mode("live/lock")), (0o2775, 0o664));
    let keys = object_keys(&store).into_iter().filter(|key| mode(key) == 0o664);
    let new: Vec<String> = keys.collect();
    assert!(new.iter().any(|key| key.starts_with("packs/")), "{new:?}");
    assert!(new.iter().any(|key| key.starts_with("roots/2-")), "{new:?}");
}

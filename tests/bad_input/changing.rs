//! Files that change while `create` reads them: told at the end, and the rest is archived.

use std::fs::{self, File};
use std::io::Write;

use super::watch::Watch;
use crate::support::Scratch;
use crate::support::command::{Outcome, packfs};
use crate::support::hostile::noise;
use crate::support::tree::Folder;

/// A large file that changes, and one that does not.
fn with_large_file() -> Scratch {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).folder("source", |at| {
        at.file("changing", noise(96 << 20, 1));
        at.file("steady", noise(100_000, 2));
    });
    scratch
}

/// Creates an archive, and calls `change` once the large file is being read.
fn create_while(scratch: &Scratch, ignore: bool, change: impl FnOnce(&mut File)) -> Outcome {
    let path = scratch.join("source/changing");
    let watch = Watch::new(&path);
    let mut file = File::options().append(true).open(&path).unwrap();
    let create = packfs!("create", scratch.join("source"), scratch.join("image.pfs"));
    let running = if ignore { create.arg("--ignore-errors") } else { create }.start();
    watch.await_read();
    change(&mut file);
    running.wait()
}

#[track_caller]
fn assert_told(scratch: &Scratch, outcome: &Outcome, words: &[&str]) {
    let told = |line: &str| {
        line.contains("changing") && words.iter().any(|word| line.to_lowercase().contains(word))
    };
    assert!(outcome.stderr.lines().any(told), "nothing about {words:?}: {outcome}");
    let steady = packfs!("cat", scratch.join("image.pfs"), "steady").run().ok().stdout;
    assert!(steady == fs::read(scratch.join("source/steady")).unwrap());
    assert_eq!(scratch.names(), ["image.pfs", "source"]);
}

#[test]
fn a_file_that_shrinks() {
    let scratch = with_large_file();
    let outcome = create_while(&scratch, false, |file| file.set_len(1000).unwrap());
    assert_eq!(outcome.status.code(), Some(1), "{outcome}");
    assert_told(&scratch, &outcome, &["shr", "changed", "shorter"]);
}

#[test]
fn a_file_that_grows() {
    let scratch = with_large_file();
    let outcome = create_while(&scratch, false, |file| file.write_all(&[1; 5000]).unwrap());
    assert_eq!(outcome.status.code(), Some(1), "{outcome}");
    assert_told(&scratch, &outcome, &["gr", "changed", "longer"]);
}

#[test]
fn ignored_changes_are_told_and_no_failure() {
    let scratch = with_large_file();
    let outcome = create_while(&scratch, true, |file| file.set_len(1000).unwrap());
    assert_eq!(outcome.status.code(), Some(0), "{outcome}");
    assert_told(&scratch, &outcome, &["shr", "changed", "shorter"]);
}

#[test]
fn files_that_vanish() {
    let scratch = Scratch::new();
    Folder::open(scratch.path()).folder("source", |at| {
        at.file("steady", noise(100_000, 2));
        at.folder("vanishing", |at| {
            for n in 0..10_000 {
                at.file(format!("file-{n}"), n.to_string());
            }
        });
    });
    let vanishing = scratch.join("source/vanishing");
    let names: Vec<_> =
        fs::read_dir(&vanishing).unwrap().map(|entry| entry.unwrap().path()).collect();
    let watch = Watch::new(&vanishing);
    let running = packfs!("create", scratch.join("source"), scratch.join("image.pfs")).start();
    watch.await_read();
    // From the end of the listing, which is furthest from being read.
    names.iter().rev().for_each(|path| fs::remove_file(path).unwrap());
    let outcome = running.wait();
    assert_eq!(outcome.status.code(), Some(1), "{outcome}");
    assert!(outcome.stderr.contains("vanish"), "{outcome}");
    let out = packfs!("cat", scratch.join("image.pfs"), "steady").run().ok();
    assert!(out.stdout == fs::read(scratch.join("source/steady")).unwrap());
    packfs!("extract", scratch.join("image.pfs"), scratch.join("out")).run().ok();
    for entry in fs::read_dir(scratch.join("out/vanishing")).unwrap() {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().strip_prefix("file-").unwrap();
        assert_eq!(fs::read(&path).unwrap(), number.as_bytes(), "{}", path.display());
    }
}

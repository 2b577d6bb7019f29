//! What cannot be done ends in one clear line and a non-zero exit, and leaves nothing behind.

mod add;
mod archives;
mod changing;
mod create;
mod interrupts;
mod mounting;
mod snapshots;
mod watch;

use std::path::PathBuf;

use crate::support::Scratch;
use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::tree::Folder;

/// A scratch folder with a small `source` in it.
fn with_source() -> Scratch {
    let scratch = Scratch::new();
    fill(&scratch);
    scratch
}

fn fill(scratch: &Scratch) {
    Folder::open(scratch.path()).folder("source", |at| {
        at.file("file", "content");
        at.file("noise", noise(100_000, 1));
        at.folder("folder", |at| at.file("inside", "more content"));
    });
}

/// An archive of the small source, in a scratch folder of its own.
fn archive(name: &str) -> (Scratch, PathBuf) {
    let scratch = with_source();
    let path = scratch.join(name);
    packfs!("create", scratch.join("source"), path).run().ok();
    (scratch, path)
}

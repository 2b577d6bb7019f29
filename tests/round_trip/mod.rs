//! What comes out of an archive is what went in, by every way out.

mod add;
mod diff;
mod extract;
mod frames;
mod listing;
mod mount;
mod order;
mod snapshots;
mod tar;
mod times;

use std::path::{Path, PathBuf};

use crate::support::command::packfs;
use crate::support::{Scratch, tree::Folder};

/// An image of a small tree that `fill` makes; the scratch folder holds `source` and `image.pfs`.
fn small(fill: impl FnOnce(&Folder)) -> (Scratch, PathBuf, PathBuf) {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    Folder::open(scratch.path()).folder("source", fill);
    create(&source, &image);
    (scratch, source, image)
}

fn create(source: &Path, archive: &Path) {
    packfs!("create", source, archive).run().ok();
}

//! Mounts as such: options, permissions, the helper of mount(8), unmounting, `try`.

mod ahead;
mod follow;
mod memory;
mod options;
mod trial;
mod unmounting;

use std::path::PathBuf;

use crate::support::Scratch;
use crate::support::command::packfs;
use crate::support::tree::Folder;

/// A folder that all can reach, with an image and an empty `mount` in it.
fn with_image() -> (Scratch, PathBuf, PathBuf) {
    let scratch = Scratch::public();
    Folder::open(scratch.path()).folder("source", |at| {
        at.file("open", "for all");
        at.mode("open", 0o644);
        at.file("closed", "for its owner");
        at.mode("closed", 0o600);
    });
    let (image, folder) = (scratch.join("image.pfs"), scratch.join("mount"));
    packfs!("create", scratch.join("source"), image).run().ok();
    std::fs::create_dir(&folder).unwrap();
    (scratch, image, folder)
}

//! The frozen tree of a root: inodes, directory entries and extents, decoded page by page.

mod reader;
mod writer;

pub use reader::{Found, Tree, TreeError};
pub use writer::TreeWriter;

use crate::format::{Id, hex};

/// Number of the root folder.
pub const ROOT: u64 = 1;

/// The key of the tree of that id.
#[must_use]
pub fn key(id: &Id) -> String {
    format!("trees/{}", hex(id))
}

//! The frozen tree of a root: inodes, directory entries and extents, decoded page by page.

mod anew;
mod around;
mod dictionary;
mod edit;
mod reader;
mod seal;
mod share;
mod writer;

pub use around::{Gap, Place};
pub use edit::TreeEdit;
pub use reader::{Found, Row, Tree};
pub use writer::TreeWriter;

use crate::format::{Id, PageKind, Section, hex};

/// Number of the root folder.
pub const ROOT: u64 = 1;

/// The key of the tree of that id.
#[must_use]
pub fn key(id: &Id) -> String {
    format!("trees/{}", hex(id))
}

/// The section that a page of that kind is.
fn section(kind: PageKind) -> Section {
    match kind {
        PageKind::Inodes => Section::Inodes,
        PageKind::Entries => Section::Entries,
        PageKind::Extents => Section::Extents,
        PageKind::Dictionaries => Section::Dictionary,
    }
}

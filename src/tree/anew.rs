//! A tree written anew: the same rows, in pages that are all its own and as full as they can be.

use super::reader::{Page, Tree};
use super::writer::TreeWriter;
use crate::format::{ObjectRef, PageKind};
use crate::storage::StorageError;

impl Tree {
    /// The bytes of a tree that has all that this one has under the same numbers, and shares no
    /// page with any other; and what names it. Pages are compressed with zstd at `level`, by so
    /// many `threads`.
    ///
    /// # Errors
    /// If a page cannot be read.
    pub fn anew(&self, level: i32, threads: usize) -> Result<(Vec<u8>, ObjectRef), StorageError> {
        let mut writer = TreeWriter::new(level);
        for kind in [PageKind::Inodes, PageKind::Entries, PageKind::Extents] {
            for at in 0..self.footer().table(kind).len() {
                copy(&*self.page(kind, at)?, &mut writer);
            }
        }
        writer.skip_to(self.footer().next_inode);
        Ok(writer.finish(self.footer().origins.clone(), threads))
    }
}

fn copy(page: &Page, writer: &mut TreeWriter) {
    match page {
        Page::Inodes(page) => {
            for (number, inode) in (page.first..).zip(&page.inodes) {
                if inode.kind().is_some() {
                    writer.go_to(number);
                    writer.inode(inode.clone(), page.target_of(inode), page.xattrs(inode));
                }
            }
        }
        Page::Entries(page) => {
            for entry in &page.entries {
                writer.entry(entry.folder, page.name(entry), entry.inode, entry.kind);
            }
        }
        Page::Extents(page) => page.extents.iter().for_each(|extent| writer.extent(*extent)),
        Page::Dictionary(_) => {}
    }
}

//! The order in which files are packed. What lies side by side is compressed together, so what
//! is alike should; but a walk over the archive should also find its data in order.
//!
//! Only the regular files of a catalog are ordered; inodes and names have an order of their own.

mod family;
mod name;

use family::Families;

use super::catalog::{Catalog, ROOT};
use crate::format::Kind;

/// Within so many bytes of files, an order other than that of paths leaves the walk as it is.
const WINDOW: u64 = 32 << 20;

/// In which order files are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By their paths.
    Path,
    /// Versions of a file side by side, folder by folder.
    Versions,
    /// As versions; and within a few packs, files of a kind side by side.
    Similarity,
}

/// The regular files of a catalog in the order in which they are packed, and whether most of their
/// bytes are versions of one another.
///
/// Unless an order is `wanted`, the tree decides: versions come side by side where there are some.
pub fn order(catalog: &Catalog, wanted: Option<Order>) -> (Vec<u32>, bool) {
    if wanted == Some(Order::Path) {
        return (catalog.regular(), false);
    }
    let mut walk = Walk::new(catalog);
    walk.run();
    let size = |at: &u32| catalog.files[*at as usize].size;
    let bytes: u64 = walk.files.iter().map(size).sum();
    let mostly = walk.versions > bytes / 2;
    match wanted {
        None if walk.versions == 0 => (catalog.regular(), false),
        Some(Order::Similarity) => {
            by_kind(catalog, &mut walk.files);
            (walk.files, mostly)
        }
        _ => (walk.files, mostly),
    }
}

/// A walk that takes a family of folders as one.
struct Walk<'a> {
    catalog: &'a Catalog,
    families: Families<'a>,
    /// The files come to, in order.
    files: Vec<u32>,
    /// Bytes of those in a family of folders.
    versions: u64,
}

impl<'a> Walk<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        let families = Families::new(catalog);
        Self { catalog, families, files: Vec::new(), versions: 0 }
    }

    fn run(&mut self) {
        let mut todo = vec![vec![ROOT]];
        while let Some(folders) = todo.pop() {
            self.files(&folders);
            todo.extend(self.families.below(&folders).into_iter().rev());
        }
    }

    /// Adds the files in folders that are taken as one.
    fn files(&mut self, folders: &[u32]) {
        let catalog = self.catalog;
        let name = |at: u32| &catalog.names[at as usize];
        let mut files: Vec<(u32, u32)> = Vec::new();
        for (member, folder) in (0..).zip(folders) {
            let names = self.families.names(*folder).iter().copied();
            // By the first of its names alone.
            let names = names.filter(|at| {
                let file = &catalog.files[name(*at).file as usize];
                file.kind() == Some(Kind::File) && file.first_name == *at
            });
            files.extend(names.map(|at| (member, at)));
        }
        let size = |at: &u32| catalog.files[*at as usize].size;
        let by_shape = |a: &(u32, u32), b: &(u32, u32)| {
            let names = name::compare(&name(a.1).name, &name(b.1).name);
            names.then_with(|| a.0.cmp(&b.0))
        };
        if folders.len() > 1 {
            files.sort_unstable_by(by_shape);
        } else {
            files.sort_unstable_by(|a, b| name(a.1).name.cmp(&name(b.1).name));
            for window in windows(&mut files, |at| size(&name(at.1).file)) {
                window.sort_unstable_by(by_shape);
            }
        }
        self.files.extend(files.iter().map(|(_, at)| name(*at).file));
        if folders.len() > 1 {
            self.versions += files.iter().map(|(_, at)| size(&name(*at).file)).sum::<u64>();
        }
    }
}

/// Puts files of a kind side by side, a window at a time.
fn by_kind(catalog: &Catalog, files: &mut [u32]) {
    let kind = |at: &u32| {
        let name = &catalog.names[catalog.files[*at as usize].first_name as usize].name;
        let dot = name.iter().rposition(|byte| *byte == b'.');
        dot.map_or(&name[..], |dot| &name[dot..])
    };
    for window in windows(files, |at| catalog.files[*at as usize].size) {
        window.sort_by(|a, b| kind(a).cmp(kind(b)));
    }
}

/// Splits a list into stretches of [`WINDOW`] bytes.
fn windows<T>(list: &mut [T], size: impl Fn(&T) -> u64) -> impl Iterator<Item = &mut [T]> {
    let mut filled = 0u64;
    list.chunk_by_mut(move |a, _| {
        filled = filled.saturating_add(size(a));
        let goes_on = filled < WINDOW;
        filled = if goes_on { filled } else { 0 };
        goes_on
    })
}

#[cfg(test)]
mod tests;

//! In which order blocks are packed anew: as they were read in a trace, then file by file.

use std::collections::HashSet;
use std::path::Path;

use super::super::Error;
use super::super::kept::Roots;
use super::super::marks::{Marks, open_trees};
use super::RebuildOptions;
use super::places::{Block, Coming};
use crate::format::Kind;
use crate::index::{Index, Origin};
use crate::ingest::{self, Catalog, File, Order};
use crate::storage::StorageError;
use crate::store::Store;
use crate::tree::{ROOT, Tree};

/// Longest trace that is taken, in bytes.
const MAX_TRACE: u64 = 256 << 20;

/// In which order a mount's files were read: inode, offset and length of each read.
#[derive(Debug, Clone)]
pub struct Trace(Vec<(u64, u64, u64)>);

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// It is none.
    #[error("is not an access trace of packfs (see packfs mount --trace)")]
    NotTrace,
    /// Line so-and-so means nothing.
    #[error("line {0} is not an inode, an offset and a length")]
    Line(usize),
}

impl Trace {
    /// Reads the trace in a file. Its last line may be cut off.
    ///
    /// # Errors
    /// If it cannot be read, or is no trace.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        if std::fs::metadata(path)?.len() > MAX_TRACE {
            return Err(TraceError::NotTrace);
        }
        Self::parse(&std::fs::read(path)?)
    }

    /// Makes sense of a trace. Layout: `format-spec.md`, "Access trace".
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, TraceError> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        if !first.starts_with(b"packfs-trace 1 ") {
            return Err(TraceError::NotTrace);
        }
        let mut reads = Vec::new();
        for (at, line) in lines.enumerate() {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            let line = std::str::from_utf8(line).map_err(|_| TraceError::Line(at + 2))?;
            let words: Vec<u64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
            match (words.as_slice(), line.split(' ').count()) {
                ([inode, offset, length], 3) => reads.push((*inode, *offset, *length)),
                _ => return Err(TraceError::Line(at + 2)),
            }
        }
        Ok(Self(reads))
    }
}

/// The blocks to be moved, each once.
pub struct Sequence {
    /// Those that a trace tells, as it does.
    traced: Vec<Vec<Coming>>,
    /// Those of each file that are of no file before.
    files: Vec<Vec<Coming>>,
    versions: bool,
}

impl Sequence {
    /// Of all blocks that are `moving`.
    ///
    /// # Errors
    /// If a tree cannot be read.
    pub fn of(store: &Store, chosen: &Marks, options: &RebuildOptions) -> Result<Self, Error> {
        let mut moving = chosen.clone();
        let mut picker = Picker { index: store.index(), chosen, moving: &mut moving };
        let tree = store.tree();
        let mut traced = Vec::new();
        for (inode, offset, length) in options.trace.iter().flat_map(|trace| &trace.0) {
            traced.extend(picker.pick(tree, *inode, *offset, offset.saturating_add(*length))?);
        }
        let (mut files, versions) = picker.walk(tree, options.packing.order)?;
        for other in others(store)? {
            files.extend(picker.walk(&other, options.packing.order)?.0);
        }
        Ok(Self { traced: if traced.is_empty() { vec![] } else { vec![traced] }, files, versions })
    }

    /// How many files there are.
    pub fn files(&self) -> u64 {
        (self.traced.len() + self.files.len()) as u64
    }

    /// What is packed by itself, one after another: files, whether they are mostly versions of one
    /// another, and whether blocks may be put in another order, next to those they are like.
    pub fn parts(&self) -> impl Iterator<Item = (&[Vec<Coming>], bool, bool)> {
        let parts = [(&self.traced[..], false, false), (&self.files[..], self.versions, true)];
        parts.into_iter().filter(|(files, ..)| !files.is_empty())
    }
}

/// The trees of snapshots, the newest first, without that of the store itself.
fn others(store: &Store) -> Result<Vec<Tree>, Error> {
    let mut roots = Roots::read(store.storage())?.kept;
    roots.sort_by_key(|kept| std::cmp::Reverse(kept.root.number));
    let shown = store.root().1.tree;
    let others = roots.iter().map(|kept| &kept.root).filter(|root| root.tree != shown);
    open_trees(&store.shared_storage(), others)
}

struct Picker<'a> {
    index: &'a Index,
    /// All that are moved.
    chosen: &'a Marks,
    /// Those that did not come yet.
    moving: &'a mut Marks,
}

impl Picker<'_> {
    /// The blocks of a file, by its inode, that are moved, between two offsets; none if they all
    /// came before.
    fn pick(&mut self, tree: &Tree, inode: u64, from: u64, to: u64) -> Result<Vec<Coming>, Error> {
        let (mut blocks, mut any) = (Vec::new(), false);
        let size = tree.inode(inode, |_, inode| (inode.kind(), inode.size))?;
        let Some((Some(Kind::File), size)) = size else { return Ok(blocks) };
        let (index, chosen, moving) = (self.index, self.chosen, &mut *self.moving);
        tree.extents::<StorageError>(inode, size, from, |extent| {
            let origin = (extent.origin as usize).checked_sub(1);
            if let Some(origin) = origin.and_then(|slot| tree.footer().origins.get(slot)) {
                let origin: Origin = index.origin(origin);
                let mut at = extent.offset;
                index.stretches(&origin, extent.first, extent.count, |segment, local, count| {
                    for local in local..local + count {
                        let length = index.segments()[segment as usize].length(local as usize);
                        let end = at.saturating_add(length.into());
                        if end > from && at < to {
                            let first = moving.take(segment, local);
                            if first || chosen.has(segment, local) {
                                blocks.push((Block { segment, local }, first));
                            }
                            any |= first;
                        }
                        at = end;
                    }
                });
            }
            Ok(extent.end() < to)
        })?;
        Ok(if any { blocks } else { Vec::new() })
    }

    /// The blocks of all files of a tree that are still to be moved; whether most of it is versions
    /// of the same.
    fn walk(
        &mut self,
        tree: &Tree,
        wanted: Option<Order>,
    ) -> Result<(Vec<Vec<Coming>>, bool), Error> {
        let (catalog, inodes) = catalog(tree)?;
        let (order, versions) = ingest::order(&catalog, wanted);
        let mut files = Vec::new();
        for at in order {
            let blocks = self.pick(tree, inodes[at as usize], 0, u64::MAX)?;
            if !blocks.is_empty() {
                files.push(blocks);
            }
        }
        Ok((files, versions))
    }
}

/// The names of a tree as a source has them, and the inode of each of its files.
fn catalog(tree: &Tree) -> Result<(Catalog, Vec<u64>), Error> {
    let mut catalog = Catalog::default();
    let mut inodes = vec![ROOT];
    catalog.files.push(File::implied());
    let mut places = std::collections::HashMap::from([(ROOT, 0)]);
    let mut entered = HashSet::from([ROOT]);
    let mut todo = vec![ROOT];
    while let Some(folder) = todo.pop() {
        let (around, before) = (places[&folder], todo.len());
        let mut children = Vec::new();
        tree.list(folder, 0, |name, found, _| {
            children.push((Box::from(name), found));
            true
        })?;
        for (name, found) in children {
            if let Some(known) = places.get(&found.inode) {
                // Entries of a forged tree may lead back to a folder, where they would go on for
                // ever.
                if catalog.files[*known as usize].kind() != Some(Kind::Folder) {
                    catalog.link(around, &name, *known);
                }
                continue;
            }
            let row = tree.inode(found.inode, |_, inode| (inode.mode, inode.size))?;
            let Some((mode, size)) = row else { continue };
            let at = catalog.add(around, name, File { mode, size, ..File::default() });
            places.insert(found.inode, at);
            inodes.push(found.inode);
            if found.kind == Kind::Folder && entered.insert(found.inode) {
                todo.push(found.inode);
            }
        }
        todo[before..].reverse();
    }
    Ok((catalog, inodes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Inode;
    use crate::storage::{MemoryStorage, Storage};
    use crate::tree::TreeWriter;
    use std::sync::Arc;

    #[test]
    fn folders_that_lead_back_are_walked_once() {
        let mut writer = TreeWriter::new(1);
        let folder = Inode { mode: 0o40_755, ..Inode::default() };
        let file = Inode { mode: 0o100_644, size: 0, ..Inode::default() };
        for inode in [&folder, &folder, &file] {
            writer.inode(inode.clone(), b"", &[]);
        }
        writer.entry(ROOT, b"down", 2, Kind::Folder);
        writer.entry(ROOT, b"file", 3, Kind::File);
        writer.entry(2, b"file", 3, Kind::File);
        writer.entry(2, b"self", 2, Kind::Folder);
        writer.entry(2, b"up", ROOT, Kind::Folder);
        let (bytes, object) = writer.finish(vec![], 1);
        let storage = Arc::new(MemoryStorage::default());
        storage.put(&crate::tree::key(&object.id), &bytes).unwrap();
        let (catalog, inodes) = catalog(&Tree::open(storage, &object).unwrap()).unwrap();
        assert_eq!(inodes, [ROOT, 2, 3]);
        assert_eq!(catalog.names.len(), 3, "file has two names, and nothing leads back");
        for order in [None, Some(Order::Versions)] {
            assert_eq!(ingest::order(&catalog, order).0, [2]);
        }
    }
}

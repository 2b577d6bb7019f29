//! The tree of a commit: that of the root below, with the changes of a layer.

use std::collections::HashMap;

use super::commit::CommitError;
use super::layer::{Layer, Node};
use crate::format::{Id, Inode, Totals};
use crate::fs::ArchiveFs;
use crate::ingest::{self, CreateError, Planted, Stretch};
use crate::tree::{Row, Tree, TreeEdit};

/// Level that tree pages are compressed at: a commit writes few, and often.
const TREE_LEVEL: i32 = 12;

/// A file that the tree does not have yet: its number, inode and data.
type New = (u64, Row, Vec<Stretch>);

/// Writes the tree that has the changes of a layer; `None` if it would be the one that there is.
/// `data` says of the files whose data has changed where it lies.
pub fn plant(
    layer: &Layer,
    base: &ArchiveFs,
    data: HashMap<u64, Vec<Stretch>>,
    origins: Vec<Id>,
    threads: usize,
) -> Result<Option<Planted>, CommitError> {
    let (tree, mut totals) = (base.store().tree(), base.store().root().1.totals);
    let mut edit = TreeEdit::new(tree);
    let new = change_inodes(layer, tree, data, &mut edit, &mut totals)?;
    change_names(layer, tree, &mut edit, &mut totals)?;
    if edit.is_empty() && new.is_empty() {
        return Ok(None);
    }
    let mut writer = edit.writer(TREE_LEVEL)?;
    for (ino, (inode, target, xattrs), stretches) in new {
        if ino < writer.next_inode() {
            let path = base.path_of(ino);
            return Err(CreateError::Inconsistent(crate::monitor::show(&path)).into());
        }
        writer.go_to(ino);
        writer.inode(inode, &target, &xattrs);
        ingest::extents(ino, &stretches).for_each(|extent| writer.extent(extent));
        for (name, to) in layer.names.get(&ino).into_iter().flatten() {
            to.iter().for_each(|to| writer.entry(ino, name, to.inode, to.kind));
        }
    }
    let (bytes, object) = writer.finish(origins, threads);
    Ok(Some(Planted { bytes, object, totals }))
}

/// Enters the inodes that the tree has; returns those that it has not, in order.
fn change_inodes(
    layer: &Layer,
    tree: &Tree,
    mut data: HashMap<u64, Vec<Stretch>>,
    edit: &mut TreeEdit<'_>,
    totals: &mut Totals,
) -> Result<Vec<New>, CommitError> {
    let mut new = Vec::new();
    for (ino, node) in layer.sorted() {
        let stretches = data.remove(&ino);
        let kept = node.is_there() && node.inode.nlink > 0;
        let old = tree.row(ino)?;
        old.iter().for_each(|(old, ..)| totals.uncount(old));
        if !kept {
            old.iter().for_each(|_| edit.remove_inode(ino));
            continue;
        }
        totals.count(&node.inode);
        let holes = old.as_ref().map_or(0, |(old, ..)| old.holes);
        let row = row(node, stretches.as_deref(), holes);
        match (old, stretches) {
            (None, stretches) => new.push((ino, row, stretches.unwrap_or_default())),
            (Some(_), Some(stretches)) => {
                edit.set_extents(ino, ingest::extents(ino, &stretches).collect());
                edit.set_inode(ino, row);
            }
            (Some(old), None) if row != old => edit.set_inode(ino, row),
            (Some(_), None) => {}
        }
    }
    Ok(new)
}

/// Enters the names of folders that the tree has.
fn change_names(
    layer: &Layer,
    tree: &Tree,
    edit: &mut TreeEdit<'_>,
    totals: &mut Totals,
) -> Result<(), CommitError> {
    for (folder, names) in &layer.names {
        let there = tree.row(*folder)?.is_some();
        for (name, to) in names {
            let old = if there { tree.lookup(*folder, name)? } else { None };
            totals.entries = totals.entries.saturating_add(u64::from(to.is_some()));
            totals.entries = totals.entries.saturating_sub(u64::from(old.is_some()));
            if there && old != *to {
                edit.set_entry(*folder, name, *to);
            }
        }
    }
    Ok(())
}

/// All that the inode of a file has in a tree; it had so many bytes of `holes`.
fn row(node: &Node, stretches: Option<&[Stretch]>, holes: u64) -> Row {
    let in_all = |stretches: &[Stretch]| {
        let holes = stretches.iter().filter(|stretch| stretch.count == 0);
        holes.map(|hole| hole.bytes).sum()
    };
    let holes = stretches.map_or(holes, in_all);
    let inode = Inode { holes, xattrs: 0, target_at: 0, ..node.inode.clone() };
    (inode, node.target.clone(), node.xattrs.clone())
}

//! Walks all paths of a root as a reader would, and goes on where that fails.

use std::collections::HashSet;
use std::vec::IntoIter;

use crate::format::{Inode, Kind};
use crate::index::{Index, Missing, Origin, Piece, Run};
use crate::storage::StorageError;
use crate::tree::{ROOT, Tree};

/// What is found at a path.
#[derive(Debug)]
pub enum Seen<'a> {
    /// What the path leads to.
    Inode(&'a Inode),
    /// There is no such inode, or its page (by its place in its table) cannot be read: neither the
    /// path nor any below it leads anywhere.
    Nothing(Option<(usize, StorageError)>),
    /// A folder that was come to before: its entries do not make a tree.
    Again,
    /// The names from this one on, up to that one, lie in a page that cannot be read.
    Unlisted {
        /// The first.
        from: &'a [u8],
        /// The first that can be looked up again.
        to: Option<&'a [u8]>,
        /// The page, by its place in its table.
        page: usize,
        /// Why it cannot be read.
        error: StorageError,
    },
    /// Data from this byte of the file on.
    Piece(u64, Piece),
    /// The index does not have what these bytes are to be, or no extent says it.
    Missing(u64, u64),
    /// The extents of these bytes lie in a page that cannot be read.
    Unread(u64, u64, usize, StorageError),
}

/// What is called with each path, its inode's number, and what is there.
pub type Each<'a, E> = dyn FnMut(&[u8], u64, Seen<'_>) -> Result<(), E> + 'a;

/// A name in a folder, and its inode.
type Child = (Vec<u8>, u64);

/// Walks a tree from its root folder on, which is the empty path, in the order of names.
///
/// # Errors
/// What `each` returns.
pub fn walk<E>(tree: &Tree, index: &Index, each: &mut Each<'_, E>) -> Result<(), E> {
    let origins = tree.footer().origins.iter().map(|origin| index.origin(origin)).collect();
    let mut walk = Walk { tree, index, origins, each, path: Vec::new(), entered: HashSet::new() };
    let mut levels: Vec<(usize, IntoIter<Child>)> = walk.visit(ROOT)?.into_iter().collect();
    while let Some((length, children)) = levels.last_mut() {
        walk.path.truncate(*length);
        let Some((name, inode)) = children.next() else {
            levels.pop();
            continue;
        };
        if *length > 0 {
            walk.path.push(b'/');
        }
        walk.path.extend(name);
        levels.extend(walk.visit(inode)?);
    }
    Ok(())
}

struct Walk<'a, 'e, E> {
    tree: &'a Tree,
    index: &'a Index,
    origins: Vec<Origin>,
    each: &'a mut Each<'e, E>,
    path: Vec<u8>,
    entered: HashSet<u64>,
}

impl<E> Walk<'_, '_, E> {
    fn tell(&mut self, inode: u64, seen: Seen<'_>) -> Result<(), E> {
        (self.each)(&self.path, inode, seen)
    }

    /// Looks at what the path leads to; if that is a folder, enters it.
    fn visit(&mut self, number: u64) -> Result<Option<(usize, IntoIter<Child>)>, E> {
        let inode = match self.tree.inode(number, |_, inode| inode.clone()) {
            Ok(inode) => inode,
            Err(error) => {
                let page = self.tree.inode_page(number).unwrap_or_default();
                return self.tell(number, Seen::Nothing(Some((page, error)))).map(|()| None);
            }
        };
        let Some((inode, kind)) = inode.and_then(|it| it.kind().map(|kind| (it, kind))) else {
            return self.tell(number, Seen::Nothing(None)).map(|()| None);
        };
        if kind == Kind::Folder && !self.entered.insert(number) {
            return self.tell(number, Seen::Again).map(|()| None);
        }
        self.tell(number, Seen::Inode(&inode))?;
        match kind {
            Kind::File => self.data(number, inode.size).map(|()| None),
            Kind::Folder => self.enter(number).map(Some),
            _ => Ok(None),
        }
    }

    fn enter(&mut self, folder: u64) -> Result<(usize, IntoIter<Child>), E> {
        let (mut children, mut told) = (Vec::new(), Ok(()));
        let (each, path) = (&mut self.each, &self.path);
        self.tree.list_around(
            folder,
            |name, found| children.push((name.to_vec(), found.inode)),
            |gap| {
                let (from, to, page, error) = (gap.from, gap.to, gap.page, gap.error);
                if told.is_ok() {
                    told = each(path, folder, Seen::Unlisted { from, to, page, error });
                }
            },
        );
        told.map(|()| (self.path.len(), children.into_iter()))
    }

    fn data(&mut self, file: u64, size: u64) -> Result<(), E> {
        let (mut extents, mut gaps) = (Vec::new(), Vec::new());
        self.tree.extents_around(
            file,
            size,
            |extent| extents.push(*extent),
            |from, to, why| gaps.push((from, to, why)),
        );
        for (from, to, why) in gaps {
            self.tell(
                file,
                match why {
                    Some((page, error)) => Seen::Unread(from, to, page, error),
                    None => Seen::Missing(from, to),
                },
            )?;
        }
        for extent in extents.iter().filter(|extent| extent.origin != 0) {
            let end = extent.end().min(size);
            let run = Run { first: extent.first, count: extent.count, bytes: extent.bytes };
            let slot = (extent.origin as usize).checked_sub(1);
            let origin = slot.and_then(|slot| self.origins.get(slot));
            let (mut at, mut pieces) = (extent.offset, Vec::new());
            let found = origin.ok_or(Missing).and_then(|origin| {
                self.index.pieces(origin, run, 0, extent.bytes, |piece| {
                    pieces.push(piece);
                    Ok(())
                })
            });
            if found.is_err() {
                // A reader takes all blocks of a run, or none.
                self.tell(file, Seen::Missing(extent.offset, end))?;
                continue;
            }
            for piece in pieces {
                if at < end {
                    self.tell(file, Seen::Piece(at, piece))?;
                }
                at = at.saturating_add(piece.length.into());
            }
        }
        Ok(())
    }
}

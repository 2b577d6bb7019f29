//! The walk over two trees at once.

use std::collections::{HashMap, HashSet};
use std::vec::IntoIter;

use super::{Change, Each, Field, content};
use crate::format::Kind;
use crate::fs::{ArchiveFs, Attr, FsError};
use crate::tree::{ROOT, Tree};

/// The old and the new side of something.
pub(super) type Pair<T> = [T; 2];

/// A name in a folder, and its inode on the sides that have it.
struct Child {
    name: Vec<u8>,
    inodes: Pair<Option<u64>>,
}

/// A folder on the way down to where the walk is.
struct Level {
    /// Length of its path.
    path_len: usize,
    /// What is still to be looked at in it.
    children: IntoIter<Child>,
}

/// The state of one comparison.
pub(super) struct Walk<'a, E> {
    sides: Pair<&'a ArchiveFs>,
    each: &'a mut Each<'a, E>,
    /// Path of what is being compared.
    path: Vec<u8>,
    /// Folders that were entered: one that comes twice, as only a forged tree has it, is not again.
    entered: Pair<HashSet<u64>>,
    /// The first path, of those that both sides have, of each inode of several names.
    links: Pair<HashMap<u64, Vec<u8>>>,
    /// Whether content differs, by the inodes of files of several names.
    contents: HashMap<Pair<u64>, bool>,
}

impl<'a, E> Walk<'a, E> {
    pub(super) fn new(sides: Pair<&'a ArchiveFs>, each: &'a mut Each<'a, E>) -> Self {
        let (path, entered, links, contents) = Default::default();
        Self { sides, each, path, entered, links, contents }
    }

    pub(super) fn run(mut self) -> Result<(), E> {
        let mut levels: Vec<Level> = self.visit([Some(ROOT); 2])?.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.path_len);
            let Some(child) = level.children.next() else {
                levels.pop();
                continue;
            };
            if level.path_len > 0 {
                self.path.push(b'/');
            }
            self.path.extend(&child.name);
            levels.extend(self.visit(child.inodes)?);
        }
        Ok(())
    }

    fn tell(&mut self, change: Change) -> Result<(), E> {
        (self.each)(&self.path, change)
    }

    /// Compares what one path leads to; if that is a folder on a side, enters it.
    fn visit(&mut self, inodes: Pair<Option<u64>>) -> Result<Option<Level>, E> {
        let shared = self.share(inodes, Tree::shares_inode);
        let attrs = match self.attrs(inodes, shared) {
            Ok(attrs) => attrs,
            Err(error) => return self.tell(Change::Unreadable(error)).map(|()| None),
        };
        match attrs {
            [Some(old), Some(new)] if old.kind == new.kind => self.compare(&old, &new, shared)?,
            [old, new] => {
                old.map_or(Ok(()), |old| self.tell(Change::Removed(old.kind)))?;
                new.map_or(Ok(()), |new| self.tell(Change::Added(new.kind)))?;
            }
        }
        let folder = |attr: Attr| (attr.kind == Kind::Folder).then_some(attr.ino);
        match attrs.map(|attr| attr.and_then(folder)) {
            [None, None] => Ok(None),
            folders => self.enter(folders).map(Some),
        }
    }

    /// Whether both sides are the same inode, and the trees share what `tell` tells of it.
    fn share(&self, inodes: Pair<Option<u64>>, tell: fn(&Tree, &Tree, u64) -> bool) -> bool {
        let [old, new] = self.sides.map(|side| side.store().tree());
        match inodes {
            [Some(inode), Some(other)] => inode == other && tell(old, new, inode),
            _ => false,
        }
    }

    fn attrs(
        &self,
        inodes: Pair<Option<u64>>,
        shared: bool,
    ) -> Result<Pair<Option<Attr>>, FsError> {
        let attr = |side: usize| inodes[side].map(|inode| self.sides[side].attr(inode)).transpose();
        let old = attr(0)?;
        Ok([old, if shared { old } else { attr(1)? }])
    }

    /// Compares two inodes of the same kind.
    fn compare(&mut self, old: &Attr, new: &Attr, shared: bool) -> Result<(), E> {
        let fields = if shared { Ok(Vec::new()) } else { self.fields(old, new) };
        let (mut fields, content) = match fields {
            Ok(fields) => (fields, self.content_differs(old, new)),
            Err(error) => return self.tell(Change::Unreadable(error)),
        };
        if matches!(content, Ok(true)) {
            fields.insert(0, Field::Content);
        }
        if self.links_differ(old, new) {
            fields.push(Field::Links);
        }
        if !fields.is_empty() {
            self.tell(Change::Modified(old.kind, fields))?;
        }
        content.map_or_else(|error| self.tell(Change::Unreadable(error)), |_| Ok(()))
    }

    /// What differs of two inodes by themselves.
    fn fields(&self, old: &Attr, new: &Attr) -> Result<Vec<Field>, FsError> {
        let [before, after] = self.sides;
        let kind = old.kind;
        let is_device = matches!(kind, Kind::Char | Kind::Block);
        let mut fields = Vec::new();
        let mut note = |field, differs: bool| fields.extend(differs.then_some(field));
        // What it is of a folder and of a symlink, entries and target tell better.
        note(Field::Size, kind == Kind::File && old.size != new.size);
        note(Field::Mode, old.mode != new.mode);
        note(Field::Owner, (old.uid, old.gid) != (new.uid, new.gid));
        note(Field::Mtime, old.mtime != new.mtime);
        if kind == Kind::Symlink {
            note(Field::Target, before.target(old.ino)? != after.target(new.ino)?);
        }
        if before.has_xattrs() || after.has_xattrs() {
            note(Field::Xattrs, before.xattrs(old.ino)? != after.xattrs(new.ino)?);
        }
        note(Field::Device, is_device && old.rdev != new.rdev);
        Ok(fields)
    }

    fn content_differs(&mut self, old: &Attr, new: &Attr) -> Result<bool, FsError> {
        if old.kind != Kind::File || old.size != new.size {
            return Ok(old.kind == Kind::File);
        }
        let inodes = [old.ino, new.ino];
        if let Some(known) = self.contents.get(&inodes) {
            return Ok(*known);
        }
        let differs = content::differs(self.sides, inodes, old.size)?;
        if old.nlink > 1 {
            self.contents.insert(inodes, differs);
        }
        Ok(differs)
    }

    /// Whether this name shares its inode with another one of the names before on one side only.
    fn links_differ(&mut self, old: &Attr, new: &Attr) -> bool {
        if old.kind == Kind::Folder || (old.nlink <= 1 && new.nlink <= 1) {
            return false;
        }
        let path = &self.path;
        let [first, second] = &mut self.links;
        let other = |links: &mut HashMap<u64, Vec<u8>>, attr: &Attr| {
            let first = (attr.nlink > 1).then(|| links.entry(attr.ino).or_insert(path.clone()));
            first.filter(|first| *first != path).map(|first| first.clone())
        };
        other(first, old) != other(second, new)
    }

    /// Lists a folder, which one side may not have.
    fn enter(&mut self, folders: Pair<Option<u64>>) -> Result<Level, E> {
        let [old, new] = &mut self.entered;
        let folders = [
            folders[0].filter(|inode| old.insert(*inode)),
            folders[1].filter(|inode| new.insert(*inode)),
        ];
        let children = match self.children(folders) {
            Ok(children) => children,
            Err(error) => {
                self.tell(Change::Unreadable(error))?;
                Vec::new()
            }
        };
        Ok(Level { path_len: self.path.len(), children: children.into_iter() })
    }

    /// The names that a folder has on either side, in order.
    fn children(&self, folders: Pair<Option<u64>>) -> Result<Vec<Child>, FsError> {
        let list = |side: usize| {
            let mut names: Vec<(Vec<u8>, u64)> = Vec::new();
            let Some(folder) = folders[side] else { return Ok(names) };
            let listed = self.sides[side].list(folder, 0, &mut |listed| {
                names.push((listed.name.to_vec(), listed.ino));
                true
            });
            listed.map(|()| names)
        };
        let old = list(0)?;
        if self.share(folders, Tree::shares_folder) {
            let both = |(name, inode)| Child { name, inodes: [Some(inode); 2] };
            return Ok(old.into_iter().map(both).collect());
        }
        let (mut old, mut new) = (old.into_iter().peekable(), list(1)?.into_iter().peekable());
        let mut children = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some((old, _)), Some((new, _))) => old.cmp(new),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return Ok(children),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            let inodes = [&before, &after].map(|found| found.as_ref().map(|(_, inode)| *inode));
            let name = before.or(after).map(|(name, _)| name).unwrap_or_default();
            children.push(Child { name, inodes });
        }
    }
}

//! What changes names: make, link, unlink, rename. Each is one change of the state, after all that
//! can fail: it is in the journal whole, or not at all.

use super::acl::{ACCESS, Acl, DEFAULT};
use super::layer::Node;
use super::state::State;
use super::{LiveFs, check_name, now};
use crate::format::{Inode, Kind, MAX_TARGET, NUMBERS_END, Time, XattrSet};
use crate::fs::{Attr, FsError};
use crate::tree::Found;

/// The setgid bit: in a folder, new files get its group.
const SETGID: u32 = 0o2000;
/// Most names of a file, as ext4 has it.
const MAX_LINKS: u32 = 65_000;

/// A file to be made.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// Type and permission bits, as they were asked for.
    pub mode: u32,
    /// Permissions that whoever makes it takes away.
    pub umask: u32,
    /// Who makes it: user and group.
    pub owner: (u32, u32),
    /// Device number (Linux `dev_t`).
    pub rdev: u64,
    /// The target of a symlink; else empty.
    pub target: &'a [u8],
}

/// What a rename does with a file that has the new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It takes its place.
    Yes,
    /// It fails.
    No,
    /// It gives it the old name.
    Exchange,
}

impl State {
    /// Changes what a folder says of itself: so many more entries, so many more folders in it.
    fn grow(&mut self, folder: u64, entries: i64, folders: i32, at: Time) -> Result<(), FsError> {
        let inode = &mut self.node_mut(folder)?.inode;
        inode.size = inode.size.saturating_add_signed(entries);
        inode.nlink = inode.nlink.saturating_add_signed(folders);
        inode.mtime = at;
        touch(inode, at);
        Ok(())
    }

    /// Takes inodes up that are about to be changed, before any of them is: that can fail.
    fn take_up(&mut self, numbers: &[u64]) -> Result<(), FsError> {
        numbers.iter().try_for_each(|number| self.node_mut(*number).map(|_| ()))
    }
}

/// An inode changed at that time.
pub fn touch(inode: &mut Inode, at: Time) {
    let atime = inode.times.map_or(inode.mtime, |(atime, _)| atime);
    inode.times = Some((atime, at));
}

impl LiveFs {
    /// Makes a file, a folder, a symlink or whatever `made` says, of that name in that folder.
    ///
    /// # Errors
    /// If there is something of that name, or no such folder, or no space left.
    pub fn make(&self, folder: u64, name: &[u8], made: &Made<'_>) -> Result<Attr, FsError> {
        check_name(name)?;
        if made.target.len() > MAX_TARGET {
            return Err(FsError::TooLong);
        }
        let kind = Kind::of_mode(made.mode).ok_or(FsError::Invalid)?;
        self.room(0)?;
        self.changed(|state| {
            let around = state.folder(folder)?;
            if state.entry(folder, name)?.is_some() {
                return Err(FsError::Exists);
            }
            let xattrs = state.inode(folder, |_, _, xattrs| xattrs.clone())?;
            let number = Some(state.next).filter(|number| *number < NUMBERS_END);
            let number = number.ok_or(FsError::NoSpace)?;
            let mut node = new_node(made, kind, &around, &xattrs);
            node.inode.parent = folder;
            let attr = Attr::of(number, &node.inode).ok_or(FsError::Invalid)?;
            let folders = i32::from(kind == Kind::Folder);
            state.grow(folder, 1, folders, node.inode.mtime)?;
            state.next += 1;
            state.active.set_node(number, node);
            state.active.set_entry(folder, name, Some(Found { inode: number, kind }));
            Ok(attr)
        })
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// As [`LiveFs::make`]; if it has too many names.
    pub fn link(&self, ino: u64, folder: u64, name: &[u8]) -> Result<Attr, FsError> {
        check_name(name)?;
        self.room(0)?;
        self.changed(|state| {
            state.folder(folder)?;
            if state.entry(folder, name)?.is_some() {
                return Err(FsError::Exists);
            }
            let inode = state.inode(ino, |inode, _, _| inode.clone())?;
            let kind = inode.kind().ok_or(FsError::NoEntry)?;
            if inode.nlink == 0 {
                return Err(FsError::NoEntry);
            }
            if inode.nlink >= MAX_LINKS {
                return Err(FsError::TooManyLinks);
            }
            let at = now();
            state.take_up(&[folder, ino])?;
            state.grow(folder, 1, 0, at)?;
            let node = state.node_mut(ino)?;
            node.inode.nlink += 1;
            touch(&mut node.inode, at);
            let attr = super::attr_of(ino, node)?;
            state.active.set_entry(folder, name, Some(Found { inode: ino, kind }));
            Ok(attr)
        })
    }

    /// Takes a name away, of a folder (which must be empty) or of anything else; returns the file
    /// if that has other names.
    ///
    /// # Errors
    /// If there is none, or it is a folder or not one against what is expected, or not empty.
    pub fn unlink(
        &self,
        folder: u64,
        name: &[u8],
        is_folder: bool,
    ) -> Result<Option<u64>, FsError> {
        self.changed(|state| {
            let found = state.entry(folder, name)?.ok_or(FsError::NoEntry)?;
            match (found.kind == Kind::Folder, is_folder) {
                (true, false) => return Err(FsError::IsFolder),
                (false, true) => return Err(FsError::NotFolder),
                (true, true) if !state.is_empty(found.inode)? => return Err(FsError::NotEmpty),
                _ => {}
            }
            let at = now();
            state.take_up(&[folder, found.inode])?;
            state.grow(folder, -1, -i32::from(is_folder), at)?;
            let left = self.unname(state, found, folder, at)?;
            state.active.set_entry(folder, name, None);
            Ok(left)
        })
    }

    /// An inode loses a name in a folder; returns it if it has others.
    fn unname(
        &self,
        state: &mut State,
        found: Found,
        folder: u64,
        at: Time,
    ) -> Result<Option<u64>, FsError> {
        let inode = &mut state.node_mut(found.inode)?.inode;
        let is_folder = found.kind == Kind::Folder;
        inode.nlink = if is_folder { 0 } else { inode.nlink.saturating_sub(1) };
        touch(inode, at);
        if inode.nlink > 0 {
            self.leaving.add(found.inode, folder);
            return Ok(Some(found.inode));
        }
        // Else it goes when the kernel forgets it: it may be open.
        if !self.is_known(found.inode) {
            state.active.take_away(found.inode);
        }
        Ok(None)
    }

    /// Moves a file to another name, in the same folder or another; returns the file that had it,
    /// if that has other names.
    ///
    /// # Errors
    /// If there is no such file, or one of the new name that cannot be replaced by it.
    pub fn rename(
        &self,
        (from, name): (u64, &[u8]),
        (to, new): (u64, &[u8]),
        replace: Replace,
    ) -> Result<Option<u64>, FsError> {
        check_name(new)?;
        self.changed(|state| {
            let moved = state.entry(from, name)?.ok_or(FsError::NoEntry)?;
            state.folder(to)?;
            let there = state.entry(to, new)?;
            match (there, replace) {
                (Some(_), Replace::No) => return Err(FsError::Exists),
                (None, Replace::Exchange) => return Err(FsError::NoEntry),
                (Some(there), Replace::Exchange) => {
                    return exchange(state, (from, name, moved), (to, new, there)).map(|()| None);
                }
                // Two names of one file: both stay.
                (Some(there), _) if there.inode == moved.inode => return Ok(None),
                _ => {}
            }
            let (is_folder, at) = (moved.kind == Kind::Folder, now());
            if let Some(there) = there {
                match (is_folder, there.kind == Kind::Folder) {
                    (true, false) => return Err(FsError::NotFolder),
                    (false, true) => return Err(FsError::IsFolder),
                    (true, true) if !state.is_empty(there.inode)? => {
                        return Err(FsError::NotEmpty);
                    }
                    _ => {}
                }
            }
            state.take_up(&[from, to, moved.inode])?;
            let mut left = None;
            if let Some(there) = there {
                state.take_up(&[there.inode])?;
                left = self.unname(state, there, to, at)?;
            }
            let folders = i32::from(is_folder);
            let replaced = there.map_or(0, |there| i32::from(there.kind == Kind::Folder));
            state.grow(from, -1, -folders, at)?;
            state.grow(to, i64::from(there.is_none()), folders - replaced, at)?;
            move_in(state, moved.inode, from, to, at)?;
            state.active.set_entry(from, name, None);
            state.active.set_entry(to, new, Some(moved));
            Ok(left)
        })
    }
}

/// Two files exchange their names.
fn exchange(
    state: &mut State,
    (from, name, moved): (u64, &[u8], Found),
    (to, new, there): (u64, &[u8], Found),
) -> Result<(), FsError> {
    let at = now();
    state.take_up(&[from, to, moved.inode, there.inode])?;
    let folders = i32::from(moved.kind == Kind::Folder) - i32::from(there.kind == Kind::Folder);
    state.grow(from, 0, -folders, at)?;
    state.grow(to, 0, folders, at)?;
    move_in(state, moved.inode, from, to, at)?;
    move_in(state, there.inode, to, from, at)?;
    state.active.set_entry(from, name, Some(there));
    state.active.set_entry(to, new, Some(moved));
    Ok(())
}

/// A file has moved from one folder to another.
fn move_in(state: &mut State, ino: u64, from: u64, to: u64, at: Time) -> Result<(), FsError> {
    let inode = &mut state.node_mut(ino)?.inode;
    if inode.parent == from {
        inode.parent = to;
    }
    touch(inode, at);
    Ok(())
}

/// What a new file has, in a folder with these attributes.
fn new_node(made: &Made<'_>, kind: Kind, around: &Inode, xattrs: &XattrSet) -> Node {
    let at = now();
    let is_folder = kind == Kind::Folder;
    let default = xattrs.iter().find(|(name, _)| name == DEFAULT);
    let inherited = default.filter(|_| kind != Kind::Symlink);
    let mut own = XattrSet::new();
    let mut mode = made.mode & !made.umask;
    if let Some((_, value)) = inherited
        && let Some(mut acl) = Acl::decode(value)
    {
        // As acl(5) has it: then the umask does not count.
        mode = made.mode & !0o777 | acl.inherit(made.mode & 0o777);
        if !acl.is_plain() {
            own.push((ACCESS.to_vec(), acl.encode()));
        }
        if is_folder {
            own.push((DEFAULT.to_vec(), value.clone()));
        }
    }
    let (uid, mut gid) = made.owner;
    if around.mode & SETGID != 0 {
        gid = around.gid;
        mode |= if is_folder { SETGID } else { 0 };
    }
    let mode = if kind == Kind::Symlink { kind.mode() | 0o777 } else { mode };
    let inode = Inode {
        mode,
        nlink: if is_folder { 2 } else { 1 },
        uid,
        gid,
        size: made.target.len() as u64,
        rdev: made.rdev,
        mtime: at,
        times: Some((at, at)),
        ..Inode::default()
    };
    Node { inode, target: made.target.into(), xattrs: own, ..Node::default() }
}

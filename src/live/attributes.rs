//! Modes, owners, times, sizes, and extended attributes.

use super::acl::{ACCESS, Acl, DEFAULT};
use super::layer::Node;
use super::names::touch;
use super::{LiveFs, now};
use crate::format::{Kind, MAX_XATTR, MAX_XATTR_SET, Time, XattrSet};
use crate::fs::{Attr, FsError};

/// Most extended attributes of a file.
const MAX_ATTRIBUTES: usize = 1024;
/// setxattr(2): fail if the attribute is there.
const XATTR_CREATE: i32 = 1;
/// setxattr(2): fail if it is not.
const XATTR_REPLACE: i32 = 2;

/// What is to change of an inode.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size of a file, in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last change of the data.
    pub mtime: Option<Time>,
    /// Last change of the inode; now, if it is not given.
    pub ctime: Option<Time>,
    /// Whether a change of size takes away what the file may do more than who runs it.
    pub kill: bool,
}

/// The attribute with capabilities of a program.
const CAPABILITY: &[u8] = b"security.capability";
/// setuid, setgid, and who of the group may run it.
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_RUNS: u32 = 0o0010;

impl Node {
    /// The file has new data or another owner: it may do no more than who runs it. `bits`: also
    /// setuid and setgid go, which root's writes leave. So has it FUSE_HANDLE_KILLPRIV_V2.
    pub(super) fn kill_privileges(&mut self, bits: bool) {
        if !self.xattrs.is_empty() {
            self.xattrs.retain(|(name, _)| name != CAPABILITY);
        }
        if bits && self.is_file() {
            self.inode.mode &= !SETUID;
            if self.inode.mode & GROUP_RUNS != 0 {
                self.inode.mode &= !SETGID;
            }
        }
    }
}

impl LiveFs {
    /// Changes what an inode says of itself; returns what it says then.
    ///
    /// # Errors
    /// If there is no such inode, or it is no file that could have that size.
    pub fn change(&self, ino: u64, changes: &Changes) -> Result<Attr, FsError> {
        if changes.size.is_some_and(|size| size > i64::MAX.cast_unsigned()) {
            return Err(FsError::TooLarge);
        }
        if let Some(size) = changes.size {
            self.check_edges(ino, &[size])?;
        }
        self.changed(|state| {
            let at = now();
            if let Some(size) = changes.size {
                state.resize(ino, size, at)?;
            }
            let node = state.node_mut(ino)?;
            let owner = changes.uid.is_some() || changes.gid.is_some();
            if owner || changes.size.is_some() {
                node.kill_privileges(owner || changes.kill);
            }
            let inode = &mut node.inode;
            if let Some(mode) = changes.mode {
                inode.mode = inode.mode & !0o7777 | mode & 0o7777;
                if let Some((_, value)) = node.xattrs.iter_mut().find(|(name, _)| name == ACCESS)
                    && let Some(mut acl) = Acl::decode(value)
                {
                    acl.chmod(mode);
                    *value = acl.encode();
                }
            }
            inode.uid = changes.uid.unwrap_or(inode.uid);
            inode.gid = changes.gid.unwrap_or(inode.gid);
            inode.mtime = changes.mtime.unwrap_or(inode.mtime);
            touch(inode, changes.ctime.unwrap_or(at));
            if let (Some(atime), Some(times)) = (changes.atime, &mut inode.times) {
                times.0 = atime;
            }
            super::attr_of(ino, node)
        })
    }

    /// A file is about to be changed by somebody other than root: setuid and setgid go.
    ///
    /// # Errors
    /// If there is no such inode.
    pub fn drop_privileges(&self, ino: u64) -> Result<(), FsError> {
        if self.attr(ino)?.mode & (SETUID | SETGID) == 0 {
            return Ok(());
        }
        self.changed(|state| {
            let at = now();
            let node = state.node_mut(ino)?;
            node.kill_privileges(true);
            touch(&mut node.inode, at);
            Ok(())
        })
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// If there is no such inode, or its page is damaged.
    pub fn xattr(&self, ino: u64, name: &[u8]) -> Result<Option<Vec<u8>>, FsError> {
        self.inode(ino, |_, _, xattrs| {
            let found = xattrs.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        })
    }

    /// All extended attributes, in the order of their names.
    ///
    /// # Errors
    /// If there is no such inode, or its page is damaged.
    pub fn xattrs(&self, ino: u64) -> Result<XattrSet, FsError> {
        self.inode(ino, |_, _, xattrs| xattrs.clone())
    }

    /// Sets an extended attribute; `flags` are those of setxattr(2).
    ///
    /// # Errors
    /// If it is there or not against the flags, too large, or in a namespace that does not exist.
    pub fn set_xattr(
        &self,
        ino: u64,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> Result<(), FsError> {
        super::check_name(name)?;
        check_namespace(name)?;
        self.room(value.len() as u64)?;
        self.changed(|state| {
            let there = state.inode(ino, |_, _, xattrs| {
                let all: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
                (xattrs.iter().any(|(known, _)| known == name), all, xattrs.len())
            })?;
            let (there, all, count) = there;
            if there && flags & XATTR_CREATE != 0 {
                return Err(FsError::Exists);
            }
            if !there && flags & XATTR_REPLACE != 0 {
                return Err(FsError::NoAttribute);
            }
            let many = count >= MAX_ATTRIBUTES && !there;
            if many || value.len() > MAX_XATTR || all + name.len() + value.len() > MAX_XATTR_SET {
                return Err(FsError::NoSpace);
            }
            state.active.hold(name.len() + value.len());
            let node = state.node_mut(ino)?;
            touch(&mut node.inode, now());
            if name == ACCESS {
                // The mode says the same, as far as it can.
                let mut acl = Acl::decode(value).ok_or(FsError::Invalid)?;
                node.inode.mode = node.inode.mode & !0o777 | acl.mode();
                if acl.is_plain() {
                    node.xattrs.retain(|(known, _)| known != name);
                    return Ok(());
                }
            }
            match node.xattrs.binary_search_by(|(known, _)| known.as_slice().cmp(name)) {
                Ok(at) => node.xattrs[at].1 = value.to_vec(),
                Err(at) => node.xattrs.insert(at, (name.to_vec(), value.to_vec())),
            }
            Ok(())
        })
    }

    /// Takes an extended attribute away.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn remove_xattr(&self, ino: u64, name: &[u8]) -> Result<(), FsError> {
        self.changed(|state| {
            let has = |xattrs: &XattrSet| xattrs.iter().any(|(known, _)| known == name);
            if !state.inode(ino, |_, _, xattrs| has(xattrs))? {
                return Err(FsError::NoAttribute);
            }
            let node = state.node_mut(ino)?;
            node.xattrs.retain(|(known, _)| known != name);
            touch(&mut node.inode, now());
            Ok(())
        })
    }
}

impl super::state::State {
    /// Gives a file another size: what is cut off is gone, what is added is zeros.
    pub(super) fn resize(&mut self, ino: u64, size: u64, at: Time) -> Result<(), FsError> {
        let node = self.node_mut(ino)?;
        match node.inode.kind() {
            Some(Kind::File) => {}
            Some(Kind::Folder) => return Err(FsError::IsFolder),
            _ => return Err(FsError::Invalid),
        }
        let shorter = size < node.inode.size;
        node.inode.size = size;
        node.inode.mtime = at;
        node.inherited = node.inherited.min(size);
        if shorter {
            self.active.cut(ino, size);
        }
        Ok(())
    }
}

/// Whether an attribute of that name can be made: those that a local file system takes, xattr(7).
fn check_namespace(name: &[u8]) -> Result<(), FsError> {
    let namespaces: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    match namespaces.iter().find(|namespace| name.starts_with(namespace)) {
        Some(namespace) if namespace.len() == name.len() => Err(FsError::Invalid),
        None if name != ACCESS && name != DEFAULT => Err(FsError::Unsupported),
        _ => Ok(()),
    }
}

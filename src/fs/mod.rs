//! File operations on an archive, without FUSE. [`ArchiveFs::read`] is the read path.

mod errno;
mod error;
mod figures;
mod path;
mod read;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

pub use error::FsError;
pub use figures::figures;
pub use path::{Place, join};
pub use read::Data;

use crate::format::{Inode, InodePage, Kind, Time, XattrSet};
use crate::storage::StorageError;
use crate::store::{self, At, Store};
use crate::tree::{Found, ROOT, Row};

/// Unit of `st_blocks`, in bytes.
pub const SECTOR: u64 = 512;
/// Failures that are remembered, to be logged once.
const TOLD: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Deepest path that is followed upwards, for messages.
const MAX_DEPTH: usize = 2_000;

/// Whom all files shall belong to, where that is not who the archive says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

/// What `stat` tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// How many names it has.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Units of 512 bytes that are not holes.
    pub blocks: u64,
    /// Device number (Linux `dev_t`).
    pub rdev: u64,
    /// Last change of its data.
    pub mtime: Time,
    /// Last access; its last change where that was not kept.
    pub atime: Time,
    /// Last change of the inode; that of its data where that was not kept.
    pub ctime: Time,
}

impl Attr {
    /// What `stat` tells of an inode; `None` if there is none.
    #[must_use]
    pub fn of(ino: u64, inode: &Inode) -> Option<Self> {
        let kind = inode.kind()?;
        let (atime, ctime) = inode.times.unwrap_or((inode.mtime, inode.mtime));
        let file = kind == Kind::File;
        let kept = if file { inode.size.saturating_sub(inode.holes) } else { 0 };
        Some(Self {
            ino,
            kind,
            mode: inode.mode & 0o7777,
            nlink: inode.nlink,
            uid: inode.uid,
            gid: inode.gid,
            size: inode.size,
            blocks: kept.div_ceil(SECTOR),
            rdev: inode.rdev,
            mtime: inode.mtime,
            atime,
            ctime,
        })
    }
}

/// An entry of a folder being listed.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its inode.
    pub ino: u64,
    /// What that is.
    pub kind: Kind,
    /// The offset that goes on after it.
    pub next: u64,
}

/// What to look for in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is not in a hole.
    Data,
    /// The next byte that is in a hole, or the end of the file.
    Hole,
}

/// What `statfs` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes of all regular files.
    pub bytes: u64,
    /// How many inodes there are.
    pub inodes: u64,
}

/// An archive as a file system.
#[derive(Debug)]
pub struct ArchiveFs {
    store: Arc<Store>,
    owner: Owner,
    /// What is in the log: file and a hash of what is wrong. A program that tries again and again
    /// would fill it.
    told: Mutex<LruCache<(u64, u64), ()>>,
}

impl ArchiveFs {
    /// The files of `store`; `owner` overrides whom they belong to.
    #[must_use]
    pub fn new(store: Arc<Store>, owner: Owner) -> Self {
        Self { store, owner, told: Mutex::new(LruCache::new(TOLD)) }
    }

    /// The same of the newest root that there is now.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn newest(&self) -> Result<Self, store::Error> {
        Ok(Self::new(Arc::new(self.store.also(&At::Head)?), self.owner))
    }

    /// The archive.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn inode<T>(&self, ino: u64, with: impl FnOnce(&InodePage, &Inode) -> T) -> Result<T, FsError> {
        self.store
            .tree()
            .inode(ino, with)
            .map_err(|error| self.damaged(ino, error))?
            .ok_or(FsError::Gone)
    }

    /// Logs a damage with the path that it hurts, which the error does not know.
    fn damaged(&self, ino: u64, error: StorageError) -> FsError {
        let path = crate::monitor::show(&self.path_of(ino));
        log::error!("{path} (inode {ino}): {error}");
        FsError::Damaged(Arc::new(error.into()))
    }

    /// All that an inode has, if there is such an inode.
    ///
    /// # Errors
    /// If its page is damaged.
    pub fn row(&self, ino: u64) -> Result<Option<Row>, FsError> {
        self.store.tree().row(ino).map_err(|error| self.damaged(ino, error))
    }

    /// What a name in a folder names.
    ///
    /// # Errors
    /// If a page is damaged.
    pub fn entry(&self, folder: u64, name: &[u8]) -> Result<Option<Found>, FsError> {
        self.store.tree().lookup(folder, name).map_err(|error| self.damaged(folder, error))
    }

    fn attr_of(&self, ino: u64, inode: &Inode) -> Result<Attr, FsError> {
        let attr = Attr::of(ino, inode).ok_or(FsError::NoEntry)?;
        let (uid, gid) = (self.owner.uid.unwrap_or(attr.uid), self.owner.gid.unwrap_or(attr.gid));
        Ok(Attr { uid, gid, ..attr })
    }

    /// What a file is.
    ///
    /// # Errors
    /// If there is no such inode, or its page is damaged.
    pub fn attr(&self, ino: u64) -> Result<Attr, FsError> {
        self.inode(ino, |_, inode| self.attr_of(ino, inode))?
    }

    /// The file of that name in that folder.
    ///
    /// # Errors
    /// If a page is damaged.
    pub fn lookup(&self, folder: u64, name: &[u8]) -> Result<Option<Attr>, FsError> {
        let found = self.store.tree().lookup(folder, name);
        let found = found.map_err(|error| self.damaged(folder, error))?;
        found.map(|found| self.attr(found.inode)).transpose()
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// If it is not one, or its page is damaged.
    pub fn target(&self, ino: u64) -> Result<Vec<u8>, FsError> {
        self.inode(ino, |page, inode| match inode.kind() {
            Some(Kind::Symlink) => page.target(inode).map(<[u8]>::to_vec),
            _ => None,
        })?
        .ok_or(FsError::NotSymlink)
    }

    /// Lists a folder in the order of names, from `offset` on (0: the first), until `each`
    /// returns false. There is no `.` or `..` in it.
    ///
    /// # Errors
    /// If it is no folder, or a page is damaged.
    pub fn list(
        &self,
        folder: u64,
        offset: u64,
        each: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<(), FsError> {
        if self.attr(folder)?.kind != Kind::Folder {
            return Err(FsError::NotFolder);
        }
        let listed = self.store.tree().list(folder, offset, |name, found, next| {
            each(Listed { name, ino: found.inode, kind: found.kind, next })
        });
        listed.map_err(|error| self.damaged(folder, error))
    }

    /// As [`ArchiveFs::list`], with what each file is.
    ///
    /// # Errors
    /// As [`ArchiveFs::list`]; also if the page of a listed inode is damaged.
    pub fn list_with_attrs(
        &self,
        folder: u64,
        offset: u64,
        each: &mut dyn FnMut(Listed<'_>, &Attr) -> bool,
    ) -> Result<(), FsError> {
        let mut failure = None;
        self.list(folder, offset, &mut |listed| match self.attr(listed.ino) {
            Ok(attr) => each(listed, &attr),
            Err(error) => {
                failure = Some(error);
                false
            }
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// The folder of a file's first name; the root folder's is itself.
    ///
    /// # Errors
    /// If there is no such inode, or its page is damaged.
    pub fn parent(&self, ino: u64) -> Result<u64, FsError> {
        self.inode(ino, |_, inode| inode.parent)
    }

    /// Whether any file has extended attributes.
    #[must_use]
    pub fn has_xattrs(&self) -> bool {
        self.store.tree().footer().has_xattrs
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// If there is no such inode, or its page is damaged.
    pub fn xattr(&self, ino: u64, name: &[u8]) -> Result<Option<Vec<u8>>, FsError> {
        self.inode(ino, |page, inode| {
            let mut set = page.xattrs(inode).iter();
            set.find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
    }

    /// All extended attributes, in the order of their names.
    ///
    /// # Errors
    /// If there is no such inode, or its page is damaged.
    pub fn xattrs(&self, ino: u64) -> Result<XattrSet, FsError> {
        self.inode(ino, |page, inode| page.xattrs(inode).to_vec())
    }

    /// Whether times of access and of change of the inode were kept for a file.
    ///
    /// # Errors
    /// If there is no such inode, or its page is damaged.
    pub fn keeps_times(&self, ino: u64) -> Result<bool, FsError> {
        self.inode(ino, |_, inode| inode.times.is_some())
    }

    /// What `statfs` tells.
    #[must_use]
    pub fn statfs(&self) -> StatFs {
        let next = self.store.tree().footer().next_inode;
        StatFs { bytes: self.store.root().1.totals.bytes, inodes: next.saturating_sub(ROOT) }
    }

    /// A path of a file, for messages: as far as it can be told.
    #[must_use]
    pub fn path_of(&self, ino: u64) -> Vec<u8> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut passed = HashSet::new();
        let mut at = ino;
        while at != ROOT && names.len() < MAX_DEPTH {
            let Ok(Ok(parent)) =
                self.store.tree().inode(at, |_, inode| inode.parent).map(|parent| parent.ok_or(()))
            else {
                break;
            };
            let mut name = format!("<inode {at}>").into_bytes();
            if !passed.insert(at) {
                break;
            }
            let _ = self.store.tree().list(parent, 0, |listed, found, _| {
                if found.inode == at {
                    name = listed.to_vec();
                }
                found.inode != at
            });
            names.push(name);
            at = parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}

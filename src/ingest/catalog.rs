//! What is to be archived, in memory: names, and the inodes that they name.

use std::collections::HashMap;

use crate::format::{Kind, Time, XattrSet};

/// Place of the root folder among files and names.
pub const ROOT: u32 = 0;

/// A name in a folder.
#[derive(Debug)]
pub struct Name {
    /// The folder's place among the files.
    pub folder: u32,
    /// The bytes.
    pub name: Box<[u8]>,
    /// The file's place among the files.
    pub file: u32,
}

/// An inode to be: all that a file has but its names.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file, as far as known.
    pub size: u64,
    /// Device number.
    pub rdev: u64,
    /// Last change.
    pub mtime: Time,
    /// Last access and last change of the inode, where they are kept.
    pub times: Option<(Time, Time)>,
    /// Place among the sets of extended attributes, plus one; 0 for none.
    pub xattrs: u32,
    /// Whether fewer blocks are allocated than its size takes: it may have holes.
    pub sparse: bool,
    /// Place of its first name among the names; the root folder has none.
    pub first_name: u32,
    /// The target of a symlink; else empty.
    pub target: Box<[u8]>,
    /// Whether it is to be left out: it vanished, or could not be read.
    pub gone: bool,
    /// Whether it is a folder that the source does not have, but has files in: one that is there
    /// stays as it is.
    pub implied: bool,
    /// Where its data lies, in order.
    pub stretches: Vec<Stretch>,
}

/// Type and permission bits of folders that no source has.
const IMPLIED_MODE: u32 = 0o40_755;

impl File {
    /// A folder that the source does not have, but has files in.
    pub fn implied() -> Self {
        Self { mode: IMPLIED_MODE, implied: true, ..Self::default() }
    }

    /// Bytes that were read of it, holes included.
    pub fn bytes(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.bytes).sum()
    }

    /// What it is.
    pub fn kind(&self) -> Option<Kind> {
        Kind::of_mode(self.mode)
    }
}

/// A stretch of a file: a run of consecutive blocks, or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// How long it is, in bytes.
    pub bytes: u64,
    /// 0 for a hole, else one more than the blocks' origin among those of the tree.
    pub origin: u32,
    /// The first block's number.
    pub first: u32,
    /// How many blocks; 0 for a hole.
    pub count: u32,
}

/// All names and files of a source.
#[derive(Debug, Default)]
pub struct Catalog {
    /// The names, in any order.
    pub names: Vec<Name>,
    /// The files; the first is the root folder.
    pub files: Vec<File>,
    /// Distinct sets of extended attributes.
    pub sets: Vec<XattrSet>,
    known_sets: HashMap<XattrSet, u32>,
}

impl Catalog {
    /// Adds a file, and its first name.
    pub fn add(&mut self, folder: u32, name: Box<[u8]>, mut file: File) -> u32 {
        file.first_name = place(self.names.len());
        let at = place(self.files.len());
        self.files.push(file);
        self.names.push(Name { folder, name, file: at });
        at
    }

    /// Adds another name of a file.
    pub fn link(&mut self, folder: u32, name: &[u8], file: u32) {
        self.names.push(Name { folder, name: name.into(), file });
    }

    /// The reference to a set of extended attributes.
    pub fn set_of(&mut self, set: XattrSet) -> u32 {
        if set.is_empty() {
            return 0;
        }
        if let Some(known) = self.known_sets.get(&set) {
            return *known;
        }
        self.sets.push(set.clone());
        let at = place(self.sets.len());
        self.known_sets.insert(set, at);
        at
    }

    /// Puts all that there is below folders of these names, each of which is like `folder`.
    pub fn sink(&mut self, path: &[&[u8]], folder: &File) {
        if path.is_empty() {
            return;
        }
        let (names, mut around) = (self.names.len(), ROOT);
        for name in path {
            around = self.add(around, (*name).into(), folder.clone());
        }
        // What was on top is at the bottom now.
        self.files.swap(ROOT as usize, around as usize);
        self.files[around as usize].first_name = place(self.names.len() - 1);
        let moved = self.names[..names].iter_mut().filter(|name| name.folder == ROOT);
        moved.for_each(|name| name.folder = around);
    }

    /// The path of a file's first name below the root folder.
    pub fn path(&self, file: u32) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = file;
        while at != ROOT {
            let name = &self.names[self.files[at as usize].first_name as usize];
            names.push(&name.name);
            at = name.folder;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The regular files in the order of their paths, folder by folder: the order of packing.
    pub fn regular(&self) -> Vec<u32> {
        let files = 0..place(self.files.len());
        files.filter(|at| self.files[*at as usize].kind() == Some(Kind::File)).collect()
    }
}

/// A place in a list. Memory ends long before 32 bits do.
pub fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

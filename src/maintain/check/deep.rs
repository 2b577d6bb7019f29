//! What only a deep check looks at: that objects have the bytes that their ids tell, and that what
//! a tree says adds up.

use std::collections::{HashMap, HashSet};

use super::damage::reason;
use super::{Checker, Damage, What};
use crate::format::{Inode, Kind, Totals};
use crate::maintain::Error;
use crate::maintain::kept::{Kept, Opened};
use crate::maintain::walk::{Seen, walk};
use crate::storage::{Storage, StorageError};
use crate::tree::Tree;

/// Bytes that are read at once.
const READ: u64 = 1 << 20;
/// Names of what does not add up that are told.
const TOLD: usize = 20;

/// The id that an object should have by its bytes.
///
/// # Errors
/// If it cannot be read.
pub(in crate::maintain) fn id_of(
    storage: &dyn Storage,
    key: &str,
) -> Result<blake3::Hash, StorageError> {
    let (size, mut at) = (storage.size(key)?, 0);
    let mut hash = blake3::Hasher::new();
    while at < size {
        let length = READ.min(size - at);
        let bytes = storage.get_range(key, at, usize::try_from(length).unwrap_or(usize::MAX))?;
        hash.update(&bytes);
        at += length;
    }
    Ok(hash.finalize())
}

impl Checker<'_> {
    /// Checks the ids of all objects in which nothing was found yet.
    pub(super) fn ids(&mut self) -> Result<(), Error> {
        let known: HashSet<String> =
            self.damages.iter().map(|damage| damage.object.clone()).collect();
        let needed: Vec<_> = self.needed.iter().map(|(key, id)| (key.clone(), *id)).collect();
        for (key, id) in needed {
            self.go_on()?;
            let Some(id) = id.filter(|_| !known.contains(&key)) else { continue };
            // What a repair gave another place may be damaged where it was.
            if self.patched.contains(&id) {
                continue;
            }
            let why = match id_of(&*self.storage, &key) {
                Ok(hash) if *hash.as_bytes() == id => continue,
                Ok(_) => "its bytes are not those of its id".to_owned(),
                Err(error) => reason(&error.kind),
            };
            self.add(Damage::new(What::Object, &key, "", why));
        }
        Ok(())
    }

    /// Checks that entries make a tree, and that what inodes and the root say of it is so.
    pub(super) fn shape(&mut self, kept: &Kept) -> Result<(), Error> {
        let opened = Opened::of(&self.storage, &kept.root);
        let Ok(tree) = &opened.tree else { return Ok(()) };
        if !opened.lost.is_empty() {
            return Ok(());
        }
        let mut count = Count::default();
        walk(tree, &opened.index, &mut |path, number, seen| {
            self.go_on()?;
            count.take(path, number, &seen);
            Ok::<_, Error>(())
        })?;
        for why in count.wrong(tree, &kept.root.totals) {
            self.add(Damage::new(What::Shape, &kept.key, "tree", why));
        }
        Ok(())
    }
}

/// What was counted on a walk.
#[derive(Default)]
struct Count {
    /// Of each inode that is no folder: its names, and what it says they are; the first of them.
    links: HashMap<u64, (u32, u32)>,
    /// Of each folder: its entries, its sub-folders, and what it says of both; its path.
    folders: HashMap<u64, Folder>,
    /// The folders around the path the walk is at.
    around: Vec<(usize, u64)>,
    totals: Totals,
    /// Whether some of it could not be read: then counts mean nothing.
    gaps: bool,
    wrong: Vec<String>,
}

#[derive(Default)]
struct Folder {
    path: Vec<u8>,
    entries: u64,
    folders: u32,
    size: u64,
    nlink: u32,
}

impl Count {
    fn take(&mut self, path: &[u8], number: u64, seen: &Seen<'_>) {
        match seen {
            Seen::Inode(inode) => self.inode(path, number, inode),
            Seen::Again => self.wrong.push(format!("{}: is a folder twice", show(path))),
            Seen::Nothing(_) | Seen::Unlisted { .. } => self.gaps = true,
            Seen::Piece(..) | Seen::Missing(..) | Seen::Unread(..) => {}
        }
    }

    fn inode(&mut self, path: &[u8], number: u64, inode: &Inode) {
        self.totals.entries += 1;
        let depth = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).count();
        while self.around.last().is_some_and(|(last, _)| *last >= depth) {
            self.around.pop();
        }
        let is_folder = inode.kind() == Some(Kind::Folder);
        if let Some(folder) = self.around.last().and_then(|(_, at)| self.folders.get_mut(at)) {
            folder.entries += 1;
            folder.folders = folder.folders.saturating_add(u32::from(is_folder));
        }
        if is_folder {
            let (size, nlink, path) = (inode.size, inode.nlink, path.to_vec());
            self.folders.insert(number, Folder { path, size, nlink, ..Folder::default() });
            self.around.push((depth, number));
            return;
        }
        let first = !self.links.contains_key(&number);
        let links = self.links.entry(number).or_insert((0, inode.nlink));
        links.0 = links.0.saturating_add(1);
        if first {
            self.totals.count(inode);
        }
    }

    /// What does not add up.
    fn wrong(mut self, tree: &Tree, totals: &Totals) -> Vec<String> {
        if self.gaps {
            return self.wrong;
        }
        let mut links: Vec<_> =
            self.links.iter().filter(|(_, (names, nlink))| names != nlink).collect();
        links.sort();
        for (number, (names, nlink)) in links {
            self.wrong.push(format!("inode {number}: has {names} names, and says {nlink}"));
        }
        let mut folders: Vec<_> = self.folders.iter().collect();
        folders.sort_by_key(|(number, _)| **number);
        for (_, folder) in folders {
            let path = show(&folder.path);
            let (entries, size) = (folder.entries, folder.size);
            if entries != size {
                self.wrong.push(format!("{path}: has {entries} entries, and says {size}"));
            }
            let (links, nlink) = (folder.folders.saturating_add(2), folder.nlink);
            if links != nlink {
                self.wrong.push(format!("{path}: has {links} links, and says {nlink}"));
            }
        }
        let listed = tree.footer().entries.saturating_add(1);
        let sums = [
            ("entries", self.totals.entries, totals.entries),
            ("entries of its tree", self.totals.entries, listed),
            ("files", self.totals.files, totals.files),
            ("bytes", self.totals.bytes, totals.bytes),
        ];
        for (name, counted, said) in sums {
            if counted != said {
                self.wrong.push(format!("has {counted} {name}, and says {said}"));
            }
        }
        if self.wrong.len() > TOLD {
            let more = self.wrong.len() - TOLD;
            self.wrong.truncate(TOLD);
            self.wrong.push(format!("and {more} more like these"));
        }
        self.wrong
    }
}

fn show(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { crate::monitor::show(path) }
}

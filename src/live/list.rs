//! Folders, listed.
//!
//! A listing is taken in bites, and between two of them the folder may change, or a commit give
//! all its entries other places. So the offset that goes on after an entry depends on nothing but
//! its name: it is a hash of it, and a folder is listed in the order of these.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::LiveFs;
use super::layer::Names;
use super::state::State;
use crate::format::Kind;
use crate::fs::{ArchiveFs, Attr, FsError, Listed};
use crate::tree::Found;

/// How many listings are kept for those who are about to go on with them.
const KEPT: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// Offsets have so many bits: they must fit a signed number, and leave room for "." and "..".
const BITS: u32 = 62;

/// The entries of a folder in the order of their offsets.
#[derive(Debug)]
struct Listing(Vec<(u64, Box<[u8]>, Found)>);

/// Listings that were begun, by folder.
#[derive(Debug)]
pub struct Lists(Mutex<LruCache<u64, Arc<Listing>>>);

impl Default for Lists {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

/// The offset of an entry of that name; not 0.
fn offset_of(name: &[u8]) -> u64 {
    (xxh3_64(name) >> (u64::BITS - BITS)) + 1
}

/// Calls `each` with the entries that the root has of a folder, until it returns false.
fn frozen(
    base: &ArchiveFs,
    folder: u64,
    each: &mut dyn FnMut(Listed<'_>) -> bool,
) -> Result<(), FsError> {
    match base.list(folder, 0, each) {
        // It is newer than the root.
        Err(FsError::Gone) => Ok(()),
        listed => listed,
    }
}

impl State {
    /// What the layers say of the names in a folder: the upper ones before the lower ones.
    fn said(&self, folder: u64) -> Names {
        let mut said = Names::new();
        for layer in self.below.layers.iter().rev().map(|layer| &**layer).chain([&self.active]) {
            let names = layer.names.get(&folder).into_iter().flatten();
            said.extend(names.map(|(name, found)| (name.clone(), *found)));
        }
        said
    }

    /// Whether there is nothing in a folder.
    ///
    /// # Errors
    /// If a page is damaged.
    pub(super) fn is_empty(&self, folder: u64) -> Result<bool, FsError> {
        let said = self.said(folder);
        let mut empty = said.values().all(Option::is_none);
        if empty {
            frozen(&self.below.base, folder, &mut |listed| {
                empty = said.contains_key(listed.name);
                empty
            })?;
        }
        Ok(empty)
    }
}

impl LiveFs {
    /// The entries of a folder, for a listing that goes on at `offset` (0: that begins).
    fn listing(&self, folder: u64, offset: u64) -> Result<Arc<Listing>, FsError> {
        if offset > 0
            && let Some(known) = self.lists.0.lock().get(&folder)
        {
            return Ok(Arc::clone(known));
        }
        if self.inode(folder, |inode, _, _| inode.kind())? != Some(Kind::Folder) {
            return Err(FsError::NotFolder);
        }
        let (said, base) = {
            let state = self.state.read();
            (state.said(folder), Arc::clone(&state.below.base))
        };
        let mut entries: Vec<(u64, Box<[u8]>, Found)> = Vec::new();
        frozen(&base, folder, &mut |Listed { name, ino, kind, .. }| {
            if !said.contains_key(name) {
                entries.push((offset_of(name), name.into(), Found { inode: ino, kind }));
            }
            true
        })?;
        let new = said.into_iter().filter_map(|(name, to)| Some((offset_of(&name), name, to?)));
        entries.extend(new);
        entries.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let listing = Arc::new(Listing(entries));
        self.lists.0.lock().put(folder, Arc::clone(&listing));
        Ok(listing)
    }

    /// Lists a folder from `offset` on (0: from the start), until `each` returns false. There is no
    /// `.` or `..` in it.
    ///
    /// # Errors
    /// If it is no folder, or a page is damaged.
    pub fn list(
        &self,
        folder: u64,
        offset: u64,
        each: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<(), FsError> {
        let listing = self.listing(folder, offset)?;
        let first = listing.0.partition_point(|(at, ..)| *at <= offset);
        for (next, name, found) in &listing.0[first..] {
            let Found { inode: ino, kind } = *found;
            if !each(Listed { name, ino, kind, next: *next }) {
                return Ok(());
            }
        }
        // Who came to the end asks once more, to be told so.
        if first == listing.0.len() {
            self.lists.0.lock().pop(&folder);
        }
        Ok(())
    }

    /// As [`LiveFs::list`], with what each file is; leaves out what was removed since it began.
    ///
    /// # Errors
    /// As [`LiveFs::list`]; also if the page of a listed inode is damaged.
    pub fn list_with_attrs(
        &self,
        folder: u64,
        offset: u64,
        each: &mut dyn FnMut(Listed<'_>, &Attr) -> bool,
    ) -> Result<(), FsError> {
        let mut failure = None;
        self.list(folder, offset, &mut |listed| {
            let still = self.state.read().entry(folder, listed.name);
            match still.map(|found| found.is_some_and(|found| found.inode == listed.ino)) {
                Ok(false) => true,
                Ok(true) => match self.attr(listed.ino) {
                    Ok(attr) => each(listed, &self.told(attr, Some(folder))),
                    Err(FsError::NoEntry) => true,
                    Err(error) => {
                        failure = Some(error);
                        false
                    }
                },
                Err(error) => {
                    failure = Some(error);
                    false
                }
            }
        })?;
        failure.map_or(Ok(()), Err)
    }
}

//! Folders, listed.
//!
//! A listing is taken in bites, and between two of them the folder may change, or a commit give
//! all its entries other places. So the offset that goes on after an entry depends on nothing but
//! its name: it is a hash of it, and a folder is listed in the order of these.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::LiveFs;
use super::state::State;
use crate::fs::{Attr, FsError, Listed};
use crate::tree::Found;

/// How many listings are kept for those who are about to go on with them.
const KEPT: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// Offsets have so many bits: they must fit a signed number, and leave room for "." and "..".
const BITS: u32 = 62;

/// The entries of a folder in the order of their offsets.
#[derive(Debug, Default)]
pub struct Listing(Vec<(u64, Box<[u8]>, Found)>);

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

impl State {
    /// Calls `each` with the entries of a folder, until it returns false.
    ///
    /// # Errors
    /// If a page is damaged.
    pub(super) fn each_entry(
        &self,
        folder: u64,
        each: &mut dyn FnMut(&[u8], Found) -> bool,
    ) -> Result<(), FsError> {
        // What the upper layers say goes before what the lower ones do.
        let mut said: BTreeMap<&[u8], Option<Found>> = BTreeMap::new();
        for layer in self.below.layers.iter().rev().map(|layer| &**layer).chain([&self.active]) {
            if let Some(names) = layer.names.get(&folder) {
                said.extend(names.iter().map(|(name, found)| (&**name, *found)));
            }
        }
        for (name, found) in &said {
            if let Some(found) = found
                && !each(name, *found)
            {
                return Ok(());
            }
        }
        let base = &self.below.base;
        if base.row(folder)?.is_none() {
            return Ok(());
        }
        base.list(folder, 0, &mut |listed| {
            let found = Found { inode: listed.ino, kind: listed.kind };
            said.contains_key(listed.name) || each(listed.name, found)
        })
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
        let mut entries = Vec::new();
        {
            let state = self.state.read();
            state.folder(folder).or_else(|error| match error {
                // It was removed while somebody was in it.
                FsError::NoEntry if self.is_known(folder) => {
                    state.inode(folder, |inode, _, _| inode.clone())
                }
                error => Err(error),
            })?;
            state.each_entry(folder, &mut |name, found| {
                entries.push((offset_of(name), name.into(), found));
                true
            })?;
        }
        entries.sort_unstable_by(|a: &(u64, Box<[u8]>, _), b| (a.0, &a.1).cmp(&(b.0, &b.1)));
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
        self.lists.0.lock().pop(&folder);
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
                    Ok(attr) => each(listed, &attr),
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

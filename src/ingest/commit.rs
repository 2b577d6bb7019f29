//! Makes what was packed part of an archive, in one step.
//!
//! Order of writes: packs are there already; then index, tree, (of a new archive) settings, root.
//! Publishing the root is the commit. What a crash leaves behind is objects that nothing names.

use std::collections::HashSet;

use super::CreateError;
use super::options::CreateOptions;
use super::plant::{Ground, Planted, Planting, plant};
use super::source::Taken;
use crate::format::{Config, Id, IndexBuilder, ObjectRef, Root, Segment, Time, VERSION, hex};
use crate::storage::{Storage, StorageError};
use crate::store::{CONFIG, Store, index_key, parse_root, root_key};
use crate::tree;

/// Highest level that tree pages are compressed at: above it they shrink no more.
const TREE_LEVEL: i32 = 19;
/// The last segments become one with a new one that has at least one in so many of their blocks:
/// so there are few segments, and no block is listed anew often.
const MERGED: usize = 2;

/// A commit of which everything is written but its root.
#[derive(Debug)]
pub struct Prepared {
    /// Its root.
    pub root: Root,
    /// Bytes of the index written.
    pub index: u64,
    /// The key of the root.
    pub key: String,
    bytes: Vec<u8>,
}

impl Prepared {
    /// Publishes the root. If that fails, it may be there nevertheless: then nothing that it names
    /// may be taken back.
    ///
    /// # Errors
    /// If the root cannot be written.
    pub fn publish(&self, storage: &dyn Storage) -> Result<(), StorageError> {
        storage.put(&self.key, &self.bytes)
    }

    /// Whether the root is sure not to be there.
    pub fn is_absent(&self, storage: &dyn Storage) -> bool {
        storage.size(&self.key).is_err_and(|error| error.is_not_found())
    }
}

/// Prepares the commit of what was taken to an empty `storage`, or to a `base`, which is a store
/// and the origins that the blocks taken refer to; `None` if the base has all of it just so.
///
/// # Errors
/// If something cannot be written, or the base cannot be read.
pub fn prepare(
    taken: Taken,
    base: Option<(&Store, Vec<Id>)>,
    storage: &dyn Storage,
    options: &CreateOptions,
) -> Result<Option<Prepared>, CreateError> {
    let (store, origins) = base.unzip();
    let mut origins = origins.unwrap_or_default();
    origins.extend(taken.packed.origin);
    let now = Time { sec: options.created, nsec: 0 };
    let ground = store.map(|store| {
        let totals = store.root().1.totals;
        Ground { tree: store.tree(), totals, now }
    });
    let planting = Planting { level: TREE_LEVEL, threads: options.threads };
    let planted = plant(&taken.catalog, ground.as_ref(), origins, planting)?;
    let Some(mut planted) = planted else { return Ok(None) };
    planted.totals.unique = taken.packed.savings.unique;
    let following =
        Following { store, planted, index: taken.packed.index, created: options.created };
    let (root, index) = following.write(storage)?;
    let (key, bytes) = sealed(&root);
    if store.is_none() {
        let (_, id) = parse_root(&key).unwrap_or_default();
        storage.put(CONFIG, &config(options, &id).encode())?;
    }
    Ok(Some(Prepared { root, index, key, bytes }))
}

/// What is to become the root after that of a store.
#[derive(Debug)]
pub struct Following<'a> {
    /// The store; `None`: there is none yet.
    pub store: Option<&'a Store>,
    /// Its tree.
    pub planted: Planted,
    /// Where its new blocks lie.
    pub index: IndexBuilder,
    /// When it is made, in seconds since 1970.
    pub created: i64,
}

/// Writes all of a commit but its root: index, then tree.
///
/// # Errors
/// If something cannot be written, or what was written cannot be read.
pub fn follow(following: Following<'_>, storage: &dyn Storage) -> Result<Prepared, CreateError> {
    let (root, index) = following.write(storage)?;
    let (key, bytes) = sealed(&root);
    Ok(Prepared { root, index, key, bytes })
}

impl Following<'_> {
    fn write(self, storage: &dyn Storage) -> Result<(Root, u64), CreateError> {
        let Self { store, planted, index, created } = self;
        let Planted { bytes, object, totals } = planted;
        let (segments, index) = put_index(store, index, storage)?;
        storage.put(&tree::key(&object.id), &bytes)?;
        if let Some(store) = store {
            // What is added to may be anything: before its head is replaced, read what replaces it.
            store.with_tree(&object)?.check_own_pages()?;
        }
        let parent = store.and_then(|store| parse_root(store.root().0));
        let number = parent.map_or(Some(1), |(number, _)| number.checked_add(1));
        let number = number.ok_or_else(|| CreateError::Inconsistent(storage.name()))?;
        let parents = parent.map(|(_, id)| id).into_iter().collect();
        Ok((Root { number, created, tree: object, parents, segments, totals }, index))
    }
}

/// The key and bytes of a root.
fn sealed(root: &Root) -> (String, Vec<u8>) {
    let bytes = root.encode();
    (root_key(root.number, blake3::hash(&bytes).as_bytes()), bytes)
}

/// Writes the index of new blocks; returns all segments, and the bytes written.
fn put_index(
    store: Option<&Store>,
    index: IndexBuilder,
    storage: &dyn Storage,
) -> Result<(Vec<ObjectRef>, u64), CreateError> {
    let mut listed = store.map_or_else(Vec::new, |store| store.root().1.segments.clone());
    if index.block_count() == 0 {
        return Ok((listed, 0));
    }
    let mut new = index.finish();
    if let Some((merged, from)) = store.and_then(|store| merged(store.index().segments(), &new.0)) {
        new = merged;
        listed.truncate(from);
    }
    let (bytes, checksum) = new;
    let id = *blake3::hash(&bytes).as_bytes();
    let length = bytes.len() as u64;
    storage.put(&index_key(&id), &bytes)?;
    let new = ObjectRef { id, length, checksum };
    // The same blocks packed again, because their hashes are too short to know them by.
    if listed.last() != Some(&new) {
        listed.push(new);
    }
    Ok((listed, length))
}

/// One segment instead of the last ones, from the one at that place on, and a new one; `None` if
/// they had better stay as they are.
fn merged<B: AsRef<[u8]>>(there: &[Segment<B>], new: &[u8]) -> Option<((Vec<u8>, u64), usize)> {
    let new = Segment::open(new).ok()?;
    let (mut from, mut blocks) = (there.len(), new.block_count());
    let mut homes: HashSet<Id> = new.homes().iter().copied().collect();
    while let Some(last) = there[..from].last() {
        // Places of one origin in two segments: the newer one overrides, which one segment cannot.
        let apart = last.homes().iter().all(|home| homes.insert(*home));
        if !apart || last.block_count() > blocks * MERGED {
            break;
        }
        blocks += last.block_count();
        from -= 1;
    }
    if from == there.len() {
        return None;
    }
    let mut builder = IndexBuilder::default();
    there[from..].iter().for_each(|segment| builder.add_segment(segment));
    builder.add_segment(&new);
    let merged = (!builder.is_too_long()).then(|| builder.finish())?;
    // Not unless it checks out: the bytes of those before it may have changed below us.
    Segment::open(merged.0.as_slice()).ok()?;
    Some((merged, from))
}

fn config(options: &CreateOptions, root: &Id) -> Config {
    let derived = || hex(root).split_at(32).0.to_owned();
    Config {
        format: VERSION,
        store: options.store_id.clone().unwrap_or_else(derived),
        incompatible: Vec::new(),
        compatible: Vec::new(),
        hash: options.hash,
        hash_len: options.hash_len,
        parity: options.parity,
        cutting: options.cutting,
    }
}

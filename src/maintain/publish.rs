//! Publishes roots that have the trees of those that are kept, and other segments.
//!
//! Order of writes: roots of snapshots, each with the number that it had; the root that follows the
//! newest one, and names these among its parents, so that none of them is a head of its own; then
//! snapshots are pointed to theirs. A crash before the new head leaves roots that nothing names;
//! one after it leaves snapshots that still have their old roots, with all that these name.

use std::collections::HashMap;

use super::Error;
use super::kept::{Kept, Roots};
use crate::format::{Id, ObjectRef, Root, Snapshot, Totals};
use crate::storage::Storage;
use crate::store::{index_key, parse_root, root_key, snapshot_key};

/// Writes a segment; returns what names it.
pub fn put_segment(
    storage: &dyn Storage,
    (bytes, checksum): (Vec<u8>, u64),
) -> Result<ObjectRef, Error> {
    let id = *blake3::hash(&bytes).as_bytes();
    storage.put(&index_key(&id), &bytes)?;
    Ok(ObjectRef { id, length: bytes.len() as u64, checksum })
}

/// Writes a root; returns its id.
pub fn put_root(storage: &dyn Storage, root: &Root) -> Result<Id, Error> {
    let bytes = root.encode();
    let id = *blake3::hash(&bytes).as_bytes();
    storage.put(&root_key(root.number, &id), &bytes)?;
    Ok(id)
}

/// The root that follows another one, with all that it has but its segments; nothing was new.
pub fn following(head: &Kept, segments: Vec<ObjectRef>, created: i64) -> Result<Root, Error> {
    let after = parse_root(&head.key).and_then(|(number, id)| Some((number.checked_add(1)?, id)));
    let (number, id) = after.ok_or_else(|| Error::Refused(format!("{}: is the last", head.key)))?;
    let (parents, totals) = (vec![id], Totals { unique: 0, ..head.root.totals });
    Ok(Root { number, created, parents, segments, totals, ..head.root.clone() })
}

/// Gives roots other segments, where `segments` has some, and publishes the one that follows the
/// newest; returns its number.
pub fn reroot(
    storage: &dyn Storage,
    roots: &Roots,
    segments: impl Fn(&Kept) -> Option<Vec<ObjectRef>>,
    created: i64,
) -> Result<u64, Error> {
    let head = roots.head()?;
    let listed = segments(head).unwrap_or_else(|| head.root.segments.clone());
    let mut new = following(head, listed, created)?;
    let mut places: HashMap<&str, (u64, Id)> = HashMap::new();
    for kept in roots.kept.iter().filter(|kept| kept.key != head.key) {
        let Some(segments) = segments(kept) else { continue };
        let id = put_root(storage, &Root { segments, ..kept.root.clone() })?;
        new.parents.push(id);
        places.insert(&kept.key, (kept.root.number, id));
    }
    places.insert(&head.key, (new.number, put_root(storage, &new)?));
    for (name, snapshot) in &roots.snapshots {
        let place = places.get(root_key(snapshot.number, &snapshot.root).as_str()).copied();
        let (Some((number, root)), Some(key)) = (place, snapshot_key(name)) else { continue };
        storage.put(&key, &Snapshot { number, root, ..*snapshot }.encode())?;
    }
    Ok(new.number)
}

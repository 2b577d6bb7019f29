//! Copies what an archive shows: objects are the same bytes in a store and in an image, and each is
//! verified by its id on its way. Packs that are damaged are copied as parity makes them good.
//!
//! Order: packs, index, trees, settings, roots, snapshots. Whatever ends a copy, what is there is
//! whole, and a copy that is begun again goes on with what is missing. Parity is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Error;
use super::kept::{Opened, Roots, live_packs};
use crate::format::{Id, MAX_PACK};
use crate::monitor::{Monitor, Phase};
use crate::pack;
use crate::parity::{Healer, Set, sets};
use crate::storage::{Bytes, Storage, StorageError};
use crate::store::{CONFIG, index_key, lost_root, parse_root, read_config, root_key, snapshot_key};
use crate::tree;

/// What is to be copied.
#[derive(Debug, Default)]
pub struct Plan {
    /// Keys in the order of writing, with the lengths of the objects and the ids that they must
    /// have.
    pub objects: Vec<(String, u64, Option<Id>)>,
    /// Objects that are there already, and their bytes.
    pub there: (u64, u64),
    /// Snapshots that are there already, of another root: they stay.
    pub other: Vec<String>,
    /// What is copied: nobody collects it meanwhile.
    #[expect(dead_code, reason = "holds leases while it is copied")]
    roots: Roots,
}

impl Plan {
    /// Bytes of all objects to be copied.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|(_, length, _)| length).sum()
    }
}

/// What of `from` is to be copied to `to`, if there is something there.
///
/// # Errors
/// If something that it needs is not there or cannot be opened, or `to` is another store.
pub fn plan(from: &Arc<dyn Storage>, to: Option<&dyn Storage>) -> Result<Plan, Error> {
    let roots = Roots::read(&**from)?;
    if let Some(broken) = roots.broken.first() {
        return Err(damaged(&**from, &broken.error));
    }
    read_config(&**from)?;
    let Some(head) = roots.kept.first() else {
        return Err(Error::Refused(format!("{}: has no root", from.name())));
    };
    if let Some(lost) = lost_root(&**from, head.root.number)? {
        return Err(Error::Refused(format!("{lost}; run packfs fsck --repair first")));
    }
    let mut same = BTreeSet::new();
    if let Some(to) = to {
        may_take(&**from, to, &roots)?;
        same = same_snapshots(&roots, &Roots::read(to)?);
    }
    let mut plan = Plan { roots: roots.clone(), ..Plan::default() };
    for (key, id) in needed(from, &roots)? {
        let size = match from.size(&key) {
            Err(error) if error.is_not_found() => {
                let lost = || damaged(&**from, &format!("{}: lost", from.locate(&key)));
                protected_length(&**from, &key)?.ok_or_else(lost)?
            }
            size => size?,
        };
        let there = to.and_then(|to| to.size(&key).ok());
        let is_snapshot = id.is_none() && key != CONFIG;
        match (there, to) {
            (Some(there), Some(to)) if there == size => {
                plan.there = (plan.there.0 + 1, plan.there.1 + size);
                if key == CONFIG && all(to, &key, size)? != all(&**from, &key, size)? {
                    plan.objects.push((key, size, id));
                } else if is_snapshot && all(to, &key, size)? != all(&**from, &key, size)? {
                    match same.contains(&key) {
                        true => plan.objects.push((key, size, id)),
                        false => plan.other.push(key),
                    }
                }
            }
            (Some(_), _) if is_snapshot => plan.other.push(key),
            _ => plan.objects.push((key, size, id)),
        }
    }
    Ok(plan)
}

/// The keys of all that the roots need, in the order of writing.
///
/// # Errors
/// If something that it takes to know them is not there or cannot be opened.
pub(super) fn needed(
    from: &Arc<dyn Storage>,
    roots: &Roots,
) -> Result<Vec<(String, Option<Id>)>, Error> {
    let (mut data, mut index, mut trees) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut published = BTreeMap::new();
    for kept in &roots.kept {
        let opened = Opened::of(from, &kept.root);
        if let Some((_, error)) = opened.lost.first() {
            return Err(damaged(&**from, error));
        }
        let tree = opened.tree.as_ref().map_err(|error| damaged(&**from, error))?;
        data.extend(live_packs(&opened.index));
        index.extend(kept.root.segments.iter().map(|segment| segment.id));
        trees.insert(kept.root.tree.id);
        trees.extend(tree.shared().map(|other| other.id));
        published.insert(parse_root(&kept.key), kept.key.clone());
    }
    let some = |key: fn(&Id) -> String| move |id: Id| (key(&id), Some(id));
    let mut keys: Vec<(String, Option<Id>)> = data.into_iter().map(some(pack::key)).collect();
    keys.extend(index.into_iter().map(some(index_key)));
    keys.extend(trees.into_iter().map(some(tree::key)));
    keys.push((CONFIG.to_owned(), None));
    keys.extend(published.into_iter().map(|(root, key)| (key, root.map(|(_, id)| id))));
    let names = roots.snapshots.iter().filter_map(|(name, _)| snapshot_key(name));
    keys.extend(names.map(|key| (key, None)));
    Ok(keys)
}

/// The keys of snapshots that show the same in both, whichever index their roots have: a collection
/// or a repair may have given them other roots.
fn same_snapshots(ours: &Roots, theirs: &Roots) -> BTreeSet<String> {
    let shown = |roots: &Roots, name: &String| {
        let (_, snapshot) = roots.snapshots.iter().find(|(there, _)| there == name)?;
        let key = root_key(snapshot.number, &snapshot.root);
        let kept = roots.kept.iter().find(|kept| kept.key == key)?;
        Some((kept.root.number, kept.root.tree))
    };
    let names = ours.snapshots.iter().map(|(name, _)| name);
    let same =
        |name: &&String| shown(ours, name).is_some_and(|ours| shown(theirs, name) == Some(ours));
    names.filter(same).filter_map(|name| snapshot_key(name)).collect()
}

/// Whether `to` is the same store, and an older one.
fn may_take(from: &dyn Storage, to: &dyn Storage, roots: &Roots) -> Result<(), Error> {
    let name = to.name();
    let ours = match read_config(to) {
        Ok(config) => config,
        // A copy that was not ended: settings come late.
        Err(_) if to.size(CONFIG).is_err_and(|error| error.is_not_found()) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // A rebuild may have changed how blocks are named.
    if read_config(from)?.store != ours.store {
        let why = "is another store; packfs add, or another name for the copy, may be meant";
        return Err(Error::Refused(format!("{name}: {why}")));
    }
    let there = Roots::read(to)?;
    if let Some(broken) = there.broken.first() {
        return Err(damaged(to, &broken.error));
    }
    let (Some(old), Some(new)) = (there.kept.first(), roots.kept.first()) else { return Ok(()) };
    let known = old.root.number < new.root.number
        || from.size(&old.key).is_ok()
        || to.size(&new.key).is_ok();
    match known {
        true => Ok(()),
        false => Err(Error::Refused(format!("{name}: has roots that {} lacks", from.name()))),
    }
}

/// The length of an object that is lost, if parity can make it good.
fn protected_length(storage: &dyn Storage, key: &str) -> Result<Option<u64>, StorageError> {
    let sets = sets(storage)?.0;
    let mut members = sets.iter().flat_map(Set::members);
    Ok(members.find(|member| member.key == key).map(|member| member.length))
}

fn damaged(storage: &dyn Storage, error: &dyn std::fmt::Display) -> Error {
    let name = storage.name();
    Error::Refused(format!("{error}; packfs fsck --repair {name} restores it first"))
}

/// Copies what was planned.
///
/// # Errors
/// If an object cannot be read or written, or has not the bytes of its id, or the monitor says
/// stop.
pub fn copy(
    plan: &Plan,
    from: &dyn Storage,
    to: &dyn Storage,
    monitor: &dyn Monitor,
) -> Result<(), Error> {
    monitor.phase(Phase::Copy);
    monitor.total(plan.objects.len() as u64, plan.bytes());
    let healer = Healer::default();
    for (key, length, id) in &plan.objects {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        let whole =
            |bytes: &Bytes| id.is_none_or(|id| id == *blake3::hash(bytes.as_ref()).as_bytes());
        let read = match from.get(key, MAX_PACK) {
            Err(error) if error.is_not_found() => None,
            read => Some(read?).filter(whole),
        };
        let healed = || {
            let all = 0..usize::try_from(*length).ok()?;
            healer.range(from, key, all).map(Bytes::Owned).filter(whole)
        };
        let broken = || damaged(from, &format!("{}: is damaged", from.locate(key)));
        let bytes = read.or_else(healed).ok_or_else(broken)?;
        to.put(key, bytes.as_ref())?;
        monitor.advance(1, *length);
    }
    Ok(())
}

fn all(storage: &dyn Storage, key: &str, size: u64) -> Result<Vec<u8>, StorageError> {
    storage.get_range(key, 0, usize::try_from(size).unwrap_or(usize::MAX))
}

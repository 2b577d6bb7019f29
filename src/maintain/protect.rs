//! Keeps parity of what an archive needs.
//!
//! Order: new sets are written before those are removed whose place they take, and a set is removed
//! before any object that it protects is. So what a set protects is there, or was lost.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Error;
use super::copy::needed;
use super::kept::Roots;
use crate::format::{MAX_SHARDS, Protected};
use crate::monitor::{Monitor, Phase};
use crate::parity::{self, Health, PARITY, Set, sets};
use crate::storage::{Storage, StorageError};
use crate::store::{SNAPSHOTS, read_config};

/// Bytes that one set protects at most, but for a larger object: all of them are read to make good
/// one.
const LARGEST: u64 = 256 << 20;
/// Most objects of a set, which have a shard each at least.
const MOST: usize = MAX_SHARDS / 4;
/// A set of at most so many times the bytes that are new is made anew with these, so that their
/// number grows slowly.
const MERGED: u64 = 2;

/// How many recovery shards of a hundred data shards an archive is to have; `None`: no parity. Its
/// settings say so, and where they do not, its sets.
///
/// # Errors
/// If its sets cannot be listed.
pub fn percent(storage: &dyn Storage) -> Result<Option<u32>, StorageError> {
    let said = read_config(storage).ok().and_then(|config| config.parity);
    let kept = || Ok(sets(storage)?.0.iter().map(Set::percent).max());
    said.map_or_else(kept, |percent| Ok(Some(percent.into())))
}

/// Protects all that the newest root and the snapshots need and no parity set protects yet: with so
/// many recovery shards of a hundred, or as many as the archive is to have; without either, nothing
/// is done. With another number than sets have, all is protected anew; with 0, nothing is any more.
/// Who protects a store must hold its lock.
///
/// Returns the bytes that were written.
///
/// # Errors
/// If something that is needed is damaged or lost, a set cannot be written, or the monitor says
/// stop: then what was protected is.
pub fn protect(
    storage: &Arc<dyn Storage>,
    percent: Option<u32>,
    monitor: &dyn Monitor,
) -> Result<u64, Error> {
    update(storage, percent, &HashSet::new(), monitor)
}

/// As [`protect`] with as much as there is, but for what is about to be removed or written anew:
/// no set protects it afterwards.
///
/// # Errors
/// As [`protect`].
pub fn let_go(
    storage: &Arc<dyn Storage>,
    going: &HashSet<String>,
    monitor: &dyn Monitor,
) -> Result<u64, Error> {
    update(storage, None, going, monitor)
}

/// Removes all sets that protect something which is about to be removed, before what takes their
/// place can be written; [`protect`] is to follow.
///
/// # Errors
/// If one can make good what is damaged, or cannot be removed.
pub fn give_up(storage: &dyn Storage, going: &HashSet<String>) -> Result<(), Error> {
    let mut gone = Vec::new();
    for set in sets(storage)?.0 {
        if set.members().iter().any(|member| going.contains(&member.key)) {
            not_needed(storage, &set)?;
            gone.push(set.key);
        }
    }
    remove(storage, gone)
}

/// Refuses where parity has what is lost: whoever rebuilds could not keep both.
///
/// # Errors
/// If so, or something cannot be read.
pub fn nothing_lost(storage: &Arc<dyn Storage>) -> Result<(), Error> {
    let sets = sets(&**storage)?.0;
    if sets.is_empty() {
        return Ok(());
    }
    let needed: HashSet<String> =
        needed(storage, &Roots::read(&**storage)?)?.into_iter().map(|(key, _)| key).collect();
    let members = sets.iter().flat_map(Set::members);
    lost(&**storage, members.filter(|member| needed.contains(&member.key)))
}

fn lost<'a>(
    storage: &dyn Storage,
    mut members: impl Iterator<Item = &'a Protected>,
) -> Result<(), Error> {
    let is_lost =
        |member: &&Protected| storage.size(&member.key).is_err_and(|error| error.is_not_found());
    members.find(is_lost).map_or(Ok(()), |member| {
        let key = storage.locate(&member.key);
        Err(repair_first(format!("{key}: lost, and parity has it")))
    })
}

/// Refuses to do without a set that can make good what is damaged.
fn not_needed(storage: &dyn Storage, set: &Set) -> Result<(), Error> {
    if matches!(set.heal(storage)?, Health::Healed(_)) {
        let key = storage.locate(&set.key);
        return Err(repair_first(format!("{key}: can make good what is damaged")));
    }
    Ok(())
}

fn update(
    storage: &Arc<dyn Storage>,
    percent: Option<u32>,
    going: &HashSet<String>,
    monitor: &dyn Monitor,
) -> Result<u64, Error> {
    let (sets, broken) = sets(&**storage)?;
    let Some(percent) = percent.map_or_else(|| self::percent(&**storage), |it| Ok(Some(it)))?
    else {
        return Ok(0);
    };
    if percent == 0 {
        // What only they can bring back would be lost.
        for set in &sets {
            not_needed(&**storage, set)?;
        }
        let broken = broken.into_iter().map(|(key, _)| key);
        remove(&**storage, sets.into_iter().map(|set| set.key).chain(broken))?;
        return Ok(0);
    }
    monitor.phase(Phase::Parity);
    let leaves = |set: &Set| {
        set.percent() != percent || set.members().iter().any(|member| going.contains(&member.key))
    };
    let (old, mut kept): (Vec<Set>, Vec<Set>) = sets.into_iter().partition(leaves);
    let members = old.iter().flat_map(Set::members);
    lost(&**storage, members.filter(|member| !going.contains(&member.key)))?;
    let mut gone: Vec<String> = old.into_iter().map(|set| set.key).collect();
    let mut bare = bare(storage, &kept, going)?;
    join(&**storage, &mut kept, &mut bare, &mut gone);
    let mut written = 0;
    for group in groups(bare) {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        let bytes: u64 = group.iter().map(|member| member.length).sum();
        let (id, set) = parity::protect(&**storage, group, percent).map_err(repair_first)?;
        let key = parity::parity_key(&id);
        // One that is there is the same.
        gone.retain(|gone| *gone != key);
        if storage.size(&key).is_err() {
            storage.put(&key, &set)?;
            written += set.len() as u64;
        }
        monitor.advance(0, bytes);
    }
    remove(&**storage, gone)?;
    Ok(written)
}

/// Parity is not given up while there is something that it may make good.
fn repair_first(error: impl std::fmt::Display) -> Error {
    Error::Refused(format!("{error}; run packfs fsck --repair first"))
}

fn remove(storage: &dyn Storage, keys: impl IntoIterator<Item = String>) -> Result<(), Error> {
    let keys: Vec<String> = keys.into_iter().collect();
    for key in &keys {
        storage.delete(key)?;
    }
    // Else one could be back after a power cut, without what it protects.
    if keys.is_empty() { Ok(()) } else { Ok(storage.sync(PARITY)?) }
}

/// What is needed and protected by none of the sets.
fn bare(
    storage: &Arc<dyn Storage>,
    sets: &[Set],
    going: &HashSet<String>,
) -> Result<BTreeMap<String, u64>, Error> {
    let members = sets.iter().flat_map(Set::members);
    let protected: HashSet<&str> = members.map(|member| member.key.as_str()).collect();
    let mut bare = BTreeMap::new();
    for (key, _) in needed(storage, &Roots::read(&**storage)?)? {
        // A snapshot is written again under its name, so nothing tells what it should be.
        let fixed = !key.starts_with(SNAPSHOTS) && !going.contains(&key);
        if fixed && !protected.contains(key.as_str()) {
            let length = storage.size(&key).map_err(repair_first)?;
            bare.insert(key, length);
        }
    }
    Ok(bare)
}

/// Takes the objects of small sets to those that no set protects.
fn join(
    storage: &dyn Storage,
    kept: &mut Vec<Set>,
    bare: &mut BTreeMap<String, u64>,
    gone: &mut Vec<String>,
) {
    let mut new: u64 = bare.values().sum();
    kept.sort_by_key(|set| std::cmp::Reverse(set.protected()));
    while let Some(set) = kept.pop_if(|set| new > 0 && set.protected() <= new * MERGED) {
        // What it may yet make good must not be taken from it.
        let whole = || matches!(set.heal(storage), Ok(Health::Whole));
        if set.protected() > LARGEST / 2 || !whole() {
            continue;
        }
        new += set.protected();
        bare.extend(set.members().iter().map(|member| (member.key.clone(), member.length)));
        gone.push(set.key);
    }
}

/// Objects in groups of much the same size.
fn groups(objects: BTreeMap<String, u64>) -> Vec<Vec<Protected>> {
    let all: u64 = objects.values().sum();
    let most = all.div_ceil(all.div_ceil(LARGEST).max(1));
    let mut groups: Vec<(u64, Vec<Protected>)> = Vec::new();
    for (key, length) in objects {
        let fits = |(bytes, group): &&mut (u64, Vec<Protected>)| {
            bytes.saturating_add(length) <= most && group.len() < MOST
        };
        match groups.last_mut().filter(fits) {
            Some((bytes, group)) => {
                *bytes += length;
                group.push(Protected { key, length });
            }
            None => groups.push((length, vec![Protected { key, length }])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

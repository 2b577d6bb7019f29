//! Drops what nothing needs any more: roots that nobody kept, and the trees, segments and packs
//! that only they name; and packs of which no block is referred to, after an index without them was
//! published.
//!
//! Needed is what the newest root names, what the roots of snapshots name, and what a root names
//! that somebody reads: readers hold a [lease](crate::storage::Lease) of theirs. Whoever collects
//! holds the [lock](crate::storage::Lock) of the store, so nobody is about to publish a root.
//!
//! Parity [lets go](let_go) of what is to go, and the rest is protected anew, before anything goes.
//! Where the disk is full, it is [given up](give_up), and the rest is protected once there is room.
//!
//! Order of writes: packs that link what is left of chains; segments; then roots with these, as
//! [`reroot`] has it. Order of removals: roots, each held alone so that nobody can begin to read
//! it; these are synced; then what no root that is left names.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Error;
use super::kept::{HEAD, Roots};
use super::links::links;
use super::listing::list;
use super::marks::{Unit, mark, open_trees, units, weigh};
use super::numbers::Numbers;
use super::protect::{give_up, let_go, protect};
use super::publish::{put_segment, reroot};
use crate::format::{Id, ObjectRef, Root, unhex};
use crate::index::Index;
use crate::monitor::Monitor;
use crate::storage::{Lease, Storage};
use crate::store::{self, INDEX, ROOTS, index_key, lost_root, open_segment, parse_root, read_root};
use crate::tree::{self, Tree};

/// What the keys of packs and trees start with.
const PACKS: &str = "packs/";
const TREES: &str = "trees/";

/// What a collection came to, or would.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// Objects that were removed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of an index, and of parity, without what was removed. Of a plan: 0, nobody knows yet.
    pub written: u64,
    /// Older roots that somebody reads: what they need is still there.
    pub read: u64,
    /// Bytes, once inflated, of blocks that nothing refers to in packs that are needed for others.
    pub dead: u64,
}

/// What names objects: each key that is to stay.
#[derive(Debug, Default)]
struct Needed(HashSet<String>);

impl Needed {
    /// All that a root names, the packs of its segments if `packs` says so.
    fn add(&mut self, storage: &Arc<dyn Storage>, root: &Root, packs: bool) -> Result<(), Error> {
        let lost = |error| store::Error::from(error).of_named();
        let tree = Tree::open(Arc::clone(storage), &root.tree).map_err(lost)?;
        self.0.insert(tree::key(&root.tree.id));
        self.0.extend(tree.footer().others.iter().map(|other| tree::key(&other.id)));
        for object in root.segments.iter().filter(|_| packs) {
            if self.0.insert(index_key(&object.id)) {
                let opened = open_segment(&**storage, object);
                let (segment, _) = opened.map_err(store::Error::of_named)?;
                self.0.extend(segment.packs().iter().map(|(id, _)| crate::pack::key(id)));
            }
        }
        Ok(())
    }
}

/// The roots of a store as whoever collects sees them.
struct Survey {
    /// Those that are kept.
    roots: Roots,
    /// Others that somebody reads.
    read: Vec<Root>,
    /// Those that nobody needs, held so that nobody can begin to read them.
    unneeded: Vec<(String, Lease)>,
}

impl Survey {
    fn of(storage: &dyn Storage) -> Result<Self, Error> {
        let roots = Roots::read(storage)?;
        let needed = |broken: &&super::kept::Broken| broken.newer || !broken.names.is_empty();
        if let Some(broken) = roots.broken.iter().find(needed) {
            let of_snapshot = broken.names.iter().find(|name| *name != HEAD);
            let or_not = of_snapshot.filter(|_| !broken.newer).map_or_else(String::new, |name| {
                format!(", or packfs snapshot delete gives up {name:?}")
            });
            return Err(Error::Refused(format!(
                "{}; nothing is collected until packfs fsck --repair restores it{or_not}",
                broken.error
            )));
        }
        let newest = roots.kept.first().map_or(0, |kept| kept.root.number);
        if let Some(lost) = lost_root(storage, newest)? {
            let text = format!("{lost}; nothing is collected; run packfs fsck --repair first");
            return Err(Error::Refused(text));
        }
        // Somebody's who did not see the others: what only they have must not go.
        if let Some(rival) = &roots.rival {
            let rival = storage.locate(rival);
            let text = "is of a history that is not that of the newest root; move one of them away";
            return Err(Error::Refused(format!("{rival}: {text}, then collect")));
        }
        let kept: HashSet<&str> = roots.kept.iter().map(|kept| kept.key.as_str()).collect();
        let (mut read, mut unneeded) = (Vec::new(), Vec::new());
        for key in storage.list(ROOTS)? {
            if parse_root(&key).is_none() || kept.contains(key.as_str()) {
                continue;
            }
            match storage.seize(&key)? {
                Some(lease) => unneeded.push((key, lease)),
                None => read.push(read_root(storage, &key)?.0),
            }
        }
        Ok(Self { roots, read, unneeded })
    }
}

/// Collects, in a store that the caller holds the lock of. `swap` is told once another root is the
/// newest one: the same tree with another index. Whoever reads the old one lets go of it then.
///
/// # Errors
/// If what is needed cannot be read, or something cannot be written or removed; what is there is
/// whole in any case, and to run it again goes on.
pub fn collect(
    storage: &Arc<dyn Storage>,
    created: i64,
    monitor: &dyn Monitor,
    swap: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<Collected, Error> {
    let mut collected = sweep(storage, monitor)?;
    let survey = Survey::of(&**storage)?;
    let dead = Dead::find(storage, &survey.roots)?;
    collected.dead = dead.within;
    if !dead.any {
        return Ok(collected);
    }
    if monitor.cancelled() {
        return Err(Error::Cancelled);
    }
    collected.written += publish(storage, &survey, &dead, created)?;
    drop(survey);
    swap()?;
    let swept = sweep(storage, monitor)?;
    collected.objects += swept.objects;
    collected.bytes += swept.bytes;
    collected.written += swept.written;
    collected.read = swept.read;
    Ok(collected)
}

/// What [`collect`] would come to; nothing is changed.
///
/// # Errors
/// If what is needed cannot be read.
pub fn plan(storage: &Arc<dyn Storage>) -> Result<Collected, Error> {
    let survey = Survey::of(&**storage)?;
    let dead = Dead::find(storage, &survey.roots)?;
    let mut needed = Needed::default();
    for root in &survey.read {
        needed.add(storage, root, true)?;
    }
    for kept in &survey.roots.kept {
        needed.add(storage, &kept.root, !dead.any)?;
    }
    needed.0.extend(dead.live.iter().map(crate::pack::key));
    let mut would =
        Collected { read: survey.read.len() as u64, dead: dead.within, ..Collected::default() };
    let gone = unneeded_objects(&**storage, &needed)?;
    for key in survey.unneeded.iter().map(|(key, _)| key).chain(&gone) {
        would.objects += 1;
        would.bytes += storage.size(key)?;
    }
    Ok(would)
}

/// Removes what no root names, and roots that nobody needs.
fn sweep(storage: &Arc<dyn Storage>, monitor: &dyn Monitor) -> Result<Collected, Error> {
    let survey = Survey::of(&**storage)?;
    survey.roots.head()?;
    let mut needed = Needed::default();
    let kept = survey.roots.kept.iter().map(|kept| &kept.root);
    for root in kept.chain(&survey.read) {
        needed.add(storage, root, true)?;
    }
    let mut swept = Collected { read: survey.read.len() as u64, ..Collected::default() };
    let gone = unneeded_objects(&**storage, &needed)?;
    let going = survey.unneeded.iter().map(|(key, _)| key).chain(&gone).cloned().collect();
    let full = match let_go(storage, &going, monitor) {
        Err(error) if error.is_full() => {
            give_up(&**storage, &going)?;
            true
        }
        written => {
            swept.written = written?;
            false
        }
    };
    for (key, _alone) in &survey.unneeded {
        swept.bytes += storage.size(key)?;
        storage.delete(key)?;
        swept.objects += 1;
    }
    // Else a power cut could bring back a root, and not what it names.
    storage.sync(ROOTS)?;
    for key in gone {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        swept.bytes += storage.size(&key)?;
        storage.delete(&key)?;
        swept.objects += 1;
    }
    swept.bytes += storage.tidy()?;
    if full {
        swept.written += protect(storage, None, monitor)?;
    }
    Ok(swept)
}

/// Trees, segments and packs that are not needed.
fn unneeded_objects(storage: &dyn Storage, needed: &Needed) -> Result<Vec<String>, Error> {
    let mut keys = Vec::new();
    for prefix in [TREES, INDEX, PACKS] {
        let unneeded = |key: &String| is_object(key) && !needed.0.contains(key);
        keys.extend(storage.list(prefix)?.into_iter().filter(unneeded));
    }
    Ok(keys)
}

/// Whether it is the key of a tree, segment or pack: nothing else is ours to remove.
fn is_object(key: &str) -> bool {
    let Some(id) = key.rsplit('/').next().and_then(unhex) else { return false };
    [tree::key(&id), index_key(&id), crate::pack::key(&id)].iter().any(|own| own == key)
}

/// Listed packs without a block that the newest root or a snapshot refers to.
struct Dead {
    /// The index of all these roots together.
    index: Index,
    /// Whether there are any.
    any: bool,
    /// Those that are needed.
    live: HashSet<Id>,
    /// Where these are listed: the segment, and the first block. A pack may have been listed again.
    units: HashSet<(u32, u32)>,
    /// Bytes of blocks that are not referred to in packs that are needed.
    within: u64,
}

impl Dead {
    fn find(storage: &Arc<dyn Storage>, roots: &Roots) -> Result<Self, Error> {
        let index = joined(&**storage, roots)?;
        let trees = open_trees(storage, roots.kept.iter().map(|kept| &kept.root))?;
        let marks = mark(&index, &trees)?;
        let (mut live, mut listed, mut any, mut within) =
            (HashSet::new(), HashSet::new(), false, 0);
        for (at, segment) in (0..).zip(index.segments()) {
            for unit in units(at, segment) {
                let (used, all) = weigh(&unit, segment, &marks);
                any |= used == 0;
                if used > 0 {
                    live.insert(unit.pack.0);
                    listed.insert((unit.segment, unit.blocks.start));
                    within += all - used;
                }
            }
        }
        // What a rebuild moved for the newest root, and only snapshots still show, lies where none
        // of these looks for it, as long as they have their own index.
        any |= !live.is_subset(&read(storage, roots, &live)?);
        Ok(Self { index, any, live, units: listed, within })
    }
}

/// The packs that kept roots read, each by its own index; all that are `live` by the index of them
/// all, if each has that.
fn read(
    storage: &Arc<dyn Storage>,
    roots: &Roots,
    live: &HashSet<Id>,
) -> Result<HashSet<Id>, Error> {
    let mut lists: BTreeMap<Vec<Id>, Vec<&Root>> = BTreeMap::new();
    for kept in &roots.kept {
        let list = kept.root.segments.iter().map(|segment| segment.id).collect();
        lists.entry(list).or_default().push(&kept.root);
    }
    if lists.len() == 1 {
        return Ok(live.clone());
    }
    let mut packs = HashSet::new();
    for roots in lists.into_values() {
        let segments = roots[0].segments.iter().map(|it| Ok(open_segment(&**storage, it)?.0));
        let index = Index::new(segments.collect::<Result<Vec<_>, Error>>()?);
        let marks = mark(&index, &open_trees(storage, roots.iter().copied())?)?;
        for (at, segment) in (0..).zip(index.segments()) {
            let used = |unit: &Unit| weigh(unit, segment, &marks).0 > 0;
            packs.extend(units(at, segment).iter().filter(|unit| used(unit)).map(|it| it.pack.0));
        }
    }
    Ok(packs)
}

/// The index of all kept roots: what the newest one says comes last, and so overrides.
fn joined(storage: &dyn Storage, roots: &Roots) -> Result<Index, Error> {
    let mut objects: Vec<ObjectRef> = Vec::new();
    for kept in roots.kept.iter().rev() {
        // The order of each is kept: of one that is in several, as the newest has it.
        objects.retain(|object| !kept.root.segments.contains(object));
        objects.extend(&kept.root.segments);
    }
    let segments = objects.iter().map(|object| Ok(open_segment(storage, object)?.0));
    Ok(Index::new(segments.collect::<Result<Vec<_>, Error>>()?))
}

/// Publishes an index without dead packs, under new roots of the same trees; how many bytes it has.
fn publish(
    storage: &Arc<dyn Storage>,
    survey: &Survey,
    dead: &Dead,
    created: i64,
) -> Result<u64, Error> {
    let numbers = Numbers::of(&dead.index);
    let keep = |unit: &Unit| dead.units.contains(&(unit.segment, unit.blocks.start));
    let links = links(&**storage, &dead.index, &numbers, keep)?;
    let built = list(&dead.index, &numbers, keep, &links)?;
    let put = built.into_iter().map(|segment| put_segment(&**storage, segment));
    let segments = put.collect::<Result<Vec<_>, _>>()?;
    reroot(&**storage, &survey.roots, |_| Some(segments.clone()), created)?;
    Ok(segments.iter().map(|segment| segment.length).sum())
}

//! Rebuilds lost index segments from the footers of packs. `format-spec.md`, "Rebuilding the
//! index".

use std::collections::{HashMap, HashSet};

use super::Repair;
use super::roots::opened;
use super::sources::pack_id;
use crate::format::{Id, IndexBuilder, ObjectRef, PackFooter};
use crate::maintain::Error;
use crate::maintain::check::{Report, What};
use crate::maintain::kept::{Kept, Opened, Roots};
use crate::maintain::publish::put_segment;
use crate::pack;
use crate::store::index_key;

/// Most ways to join chains that are tried, to get at just the bytes that were lost.
const TRIES: usize = 256;

/// A pack: its length, and what it says of itself.
type Pack = (u64, PackFooter);
/// The packs that no segment of a root lists which can be read.
type Unlisted<'a> = HashMap<Id, &'a Pack>;

impl Repair<'_> {
    /// Rebuilds the segments that roots lack.
    pub(super) fn segments(&mut self, report: &Report) -> Result<bool, Error> {
        let lacks = |what| matches!(what, What::Segment | What::Index);
        if !report.damages.iter().any(|damage| lacks(damage.what)) {
            return Ok(false);
        }
        let roots = Roots::read(&*self.storage)?;
        let opened = opened(self, &roots);
        let all = self.packs()?;
        let mut segments: HashMap<String, Vec<ObjectRef>> = HashMap::new();
        let mut made: HashMap<(Vec<Id>, Vec<Id>), Vec<ObjectRef>> = HashMap::new();
        let mut restored: HashSet<Id> = HashSet::new();
        for (kept, opened) in &opened {
            let packs = unlisted(&all, opened);
            let mut origins = wanted(opened, &packs);
            let lost = opened.lost.iter().map(|(object, _)| object.id);
            let mut lost: Vec<Id> = lost.filter(|id| !restored.contains(id)).collect();
            self.exact(&packs, &mut origins, &mut lost, &mut restored)?;
            if lost.is_empty() && origins.is_empty() {
                continue;
            }
            let key = (origins.clone(), lost.clone());
            let new = match made.get(&key) {
                Some(new) => new.clone(),
                None => {
                    let new = self.rebuild(&packs, &origins)?;
                    made.entry(key).or_insert(new).clone()
                }
            };
            segments.insert(kept.key.clone(), replaced(kept, &lost, &new));
        }
        let changed = !segments.is_empty();
        if changed {
            self.rewrite(&roots, &segments)?;
        }
        Ok(changed || !restored.is_empty())
    }

    /// All packs that can be read.
    fn packs(&self) -> Result<HashMap<Id, Pack>, Error> {
        let mut packs = HashMap::new();
        for key in self.storage.list("packs/")? {
            self.go_on()?;
            let Some(id) = pack_id(&key) else { continue };
            let Ok(size) = self.storage.size(&key) else { continue };
            if let Ok(footer) = pack::footer(&*self.storage, &id, size) {
                packs.insert(id, (size, footer));
            }
        }
        Ok(packs)
    }

    /// Tries to get at just the segments that were lost: then no root has to change.
    fn exact(
        &mut self,
        packs: &Unlisted<'_>,
        origins: &mut Vec<Id>,
        lost: &mut Vec<Id>,
        restored: &mut HashSet<Id>,
    ) -> Result<(), Error> {
        let mut tries = 0;
        let mut from = 0;
        'next: while from < origins.len() && !lost.is_empty() {
            for to in (from + 1..=origins.len()).rev() {
                tries += 1;
                if tries > TRIES {
                    return Ok(());
                }
                let (bytes, _) = chains(packs, &origins[from..to]).finish();
                let id = *blake3::hash(&bytes).as_bytes();
                if let Some(at) = lost.iter().position(|lost| *lost == id) {
                    self.storage.put(&index_key(&id), &bytes)?;
                    let key = index_key(&id);
                    self.actions.push(format!("{key}: rebuilt, as it was, from the packs"));
                    restored.insert(lost.remove(at));
                    origins.drain(from..to);
                    continue 'next;
                }
            }
            from += 1;
        }
        Ok(())
    }

    /// Segments for these origins, and for what was moved.
    fn rebuild(&mut self, packs: &Unlisted<'_>, origins: &[Id]) -> Result<Vec<ObjectRef>, Error> {
        let mut new = Vec::new();
        for builder in [chains(packs, origins), moved(packs)] {
            if builder.block_count() > 0 && !builder.is_too_long() {
                let object = put_segment(&*self.storage, builder.finish())?;
                let key = index_key(&object.id);
                self.actions.push(format!("{key}: rebuilt from the packs"));
                new.push(object);
            }
        }
        Ok(new)
    }
}

/// The packs that the segments which are left of a root do not list.
fn unlisted<'a>(all: &'a HashMap<Id, Pack>, opened: &Opened) -> Unlisted<'a> {
    let listed: HashSet<Id> =
        crate::maintain::kept::packs(&opened.index).map(|(id, _)| *id).collect();
    all.iter().filter(|(id, _)| !listed.contains(*id)).map(|(id, pack)| (*id, pack)).collect()
}

/// The origins that a root needs and its index does not know, of which there are packs.
fn wanted(opened: &Opened, packs: &Unlisted<'_>) -> Vec<Id> {
    let mut origins: Vec<Id> = match &opened.tree {
        Ok(tree) => tree.footer().origins.clone(),
        Err(_) => packs.keys().copied().collect(),
    };
    let known: HashSet<&Id> =
        opened.index.segments().iter().flat_map(|segment| segment.homes()).collect();
    let there = |origin: &Id| packs.contains_key(origin) || links(packs, origin).next().is_some();
    origins.retain(|origin| !known.contains(origin) && there(origin));
    origins
}

/// The packs without blocks that stand for the one that named a chain.
fn links<'a>(packs: &'a Unlisted<'_>, origin: &'a Id) -> impl Iterator<Item = (&'a Id, &'a Pack)> {
    let link =
        move |footer: &PackFooter| footer.lengths.is_empty() && footer.homes.contains(origin);
    packs.iter().map(|(id, pack)| (id, *pack)).filter(move |(_, (_, footer))| link(footer))
}

/// The segments of a root with new ones where the lost ones were.
fn replaced(kept: &Kept, lost: &[Id], new: &[ObjectRef]) -> Vec<ObjectRef> {
    let segments = &kept.root.segments;
    let at = segments.iter().position(|segment| lost.contains(&segment.id));
    let mut left = segments[..at.unwrap_or(segments.len())].to_vec();
    left.extend(new);
    let after = segments.iter().skip(at.unwrap_or(segments.len()));
    left.extend(after.filter(|segment| !lost.contains(&segment.id)));
    left
}

/// A segment of the chains that these packs end, or that links stand for.
fn chains(packs: &Unlisted<'_>, origins: &[Id]) -> IndexBuilder {
    let mut builder = IndexBuilder::default();
    for origin in origins {
        let mut taken: HashSet<&Id> = HashSet::new();
        let mut tops: Vec<&Id> =
            packs.get_key_value(origin).map(|(id, _)| id).into_iter().collect();
        let mut linked: Vec<_> = links(packs, origin).collect();
        linked.sort_by_key(|(id, _)| **id);
        for (id, (length, footer)) in linked {
            builder.add_pack(*id, *length, &[], &[]);
            tops.push(&footer.previous);
        }
        for top in tops {
            let chain = chain(packs, top, &mut taken);
            let first = chain.last().map_or(0, |(_, (_, footer))| footer.first_number);
            let local = builder.block_count();
            for (id, (length, footer)) in chain.into_iter().rev() {
                builder.add_pack(*id, *length, &footer.frames, &footer.lengths);
            }
            let count = builder.block_count() - local;
            if count > 0 {
                builder.add_range(*origin, first, count, local);
            }
        }
    }
    builder
}

/// The packs of a chain from `top` on backwards, as far as they are there and not taken.
fn chain<'a>(
    packs: &'a Unlisted<'_>,
    top: &Id,
    taken: &mut HashSet<&'a Id>,
) -> Vec<(&'a Id, &'a Pack)> {
    let mut chain = Vec::new();
    let mut at = packs.get_key_value(top);
    while let Some((id, pack)) = at.filter(|(_, (_, footer))| footer.moved.is_empty()) {
        if !taken.insert(id) {
            break;
        }
        chain.push((id, *pack));
        let footer = &pack.1;
        // The pack before it must end where it begins, so no chain comes back to itself.
        let before = packs.get_key_value(&footer.previous).filter(|(_, (_, before))| {
            let end = before.lengths.len() as u64 + u64::from(before.first_number);
            end == u64::from(footer.first_number) && !before.lengths.is_empty()
        });
        at = before.filter(|_| footer.first_number > 0);
    }
    chain
}

/// A segment of the blocks that were moved; of those that were twice, one place.
fn moved(packs: &Unlisted<'_>) -> IndexBuilder {
    let mut builder = IndexBuilder::default();
    let mut taken: HashSet<(Id, u32)> = HashSet::new();
    let mut ids: Vec<_> = packs.iter().filter(|(_, (_, it))| !it.moved.is_empty()).collect();
    ids.sort_by_key(|(id, _)| **id);
    for (id, (length, footer)) in ids {
        let local = builder.block_count();
        builder.add_pack(*id, *length, &footer.frames, &footer.lengths);
        for range in &footer.moved {
            let Some(home) = footer.homes.get(range.home as usize) else { continue };
            let numbers = range.first..range.first.saturating_add(range.count);
            if numbers.clone().all(|number| !taken.contains(&(*home, number))) {
                taken.extend(numbers.map(|number| (*home, number)));
                let local = local.saturating_add(range.local);
                builder.add_range(*home, range.first, range.count, local);
            }
        }
    }
    builder
}

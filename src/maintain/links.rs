//! Keeps chains of packs whole when packs go: from the packs alone an index can be made again.
//!
//! The last pack of a chain names it, and each names the one before. So where a pack goes, those
//! before it would no longer be known to be of the chain: a small pack that links them says so.
//! Layout: `format-spec.md`, "Pack".

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Error;
use super::marks::{Unit, units};
use super::numbers::Numbers;
use crate::format::{Id, NO_PACK, PackFooter};
use crate::index::Index;
use crate::pack::{self, PackWriter};
use crate::storage::Storage;

/// Writes the links that the packs need of which `keep` wants units; returns these links, each with
/// its length.
///
/// # Errors
/// If the footer of such a pack cannot be read, or a link not be written.
pub fn links(
    storage: &dyn Storage,
    index: &Index,
    numbers: &Numbers,
    keep: impl Fn(&Unit) -> bool,
) -> Result<Vec<(Id, u64)>, Error> {
    let (mut chained, mut packs) = (HashMap::new(), HashSet::new());
    let mut kept: Vec<Vec<Unit>> = Vec::new();
    for (at, segment) in (0..).zip(index.segments()) {
        let units: Vec<Unit> = units(at, segment).into_iter().filter(&keep).collect();
        for (id, length) in units.iter().map(|unit| unit.pack) {
            // What is lost lies in no pack.
            if id == NO_PACK || !packs.insert(id) {
                continue;
            }
            let footer = pack::footer(storage, &id, length)?;
            // One whose blocks were moved says by itself which numbers they have.
            if footer.moved.is_empty() {
                chained.insert(id, footer);
            }
        }
        kept.push(units);
    }
    let members = members(numbers, &kept, &chained);
    let mut links = Vec::new();
    for (top, homes) in cut_off(&members, &chained) {
        let footer = &chained[&top];
        let blocks = u32::try_from(footer.lengths.len()).unwrap_or(u32::MAX);
        let next = footer.first_number.saturating_add(blocks);
        let link = PackWriter::link(top, next, homes, (footer.hash, footer.hash_len));
        storage.put(&pack::key(&link.id), &link.bytes)?;
        links.push((link.id, link.bytes.len() as u64));
    }
    Ok(links)
}

/// The packs of each chain, by its name.
type Members = BTreeMap<Id, BTreeSet<Id>>;

/// Which packs have numbers of which origins.
fn members(numbers: &Numbers, kept: &[Vec<Unit>], chained: &HashMap<Id, PackFooter>) -> Members {
    let mut members = Members::new();
    for stretch in &numbers.stretches {
        let units = &kept[stretch.segment as usize];
        let end = stretch.local.saturating_add(stretch.count);
        let from = units.partition_point(|unit| unit.blocks.end <= stretch.local);
        for unit in units[from..].iter().take_while(|unit| unit.blocks.start < end) {
            if chained.contains_key(&unit.pack.0) {
                let home = numbers.homes[stretch.home as usize];
                members.entry(home).or_default().insert(unit.pack.0);
            }
        }
    }
    members
}

/// The last pack of each stretch of a chain that does not lead to its name, and the names.
fn cut_off(members: &Members, chained: &HashMap<Id, PackFooter>) -> BTreeMap<Id, Vec<Id>> {
    let mut tops: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    for (home, packs) in members {
        let before = |id: &Id| chained.get(id).map(|footer| footer.previous);
        let followed: HashSet<Id> = packs.iter().chain([home]).filter_map(before).collect();
        for top in packs.iter().filter(|pack| *pack != home && !followed.contains(*pack)) {
            tops.entry(*top).or_default().push(*home);
        }
    }
    tops
}

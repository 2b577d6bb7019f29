//! Finds objects of an image without a table of contents that are damaged themselves: others tell
//! how long they are, and what the pieces of each should be.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_64;

use super::Image;
use crate::format::{ENVELOPE_LEN, MAX_TABLE, Member, Segment};
use crate::pack;
use crate::parity::sets;
use crate::storage::{ImageStorage, Storage};
use crate::store::{list_roots, read_root};
use crate::tree;

/// Pieces of an object that are looked at, at one place: one that is as it should be is enough.
const TRIED: usize = 16;
/// How often all of an image may be read in search of them.
const READ_AGAIN: u64 = 4;

/// A read counts as so many bytes, at least: so the search ends, whatever the image says.
const LEAST: u64 = 4096;

/// What others say of an object.
struct Known {
    key: String,
    length: u64,
    pieces: Vec<Piece>,
}

/// A piece of an object.
struct Piece {
    offset: u64,
    length: usize,
    /// Its length with the zeros that follow it, in bytes.
    filled: usize,
    /// XXH3-64 of it, with these.
    checksum: u64,
}

/// The objects that those in `storage` speak of and that are not among them, where any piece of
/// them lies in the image; `starts`: where objects may begin.
pub(super) fn find(
    image: &Image,
    storage: &ImageStorage,
    starts: impl Iterator<Item = u64>,
) -> Vec<Member> {
    let known = known(storage);
    let keys: HashSet<&str> = known.iter().map(|known| known.key.as_str()).collect();
    let members = &storage.contents().members;
    // Those of another name than anybody knows may be damaged ones.
    let named = |member: &&Member| {
        let kinds = ["packs/", "trees/", "roots/"];
        let may_be = kinds.iter().any(|kind| member.key.starts_with(kind));
        !may_be || keys.contains(member.key.as_str())
    };
    let (taken, unnamed): (Vec<&Member>, Vec<&Member>) = members.iter().partition(named);
    let end = |member: &Member| member.offset.saturating_add(member.length);
    let taken: BTreeMap<u64, u64> =
        taken.into_iter().map(|member| (member.offset, end(member))).collect();
    let free = |at: &u64| taken.range(..=at).next_back().is_none_or(|(_, end)| end <= at);
    let mut places: BTreeSet<u64> = starts.chain([ENVELOPE_LEN as u64]).collect();
    places.extend(members.iter().map(end));
    places.retain(free);
    let unnamed: HashMap<u64, &Member> =
        unnamed.into_iter().map(|member| (member.offset, member)).collect();
    let here: HashSet<&str> = members.iter().map(|member| member.key.as_str()).collect();
    let is_here = |known: &Known| here.contains(known.key.as_str());
    let mut missing: Vec<&Known> = known.iter().filter(|known| !is_here(known)).collect();
    let mut budget = image.length.saturating_mul(READ_AGAIN);
    // In the order of their offsets, none within another.
    let mut found = Vec::new();
    while let Some(offset) = places.pop_first().filter(|_| budget > 0) {
        let alike = unnamed.get(&offset);
        let is_there = |known: &&Known| {
            alike.is_some_and(|member| known.is_like(member))
                || image.has(known, offset, &mut budget)
        };
        let Some(at) = missing.iter().position(is_there) else { continue };
        let Known { key, length, .. } = missing[at];
        // Parity and index may both know it.
        missing.retain(|known| known.key != *key);
        found.push(Member { key: key.clone(), offset, length: *length });
        // Where one ends, the next may begin.
        let next = offset.saturating_add(*length);
        places = places.split_off(&next);
        if free(&next) {
            places.insert(next);
        }
    }
    found
}

impl Known {
    /// Whether an object that was found by a name that nobody knows is of its kind and length.
    fn is_like(&self, member: &Member) -> bool {
        let kind = |key: &str| key.split_once('/').map(|(kind, _)| kind.to_owned());
        member.length == self.length && kind(&member.key) == kind(&self.key)
    }
}

/// What parity sets, index segments and roots say of objects.
fn known(storage: &ImageStorage) -> Vec<Known> {
    let mut known = Vec::new();
    for set in sets(storage).map(|(sets, _)| sets).unwrap_or_default() {
        for (member, checksums) in set.checksums() {
            let pieces = (0u64..).zip(checksums).map(|(at, checksum)| {
                let offset = at * set.shard() as u64;
                let left = usize::try_from(member.length - offset).unwrap_or(usize::MAX);
                let length = left.min(set.shard());
                Piece { offset, length, filled: set.shard(), checksum: *checksum }
            });
            let (key, length) = (member.key.clone(), member.length);
            known.push(Known { key, length, pieces: pieces.collect() });
        }
    }
    let segments = storage.list("index/").unwrap_or_default();
    let open = |key: &String| Segment::open(storage.get(key, MAX_TABLE as u64).ok()?).ok();
    for segment in segments.iter().filter_map(open) {
        let packs = segment.packs().iter().map(|(id, length)| (pack::key(id), *length));
        let mut packs: Vec<Known> =
            packs.map(|(key, length)| Known { key, length, pieces: Vec::new() }).collect();
        for (frame, slot) in (0..segment.frame_count()).filter_map(|at| segment.frame(at)) {
            let Some(pack) = packs.get_mut(slot as usize) else { continue };
            let length = frame.stored as usize;
            let (offset, checksum) = (frame.offset, frame.checksum);
            pack.pieces.push(Piece { offset, length, filled: length, checksum });
        }
        known.append(&mut packs);
    }
    for (_, _, key) in list_roots(storage).unwrap_or_default() {
        let Ok((root, _)) = read_root(storage, &key) else { continue };
        let (key, length) = (tree::key(&root.tree.id), root.tree.length);
        known.push(Known { key, length, pieces: Vec::new() });
    }
    known
}

impl Image {
    /// Whether an object lies there, damaged or not.
    fn has(&self, known: &Known, at: u64, budget: &mut u64) -> bool {
        *budget = budget.saturating_sub(1);
        if at.checked_add(known.length).is_none_or(|end| end > self.length) {
            return false;
        }
        let step = known.pieces.len().div_ceil(TRIED).max(1);
        known.pieces.iter().step_by(step).any(|piece| {
            *budget = budget.saturating_sub(LEAST.max(piece.length as u64));
            if *budget == 0 {
                return false;
            }
            let read = self.read(at.saturating_add(piece.offset), piece.length);
            let Ok(mut bytes) = read else { return false };
            bytes.resize(piece.filled, 0);
            xxh3_64(&bytes) == piece.checksum
        })
    }
}

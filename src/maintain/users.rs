//! Which paths use a block or a pack.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Error;
use super::kept::{Kept, Opened, Roots};
use super::walk::{Seen, walk};
use crate::format::{FrameRecord, Id, PackFooter, Segment, hex};
use crate::index::{FrameId, Index};
use crate::monitor::Monitor;
use crate::pack;
use crate::storage::{Bytes, Storage};
use crate::store::{Cause, Error as StoreError};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A block by its origin, of which the first digits are given, and its number.
    Number(String, u32),
    /// Blocks by the first digits of their hash.
    Hash(String),
    /// A pack by the first digits of its id.
    Pack(String),
}

/// Bytes of a file that lie in what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What the root is shown as: `head`, names of snapshots.
    pub roots: Arc<[String]>,
    /// The path, without a `/` before it.
    pub path: Vec<u8>,
    /// The first byte.
    pub from: u64,
    /// The first byte after them.
    pub to: u64,
}

/// Parts of inflated frames.
type Parts = HashMap<FrameId, Vec<(u32, u32)>>;

/// Calls `each` with every range of every path, in the newest root and in all snapshots, that lies
/// in what is `wanted`.
///
/// # Errors
/// If there is no such thing or there are several, a root cannot be read, or the monitor says stop.
pub fn users(
    storage: &Arc<dyn Storage>,
    wanted: &Wanted,
    monitor: &dyn Monitor,
    each: &mut dyn FnMut(User),
) -> Result<(), Error> {
    let roots = Roots::read(&**storage)?;
    if let Some(broken) =
        roots.broken.iter().find(|broken| broken.newer || !broken.names.is_empty())
    {
        return Err(broken.error.clone().into());
    }
    let mut found: HashSet<Id> = HashSet::new();
    for kept in &roots.kept {
        let opened = Opened::of(storage, &kept.root);
        if let Some((_, error)) = opened.lost.first() {
            return Err(error.clone().into());
        }
        let parts = match wanted {
            Wanted::Pack(prefix) => frames_of(&opened.index, prefix, &mut found),
            Wanted::Number(prefix, number) => block(&opened.index, prefix, *number, &mut found),
            Wanted::Hash(prefix) => hashed(&**storage, &opened.index, prefix, monitor, &mut found)?,
        };
        in_root(kept, &opened, &parts, monitor, each)?;
    }
    let name = storage.name();
    match (wanted, found.len()) {
        (_, 0) => Err(Error::Refused(format!("{name}: {} is not there", wanted.show()))),
        (Wanted::Hash(_), _) | (_, 1) => Ok(()),
        _ => Err(Error::Refused(format!("{name}: {} is not the only one", wanted.show()))),
    }
}

impl Wanted {
    fn show(&self) -> String {
        match self {
            Self::Number(origin, number) => format!("block {origin}:{number}"),
            Self::Hash(hash) => format!("a block of hash {hash}"),
            Self::Pack(id) => format!("a pack {id}"),
        }
    }
}

fn in_root(
    kept: &Kept,
    opened: &Opened,
    parts: &Parts,
    monitor: &dyn Monitor,
    each: &mut dyn FnMut(User),
) -> Result<(), Error> {
    let tree = match &opened.tree {
        Ok(tree) => tree,
        Err(error) => return Err(error.clone().into()),
    };
    let roots: Arc<[String]> = kept.names.as_slice().into();
    let mut last: Option<User> = None;
    walk(tree, &opened.index, &mut |path, _, seen| {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        let damaged = match seen {
            Seen::Piece(at, piece) => {
                let end = piece.offset.saturating_add(piece.length);
                for (from, to) in parts.get(&piece.frame).into_iter().flatten() {
                    let (from, to) = ((*from).max(piece.offset), (*to).min(end));
                    if from >= to {
                        continue;
                    }
                    let place = |byte: u32| at.saturating_add((byte - piece.offset).into());
                    let (from, to) = (place(from), place(to));
                    match last.as_mut().filter(|last| last.path == path && last.to == from) {
                        Some(last) => last.to = to,
                        None => {
                            let (roots, path) = (Arc::clone(&roots), path.to_vec());
                            let next = User { roots, path, from, to };
                            last.replace(next).into_iter().for_each(&mut *each);
                        }
                    }
                }
                return Ok(());
            }
            Seen::Inode(_) | Seen::Again => return Ok(()),
            Seen::Nothing(Some((_, error)))
            | Seen::Unlisted { error, .. }
            | Seen::Unread(_, _, _, error) => error.into(),
            Seen::Nothing(None) | Seen::Missing(..) => {
                StoreError::new(&crate::monitor::show(path), Cause::Missing(crate::index::Missing))
            }
        };
        Err(damaged.into())
    })?;
    last.into_iter().for_each(each);
    Ok(())
}

/// All frames of the packs whose ids begin so.
fn frames_of(index: &Index, prefix: &str, found: &mut HashSet<Id>) -> Parts {
    let mut parts = Parts::new();
    each_frame(index, |id, record, pack, _| {
        if hex(pack).starts_with(prefix) {
            found.insert(*pack);
            parts.insert(id, vec![(0, record.inflated)]);
        }
    });
    parts
}

fn each_frame(index: &Index, mut each: impl FnMut(FrameId, &FrameRecord, &Id, &Segment<Bytes>)) {
    for (segment, listed) in (0..).zip(index.segments()) {
        for (frame, at) in (0..).zip(0..listed.frame_count()) {
            let Some((record, slot)) = listed.frame(at) else { continue };
            if let Some((pack, _)) = listed.packs().get(slot as usize) {
                each(FrameId { segment, frame }, &record, pack, listed);
            }
        }
    }
}

/// Where a block lies, by its number.
fn block(index: &Index, prefix: &str, number: u32, found: &mut HashSet<Id>) -> Parts {
    let mut parts = Parts::new();
    let homes: HashSet<Id> =
        index.segments().iter().flat_map(|segment| segment.homes()).copied().collect();
    for home in homes.into_iter().filter(|home| hex(home).starts_with(prefix)) {
        let Some((frame, offset, length)) = index.block(&index.origin(&home), number) else {
            continue;
        };
        found.insert(home);
        parts.entry(frame).or_default().push((offset, offset.saturating_add(length)));
    }
    parts
}

/// Where the blocks lie whose hash begins so.
fn hashed(
    storage: &dyn Storage,
    index: &Index,
    prefix: &str,
    monitor: &dyn Monitor,
    found: &mut HashSet<Id>,
) -> Result<Parts, Error> {
    let mut parts = Parts::new();
    let lengths: HashMap<Id, u64> = super::kept::packs(index).copied().collect();
    let mut last: Option<(Id, Option<PackFooter>)> = None;
    let mut failed = None;
    each_frame(index, |id, record, pack, _| {
        if last.as_ref().is_none_or(|(last, _)| last != pack) && !monitor.cancelled() {
            let footer = pack::footer(storage, pack, lengths.get(pack).copied().unwrap_or(0));
            let footer = footer.map_err(|error| failed = Some(error)).ok();
            last = Some((*pack, footer));
        }
        let Some((_, Some(footer))) = &last else { return };
        let own = footer.frames.partition_point(|own| own.offset < record.offset);
        let Some(own) = footer.frames.get(own).filter(|own| own.offset == record.offset) else {
            return;
        };
        let (mut block, mut from) = (own.first_block as usize, 0u32);
        while from < own.inflated {
            let Some(length) = footer.lengths.get(block) else { return };
            let Some(hash) = footer.hashes.chunks_exact(footer.hash_len).nth(block) else { return };
            if digits(hash).starts_with(prefix) {
                let mut name = Id::default();
                name[..hash.len()].copy_from_slice(hash);
                found.insert(name);
                parts.entry(id).or_default().push((from, from.saturating_add(*length)));
            }
            from = from.saturating_add(*length);
            block += 1;
        }
    });
    match failed {
        _ if monitor.cancelled() => Err(Error::Cancelled),
        Some(error) => Err(error.into()),
        None => Ok(parts),
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

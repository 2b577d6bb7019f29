//! Writes blocks anew, in another place: next to those that are read with them or are like them,
//! without what nothing refers to, compressed in another way. No tree is written: each block keeps
//! its numbers.
//!
//! Order of writes: packs, one segment for them, then a root that adds it to the newest one: the
//! newest place of a block counts. Packs that are not needed any more because of that are removed
//! by who [collects](super::collect). What is packed is read from a root that is held meanwhile, so
//! others may go on to add to the store; only that root is written under the lock of the store. A
//! crash leaves packs that nothing names.

mod places;
mod sequence;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::Error;
use super::kept::Roots;
use super::marks::{Marks, mark, open_trees, units, weigh};
use super::publish::{following, put_root, put_segment};
use crate::format::{BlockHash, Id, IndexBuilder, NO_PACK, ObjectRef, Segment};
use crate::ingest::{CreateOptions, End, Feeder, Gone, Item, pack_anew};
use crate::monitor::{Monitor, Phase};
use crate::storage::{Storage, Undo};
use crate::store::{OpenOptions, Store, lost_root};
use crate::tree;

pub use sequence::{Trace, TraceError};

use places::{Coming, Moving};
use sequence::Sequence;

/// Packs with less than this part of what they can hold are joined with others.
const SMALL: u64 = 2;
/// Blocks are worth more time where files are so many times as long as they are together.
const DENSE: u64 = 3;
/// Where more than this part of all blocks is to be moved, all are.
const MOST: u64 = 2;
/// A tree that shares pages with so many others is written anew in any case.
const MANY_TREES: usize = 8;
/// Level that tree pages are compressed at.
const TREE_LEVEL: i32 = 19;
/// A job has about so many bytes, or so many blocks.
const JOB: (u64, usize) = (4 << 20, 4096);

/// What is to be written anew, and how.
#[derive(Debug, Clone)]
pub struct RebuildOptions {
    /// Every pack, not just those that need it.
    pub all: bool,
    /// Packs of which nothing refers to more than this part, in thousandths.
    pub dead: u64,
    /// No more than so many bytes of blocks, before compression; those that need it most first.
    pub max_bytes: u64,
    /// No more once it is that late.
    pub until: Option<Instant>,
    /// Blocks that come first, in that order.
    pub trace: Option<Trace>,
    /// Which hash names blocks from now on, and how many bytes of it are kept; `None`: as before.
    pub naming: Option<(BlockHash, u8)>,
    /// How packs are made, and in which order files are.
    pub packing: CreateOptions,
}

/// What a rebuild would do, or did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Packs that were written anew, or are to be.
    pub packs: u64,
    /// Of all packs.
    pub of: u64,
    /// Bytes of these packs.
    pub stored: u64,
    /// Bytes of their blocks that are referred to, before compression.
    pub live: u64,
    /// Bytes of their blocks that are not.
    pub dead: u64,
    /// Bytes of new packs and their index; 0 in a plan.
    pub written: u64,
    /// Blocks that stay where they are because they cannot be read.
    pub damaged: u64,
    /// Whether it was too late before all of it was done.
    pub late: bool,
}

impl Rebuilt {
    fn add(&mut self, weight: &Weight) {
        self.packs += 1;
        self.stored += weight.stored;
        self.live += weight.live;
        self.dead += weight.all - weight.live;
    }
}

/// What a rebuild made, which is to be [adopted](adopt).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// Segments that say where blocks are now.
    pub segments: Vec<ObjectRef>,
    /// A tree, and one that has the same in pages of its own.
    pub tree: Option<[ObjectRef; 2]>,
}

/// What a rebuild is about to do.
#[derive(Debug)]
pub struct Plan {
    store: Store,
    /// Blocks that are to be moved.
    moving: Marks,
    /// Whether the tree is to be written anew, too.
    tree: bool,
    /// What it comes to.
    pub sum: Rebuilt,
}

impl Plan {
    /// Whether there is anything to be done.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.sum.packs > 0 || self.tree
    }
}

/// A pack as the newest root lists it.
#[derive(Default)]
struct Weight {
    stored: u64,
    live: u64,
    all: u64,
}

/// Looks at the packs of the newest root, and chooses those that are to be written anew.
///
/// # Errors
/// If a tree or the index cannot be read.
pub fn plan(storage: &Arc<dyn Storage>, options: &RebuildOptions) -> Result<Plan, Error> {
    let store = Store::open(Arc::clone(storage), OpenOptions::default())?;
    if let Some(doubt) = store.doubt() {
        return Err(Error::Refused(format!("{doubt}; nothing is rebuilt")));
    }
    if let Some(lost) = lost_root(&**storage, store.root().1.number)? {
        let text = format!("{lost}; nothing is rebuilt; run packfs fsck --repair first");
        return Err(Error::Refused(text));
    }
    let roots = Roots::read(&**storage)?;
    let kept = roots.kept.iter().map(|kept| &kept.root);
    let trees = open_trees(storage, kept.chain([store.root().1]))?;
    let marks = mark(store.index(), &trees)?;
    let (chosen, sum) = choose(&store, &marks, options);
    let mut moving = Marks::none(store.index());
    for (at, segment) in (0..).zip(store.index().segments()) {
        let chosen = units(at, segment).into_iter().filter(|unit| chosen.contains(&unit.pack.0));
        for block in chosen.flat_map(|unit| unit.blocks) {
            if marks.has(at, block) {
                moving.set(at, block);
            }
        }
    }
    // Pages that are shared with what is kept, too, would only be there twice.
    let others = store.tree().footer().others.len();
    let alone = roots.kept.iter().all(|kept| kept.root.tree == store.root().1.tree);
    let all = sum.packs > 0 && sum.packs == sum.of;
    let tree = alone && others > if all { 0 } else { MANY_TREES };
    Ok(Plan { store, moving, tree, sum })
}

/// What packs weigh, of the blocks that are marked.
fn weights(store: &Store, marks: &Marks) -> BTreeMap<Id, Weight> {
    let mut packs: BTreeMap<Id, Weight> = BTreeMap::new();
    for (at, segment) in (0..).zip(store.index().segments()) {
        for unit in units(at, segment) {
            let (live, all) = weigh(&unit, segment, marks);
            let weight = packs.entry(unit.pack.0).or_default();
            weight.stored = unit.pack.1;
            weight.live += live;
            weight.all += all;
        }
    }
    packs
}

/// The packs to be written anew.
fn choose(store: &Store, marks: &Marks, options: &RebuildOptions) -> (HashSet<Id>, Rebuilt) {
    let mut packs = weights(store, marks);
    // What nothing refers to at all is for who collects.
    packs.retain(|id, weight| weight.live > 0 && *id != NO_PACK);
    let of = packs.len() as u64;
    let small = |weight: &Weight| weight.live < options.packing.pack_size / SMALL;
    // One alone has nothing to be joined with.
    let smalls = packs.values().filter(|weight| small(weight)).count() > 1;
    let wanted = |weight: &Weight| {
        let dead = (weight.all - weight.live).saturating_mul(1000) / weight.all.max(1);
        dead > options.dead || (smalls && small(weight))
    };
    let live = |wanted: &dyn Fn(&Weight) -> bool| -> u64 {
        packs.values().filter(|weight| wanted(weight)).map(|weight| weight.live).sum()
    };
    // What is like the rest of them should lie with it, where that is most of all there is.
    let all = options.all || live(&wanted) > live(&|_| true) / MOST;
    let wanted = |weight: &Weight| all || wanted(weight);
    let mut chosen: Vec<(Id, Weight)> =
        packs.into_iter().filter(|(_, weight)| wanted(weight)).collect();
    // Those first of which most is lost, and then the smallest.
    chosen.sort_by_key(|(id, weight)| {
        let part = weight.live.saturating_mul(1000) / weight.all.max(1);
        (if all { 0 } else { part }, weight.live, *id)
    });
    let mut sum = Rebuilt { of, ..Rebuilt::default() };
    let mut ids = HashSet::new();
    for (id, weight) in chosen {
        if sum.packs > 0 && sum.live + weight.live > options.max_bytes {
            break;
        }
        sum.add(&weight);
        ids.insert(id);
    }
    (ids, sum)
}

/// Writes what was planned, and says what it was; with `None` if nothing was to be done, or it was
/// too late for all of it. What comes of it is to be [adopted](adopt).
///
/// # Errors
/// If something cannot be written, or the monitor says stop: then nothing has changed. Blocks that
/// cannot be read are told to the monitor, and stay where they are.
pub fn write(
    plan: Plan,
    storage: &dyn Storage,
    options: &RebuildOptions,
    monitor: &dyn Monitor,
) -> Result<(Option<Made>, Rebuilt), Error> {
    let Plan { store, moving, tree, mut sum } = plan;
    let undo = Undo::new(storage);
    let mut made = Made::default();
    if sum.packs > 0 {
        made.segments = pack(&store, moving, &undo, options, &mut sum, monitor)?;
    }
    if tree {
        monitor.phase(Phase::Tree);
        let (bytes, object) = store.tree().anew(TREE_LEVEL, options.packing.threads)?;
        undo.put(&tree::key(&object.id), &bytes)?;
        store.with_tree(&object)?.check_own_pages()?;
        made.tree = Some([store.root().1.tree, object]);
    }
    if monitor.cancelled() {
        return Err(Error::Cancelled);
    }
    sum.written = undo.keep();
    Ok(((made != Made::default()).then_some(made), sum))
}

/// Packs blocks anew, and writes segments that say where they are.
fn pack(
    store: &Store,
    moving: Marks,
    storage: &dyn Storage,
    options: &RebuildOptions,
    sum: &mut Rebuilt,
    monitor: &dyn Monitor,
) -> Result<Vec<ObjectRef>, Error> {
    monitor.phase(Phase::Scan);
    let sequence = Sequence::of(store, &moving, options)?;
    monitor.phase(Phase::Pack);
    monitor.total(sequence.files(), sum.live);
    let mut left = moving.clone();
    let (damaged, late) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut index = IndexBuilder::default();
    let mut built = Vec::new();
    for (files, versions, window) in sequence.parts() {
        // What one part has packed, the next does not know.
        let blocks = Moving::new(store);
        let mut packing = options.packing.packing(versions);
        let config = store.config();
        let (hash, length) = options.naming.unwrap_or((config.hash, config.hash_len));
        packing.hash_len = usize::from(length);
        packing.cutter.hash = hash;
        packing.dense = store.root().1.totals.bytes / DENSE > sum.live;
        if !window {
            packing.window = 0;
        }
        let work = |files: &[Vec<Coming>], feeder: &mut Feeder| {
            files.iter().try_for_each(|file| feed(&blocks, file, feeder, monitor, &damaged))
        };
        let jobs = jobs(files, store, options.until, &late);
        let packed = pack_anew(jobs, work, &blocks, &packing, storage, monitor)?;
        built.push(packed.index);
        blocks.each_read(|block| _ = left.take(block.segment, block.local));
    }
    for part in built {
        let (bytes, _) = part.finish();
        if let Ok(segment) = Segment::open(bytes.as_slice()) {
            index.add_segment(&segment);
        }
    }
    if late.into_inner() {
        *sum = Rebuilt { of: sum.of, late: true, ..done(store, &moving, &left) };
    }
    sum.damaged = damaged.into_inner();
    if index.block_count() == 0 {
        return Ok(Vec::new());
    }
    let finished = index.finish();
    Segment::open(finished.0.as_slice())
        .map_err(|error| Error::Refused(format!("the new index does not check out: {error}")))?;
    Ok(vec![put_segment(storage, finished)?])
}

/// The packs of which all that was to be moved was, where some is `left`.
fn done(store: &Store, moving: &Marks, left: &Marks) -> Rebuilt {
    let (moving, left) = (weights(store, moving), weights(store, left));
    let mut sum = Rebuilt::default();
    for (id, weight) in moving.iter().filter(|(_, weight)| weight.live > 0) {
        if left.get(id).is_none_or(|left| left.live == 0) {
            sum.add(weight);
        }
    }
    sum
}

/// Hands over the blocks of a file.
fn feed(
    moving: &Moving<'_>,
    file: &[Coming],
    feeder: &mut Feeder,
    monitor: &dyn Monitor,
    damaged: &AtomicU64,
) -> Result<(), Gone> {
    for (block, first) in file {
        if monitor.cancelled() {
            return Err(Gone);
        }
        if !first {
            // One that is read by another thread just now only tells less of what lies near.
            if let Some(name) = moving.name(*block) {
                feeder.tell(Item::Again(moving.length(*block), name))?;
            }
            continue;
        }
        match moving.read(*block, feeder.buffer()) {
            Ok(()) => {
                let name = feeder.cutter().name(feeder.pending());
                moving.named(name, *block);
                feeder.block(name)?;
            }
            Err(error) => {
                feeder.forget();
                if damaged.fetch_add(1, Ordering::Relaxed) == 0 {
                    log::warn!("{error}; it stays where it is; run packfs fsck");
                }
            }
        }
    }
    feeder.tell(Item::End(End { file: 0, digest: None, trouble: None }))
}

/// Files, a few at a time, until it is too `late`.
fn jobs<'a>(
    files: &'a [Vec<Coming>],
    store: &'a Store,
    until: Option<Instant>,
    late: &'a AtomicBool,
) -> impl Iterator<Item = &'a [Vec<Coming>]> + Send {
    let segments = store.index().segments();
    let length = |file: &[Coming]| -> u64 {
        let of = |(block, first): &Coming| match first {
            true => segments[block.segment as usize].length(block.local as usize),
            false => 0,
        };
        file.iter().map(|block| u64::from(of(block))).sum()
    };
    let mut rest = files;
    std::iter::from_fn(move || {
        if !rest.is_empty() && until.is_some_and(|until| Instant::now() >= until) {
            late.store(true, Ordering::Relaxed);
            return None;
        }
        let (mut bytes, mut blocks) = (0, 0);
        let fits = |file: &&Vec<Coming>| {
            let fits = bytes < JOB.0 && blocks < JOB.1;
            bytes += length(file);
            blocks += file.len();
            fits
        };
        let count = rest.iter().take_while(fits).count();
        let (job, left) = rest.split_at(count);
        rest = left;
        (count > 0).then_some(job)
    })
}

/// Adds segments to the newest root: what they say of where blocks are counts from then on. If that
/// root has the tree that was written anew, it gets the new one. The caller holds the lock of the
/// store.
///
/// # Errors
/// If there is no root that is sure to be the newest, or the new one cannot be written.
pub fn adopt(storage: &dyn Storage, made: &Made, created: i64) -> Result<(), Error> {
    let roots = Roots::read(storage)?;
    if let Some(broken) = roots.broken.iter().find(|broken| broken.newer) {
        return Err(Error::Refused(format!("{}; run packfs fsck --repair first", broken.error)));
    }
    let head = roots.head()?;
    let segments = head.root.segments.iter().chain(&made.segments).copied().collect();
    let mut root = following(head, segments, created)?;
    if let Some([_, new]) = made.tree.filter(|[old, _]| *old == root.tree) {
        root.tree = new;
    }
    put_root(storage, &root).map(drop)
}

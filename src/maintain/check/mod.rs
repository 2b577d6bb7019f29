//! What is damaged in an archive, and which files that hurts.
//!
//! Damage is found object by object, each looked at once, whatever names it. Only if there is any,
//! all paths of the roots that are kept are walked, and each byte of each file is looked up as a
//! reader would: so what is told to be hurt is what cannot be read.

mod damage;
mod deep;
mod frames;
mod hurt;
mod packs;
mod parity;
mod trees;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

pub(super) use damage::reason;
pub use damage::{Damage, Harm, Hurt, What};
pub use parity::Cover;

use super::Error;
use super::kept::{Kept, Opened, Roots};
use super::scan::Source;
use crate::format::{Config, Id};
use crate::index::{FrameId, Index};
use crate::monitor::{Monitor, Phase};
use crate::parity::PARITY;
use crate::storage::Storage;
use crate::store::{CONFIG, Cause, index_key, read_config};
use crate::tree::{self, Place};
use frames::{Job, verify};
use packs::Packs;

/// How far a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Everything but file data.
    Quick,
    /// The checksums of all frames, too.
    Frames,
    /// Ids of objects and hashes of blocks, too, and whether the tree adds up.
    Deep,
}

/// What came of a check.
#[derive(Debug)]
pub struct Report {
    /// All damage, in the order of objects.
    pub damages: Vec<Damage>,
    /// How many roots were checked: the newest, and those of snapshots.
    pub roots: usize,
    /// How many packs these need.
    pub packs: usize,
    /// Bytes of frames that were verified.
    pub bytes: u64,
    /// Objects that none of these roots needs, and their bytes; `None` if that cannot be told.
    pub unneeded: Option<(u64, u64)>,
    /// How parity covers what these roots need, if the archive is to have parity.
    pub parity: Option<Cover>,
    known: Packs,
}

impl Report {
    /// How many different paths are hurt, of all roots together.
    #[must_use]
    pub fn paths(&self) -> usize {
        let hurts = self.damages.iter().flat_map(|damage| &damage.hurts);
        hurts.map(|hurt| &hurt.path).collect::<HashSet<_>>().len()
    }

    /// The frames of an index that readers take blocks from, and that lie in packs with damage.
    /// They may be whole themselves: of each is told whether nothing is known against it.
    pub(super) fn unsound(&self, index: &Index) -> BTreeMap<FrameId, bool> {
        self.known.unsound(index, &index.dead())
    }
}

/// Checks an archive as it is now; what is added meanwhile is not looked at.
///
/// # Errors
/// If it is no archive, may not be read, or the monitor says stop. Damage is no error.
pub fn check(source: &Source, depth: Depth, monitor: &dyn Monitor) -> Result<Report, Error> {
    let mut checker = Checker::new(source, monitor);
    monitor.phase(Phase::Check);
    let roots = checker.roots(source)?;
    if depth == Depth::Quick {
        roots.kept.iter().try_for_each(|kept| checker.kept(kept, &mut |_| ()))?;
    } else {
        let (storage, deep) = (&*source.storage, depth == Depth::Deep);
        let find = |take: &mut dyn FnMut(Job)| -> Result<(), Error> {
            roots
                .kept
                .iter()
                .try_for_each(|kept| checker.kept(kept, &mut |checker| checker.hand_over(take)))
        };
        let ((), found) = verify(storage, deep, monitor, find)?;
        checker.frames(found);
    }
    let head = roots.kept.first().map(|head| head.root.number);
    let parity = checker.parity(head, depth)?;
    if depth == Depth::Deep {
        checker.ids()?;
        checker.sums()?;
        for kept in &roots.kept {
            checker.shape(kept)?;
        }
    }
    if !checker.damages.is_empty() {
        for kept in &roots.kept {
            checker.hurt(kept)?;
        }
    }
    let unneeded = checker.unneeded()?;
    let mut damages = checker.damages;
    // Blocks that were given up are no damage where nobody misses them.
    damages.retain(|damage| damage.what != What::Lost || !damage.hurts.is_empty());
    damages.sort_by(|a, b| (&a.object, a.at).cmp(&(&b.object, b.at)));
    let (roots, packs, bytes) = (roots.kept.len(), checker.packs.count(), checker.bytes);
    let known = checker.packs;
    Ok(Report { damages, roots, packs, bytes, unneeded, parity, known })
}

/// The state of one check.
struct Checker<'a> {
    storage: Arc<dyn Storage>,
    monitor: &'a dyn Monitor,
    config: Option<Config>,
    damages: Vec<Damage>,
    /// What keeps all of an archive from being opened.
    shut: Option<usize>,
    /// By what was looked at, the damage of it, if it has any.
    segments: HashMap<Id, Option<usize>>,
    trees: HashMap<Id, Option<usize>>,
    /// Trees whose length was looked at.
    measured: HashSet<Id>,
    pages: HashMap<Place, Option<usize>>,
    packs: Packs,
    /// Bytes of frames that are verified.
    bytes: u64,
    /// Packs of which not all frames are needed any more.
    patched: HashSet<Id>,
    /// Segments of which only some frames were looked at, since the others had other places.
    partly: HashSet<Id>,
    /// Pages of extents all of whose runs an index is known to have.
    resolved: HashSet<(Place, u64)>,
    /// By the key of a root, the damage that its index lacks what its tree needs.
    missing: HashMap<String, usize>,
    /// Keys of what the roots need, with the ids that they tell; as far as it is known.
    needed: BTreeMap<String, Option<Id>>,
    /// Whether that is all.
    knows_all: bool,
}

impl<'a> Checker<'a> {
    fn new(source: &Source, monitor: &'a dyn Monitor) -> Self {
        Self {
            storage: Arc::clone(&source.storage),
            monitor,
            config: None,
            damages: Vec::new(),
            shut: None,
            segments: HashMap::new(),
            trees: HashMap::new(),
            measured: HashSet::new(),
            pages: HashMap::new(),
            packs: Packs::default(),
            bytes: 0,
            partly: HashSet::new(),
            patched: HashSet::new(),
            resolved: HashSet::new(),
            missing: HashMap::new(),
            needed: BTreeMap::new(),
            knows_all: true,
        }
    }

    fn add(&mut self, damage: Damage) -> usize {
        self.damages.push(damage);
        self.damages.len() - 1
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.monitor.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Checks the archive as a whole: what holds it together, its settings and roots.
    fn roots(&mut self, source: &Source) -> Result<Roots, Error> {
        let roots = Roots::read(&*self.storage)?;
        for problem in &source.problems {
            let place = problem.place.to_string();
            let damage = Damage::new(What::Image, "", &place, problem.why.clone());
            self.shut = Some(self.add(Damage { at: problem.at, ..damage }));
            self.knows_all = false;
        }
        match read_config(&*self.storage) {
            Ok(config) => self.config = Some(config),
            Err(error) => {
                damage::may_go_on(&error)?;
                let absent = matches!(error.cause, Cause::NotArchive);
                let objects = || -> Result<bool, Error> {
                    let mut any = false;
                    for prefix in ["packs/", "trees/", PARITY] {
                        any |= !self.storage.list(prefix)?.is_empty();
                    }
                    Ok(any)
                };
                if absent && !source.salvaged && roots.count == 0 && !objects()? {
                    return Err(error.into());
                }
                let why = if absent { "lost".to_owned() } else { damage::why(&error) };
                let damage = Damage::new(What::Settings, CONFIG, "", why);
                self.shut = Some(self.add(damage));
            }
        }
        self.needed.insert(CONFIG.to_owned(), None);
        self.broken(&roots)?;
        if roots.count == 0 {
            let damage = Damage::new(What::Root, "roots/", "", "there is no root".to_owned());
            self.knows_all = false;
            let at = self.add(damage);
            self.all_hurt(at, &[super::kept::HEAD.to_owned()]);
        }
        for (name, _) in &roots.snapshots {
            self.needed.insert(format!("{}{name}", crate::store::SNAPSHOTS), None);
        }
        Ok(roots)
    }

    /// Tells roots and snapshots that do not check out.
    fn broken(&mut self, roots: &Roots) -> Result<(), Error> {
        let head = roots.kept.first().map(|head| head.root.number);
        for broken in &roots.broken {
            damage::may_go_on(&broken.error)?;
            let mut why = damage::why(&broken.error);
            if let Some(number) = head.filter(|_| broken.newer) {
                why = format!("{why}; root {number} is shown instead");
            }
            let is_root = broken.key.starts_with(crate::store::ROOTS);
            let what = if is_root { What::Root } else { What::Snapshot };
            self.knows_all &= broken.names.is_empty() && !broken.newer;
            let at = self.add(Damage::new(what, &broken.key, "", why));
            self.all_hurt(at, &broken.names);
        }
        Ok(())
    }

    /// Checks what a root needs, but file data: that can be looked at once `listed` is called.
    fn kept(&mut self, kept: &Kept, listed: &mut dyn FnMut(&mut Self)) -> Result<(), Error> {
        self.go_on()?;
        let opened = Opened::of(&self.storage, &kept.root);
        self.needed.insert(kept.key.clone(), None);
        for segment in &kept.root.segments {
            self.needed.insert(index_key(&segment.id), Some(segment.id));
        }
        for (object, error) in &opened.lost {
            damage::may_go_on(error)?;
            self.knows_all = false;
            if !self.segments.contains_key(&object.id) {
                let key = index_key(&object.id);
                let damage = Damage::new(What::Segment, &key, "", damage::why(error));
                let at = self.add(damage);
                self.segments.insert(object.id, Some(at));
            }
        }
        let lost = opened.lost.iter().map(|(object, _)| object.id);
        let lost: HashSet<Id> = lost.collect();
        let there = kept.root.segments.iter().filter(|object| !lost.contains(&object.id));
        let dead = opened.index.dead();
        for (at, (object, segment)) in there.zip(opened.index.segments()).enumerate() {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            let some_dead = dead.iter().any(|frame| frame.segment == at);
            for frame in dead.iter().filter(|frame| frame.segment == at) {
                self.patched.extend(opened.index.frame(*frame).map(|(_, pack)| pack));
            }
            // What has another place in this root may have none in another one.
            let again = self.partly.remove(&object.id) || some_dead;
            if self.segments.insert(object.id, None).is_none() || again {
                let is_dead = |frame| dead.contains(&FrameId { segment: at, frame });
                self.segment(&object.id, segment, &is_dead)?;
            }
            if some_dead {
                self.partly.insert(object.id);
            }
        }
        listed(self);
        self.needed.insert(tree::key(&kept.root.tree.id), Some(kept.root.tree.id));
        match &opened.tree {
            Ok(tree) => self.tree(kept, tree, opened.lost.is_empty().then_some(&opened.index)),
            Err(error) => {
                damage::may_go_on(&error.clone().into())?;
                self.knows_all = false;
                let id = kept.root.tree.id;
                if !self.trees.contains_key(&id) {
                    let damage = Damage::of(What::Tree, &tree::key(&id), error);
                    let at = self.add(damage);
                    self.trees.insert(id, Some(at));
                }
                Ok(())
            }
        }
    }

    /// Counts what no root needs.
    fn unneeded(&self) -> Result<Option<(u64, u64)>, Error> {
        if !self.knows_all {
            return Ok(None);
        }
        let (mut count, mut bytes) = (0, 0);
        for folder in ["roots/", "packs/", "index/", "trees/"] {
            for key in self.storage.list(folder)? {
                if !self.needed.contains_key(&key) {
                    count += 1;
                    // What is gone meanwhile has no bytes any more.
                    bytes += self.storage.size(&key).unwrap_or(0);
                }
            }
        }
        Ok(Some((count, bytes)))
    }
}

//! From a layer to a root.
//!
//! Order of writes: the layer is sealed, and a new one begun (journal and spool, synced). Then, as
//! for any commit, packs, index, tree, root, each synced before the next; before the root, the
//! journal is told which one it is to become, so that nobody else's is taken for that. Publishing
//! the root is the commit. After that the journal of the layer above is told that it rests on that
//! root; then the journal of the sealed layer is removed, the folder synced, and its spool removed.
//! A crash before the root leaves both layers; one after it leaves a journal whose changes the root
//! has: it says what is so, not what was done, so it can be applied once more. Who does so first
//! tells it that it rests on the newest root, as the commit that follows makes one more.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::extents::{Part, parts};
use super::layer::{Ground, Layer, Node};
use super::open::{base_of, expect};
use super::plant::plant;
use super::state::{Below, Span};
use super::{LiveFs, data};
use crate::format::{Id, Kind};
use crate::fs::{ArchiveFs, FsError, Owner};
use crate::ingest::{
    self, Catalog, CreateError, CreateOptions, End, Feeder, File, Following, Gone, Item, Known,
    Packed, Prepared, Stretch, follow,
};
use crate::monitor::Quiet;
use crate::storage::{Storage, StorageError, Undo};
use crate::store::{At, Store};
use crate::tree::ROOT;

/// Files are read in bites of so many bytes.
const BITE: u64 = 1 << 20;
/// A job has at most so many cuts, or about so many bytes.
const JOB: (usize, u64) = (256, 4 << 20);

/// Why a commit failed. Nothing is lost: all that it was to commit stays in journal and spool.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something could not be written or read.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// Data that was to be committed could not be read.
    #[error("{0}")]
    Data(#[from] FsError),
    /// The new root cannot be opened.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// What keeps the store healthy cannot be done.
    #[error(transparent)]
    Maintain(#[from] crate::maintain::Error),
}

impl From<StorageError> for CommitError {
    fn from(error: StorageError) -> Self {
        Self::Create(error.into())
    }
}

/// What commits keep for one another.
#[derive(Debug, Default)]
pub struct Committer {
    /// The blocks that the archive has, and the origins of its tree.
    pub(super) known: Option<(Known, Vec<Id>)>,
    /// The root of the oldest sealed layer, once it may be there: no other may take its place.
    prepared: Option<Prepared>,
    /// Whether that root is not sure to stay.
    unsure: bool,
    /// A layer that is committed, and whose files could not be removed. Before they are, nothing
    /// more is committed: they would be taken for newer than it.
    committed: Option<Arc<Layer>>,
}

/// Bytes of a file that are cut anew.
struct CutJob {
    ino: u64,
    from: u64,
    to: u64,
}

/// A changed file: its parts, and what became of those that are cut.
struct Changed {
    ino: u64,
    parts: Vec<Part>,
}

impl LiveFs {
    /// Makes all changes so far a new root, and returns its number; `None` if there were none.
    ///
    /// # Errors
    /// If it cannot be written. Then the changes stay where they are, and the next commit takes
    /// them along.
    pub fn commit(&self) -> Result<Option<u64>, CommitError> {
        let mut committer = self.committer.lock();
        self.signals.packing(true);
        let committed = self.commit_all(&mut committer);
        self.signals.packing(false);
        committed
    }

    /// As [`LiveFs::commit`], for who goes on with that root before the next commit.
    pub(super) fn commit_all(&self, committer: &mut Committer) -> Result<Option<u64>, CommitError> {
        self.home.check()?;
        self.remove_committed(committer)?;
        let mut number = None;
        // What an earlier attempt, or a crash, left.
        while self.state.read().below.layers.last().is_some() {
            number = self.commit_oldest(committer)?.or(number);
        }
        if self.seal()? {
            number = self.commit_oldest(committer)?.or(number);
        }
        Ok(number)
    }

    /// Seals the active layer and begins a new one; false if nothing has changed.
    fn seal(&self) -> Result<bool, StorageError> {
        let number = {
            let state = self.state.read();
            if state.active.is_empty() {
                return Ok(false);
            }
            state.active.number
        };
        let fresh = Layer::create(&self.live, number + 1, Ground::Layer(number))?;
        let _gate = self.gate.write();
        let mut state = self.state.write();
        state.active.hand_over();
        let sealed = Arc::new(std::mem::replace(&mut state.active, fresh));
        for (ino, below) in &mut state.orphans {
            if sealed.nodes.contains_key(ino) {
                below.layers.insert(0, Arc::clone(&sealed));
            }
        }
        state.below.layers.insert(0, sealed);
        Ok(true)
    }

    /// Commits the oldest sealed layer.
    fn commit_oldest(&self, committer: &mut Committer) -> Result<Option<u64>, CommitError> {
        let Below { layers, base } = self.state.read().below.clone();
        let Some(layer) = layers.last() else { return Ok(None) };
        let below = Below { layers: vec![Arc::clone(layer)], base };
        // What follows makes it safe in any case.
        if let Err(error) = layer.log.sync(&layer.spool, None) {
            log::warn!("{error}; it is committed now");
        }
        layer.log.end();
        if committer.prepared.is_none() {
            let prepared = self.prepare_root(&below, committer);
            if prepared.is_err() {
                // It may know blocks that were taken back.
                committer.known = None;
            }
            committer.prepared = prepared?;
        }
        let base = match &committer.prepared {
            None => Arc::clone(&below.base),
            Some(prepared) => {
                if committer.unsure {
                    prepared.publish(&*self.storage)?;
                    committer.unsure = false;
                }
                let store = below.base.store().also(&At::Head)?;
                if store.root().0 != prepared.key {
                    let lost = format!("{}: is not the newest root", prepared.key);
                    return Err(CreateError::Doubt(lost).into());
                }
                Arc::new(ArchiveFs::new(Arc::new(store), Owner::default()))
            }
        };
        let number = committer.prepared.take().map(|prepared| prepared.root.number);
        self.settle(layer, base);
        self.carry_orphans();
        committer.committed = Some(Arc::clone(layer));
        self.signals.committed();
        self.remove_committed(committer)?;
        Ok(number)
    }

    fn remove_committed(&self, committer: &mut Committer) -> Result<(), StorageError> {
        if let Some(layer) = &committer.committed {
            let (above, base) = {
                let state = self.state.read();
                let above = state.below.layers.last().map_or(&state.active.log, |layer| &layer.log);
                (Arc::clone(above), base_of(state.below.base.store()))
            };
            // Before its files are gone: if then the root is lost, that is seen.
            above.rest_on(&base)?;
            let name = || super::layer::journal_path(&self.live, layer.number);
            let fail = |error| StorageError::io(&name().display().to_string(), error);
            layer.remove(&self.live).map_err(fail)?;
        }
        committer.committed = None;
        Ok(())
    }

    /// Puts `base` below, which has all that `layer` has.
    fn settle(&self, layer: &Arc<Layer>, base: Arc<ArchiveFs>) {
        let mut state = self.state.write();
        let state = &mut *state;
        let old = Arc::clone(&state.below.base);
        for (ino, node) in &layer.nodes {
            if !node.is_there() || node.inode.nlink > 0 {
                continue;
            }
            if !self.is_known(*ino) {
                state.orphans.remove(ino);
            } else if !state.orphans.contains_key(ino) {
                let with = |layer: &&Arc<Layer>| layer.nodes.contains_key(ino);
                let layers = state.below.layers.iter().filter(with).cloned().collect();
                state.orphans.insert(*ino, Below { layers, base: Arc::clone(&old) });
            }
        }
        state.below.layers.pop();
        state.below.base = base;
        self.weigh(state.held());
    }

    /// Writes all of the commit of the only layer of `below`, and publishes its root; `None` if
    /// nothing came of the changes.
    fn prepare_root(
        &self,
        below: &Below,
        committer: &mut Committer,
    ) -> Result<Option<Prepared>, CommitError> {
        let Below { layers, base } = below;
        let (Some(layer), store) = (layers.first(), base.store()) else { return Ok(None) };
        let mut changed = Vec::new();
        for (ino, node) in layer.sorted() {
            if let Some(parts) = changed_parts(below, ino, node)? {
                changed.push(Changed { ino, parts });
            }
        }
        let options = self.create_options(store);
        let known = committer.known.take();
        let (known, origins) = known.unwrap_or_else(|| Known::of(store, &Quiet::default()));
        let undo = Undo::new(&*self.storage);
        let (packed, data) = pack(below, layer, changed, known, &undo, &options)?;
        let Packed { index, origin, known, savings, .. } = packed;
        let origins: Vec<Id> = origins.into_iter().chain(origin).collect();
        let slot = u32::try_from(origins.len() + 1).unwrap_or(u32::MAX);
        let planted = plant(layer, base, data, origins.clone(), options.threads)?;
        let Some(mut planted) = planted else { return Ok(None) };
        planted.totals.unique = savings.unique;
        let created = super::now().sec;
        let following = Following { store: Some(store), planted, index, created };
        let prepared = follow(following, &undo)?;
        expect(&layer.log, &prepared.key)?;
        if let Err(error) = prepared.publish(&*self.storage) {
            if prepared.is_absent(&*self.storage) {
                return Err(error.into());
            }
            // It may stay nevertheless: then nothing that it names may go.
            log::warn!("{error}; it is written once more");
            committer.unsure = true;
        }
        let _ = undo.keep();
        let mut known = known;
        known.go_on(slot);
        committer.known = Some((known, origins));
        Ok(Some(prepared))
    }

    /// How data is packed: as the store says, and as whoever mounted it wants it.
    fn create_options(&self, store: &Store) -> CreateOptions {
        let config = store.config();
        CreateOptions {
            cutting: config.cutting,
            hash: config.hash,
            hash_len: config.hash_len,
            level: self.options.level,
            ..CreateOptions::default()
        }
    }
}

/// The parts of a file whose data has changed; `None` if it has not, or nobody will see it.
fn changed_parts(below: &Below, ino: u64, node: &Node) -> Result<Option<Vec<Part>>, CommitError> {
    if !node.is_file() || node.inode.nlink == 0 {
        return Ok(None);
    }
    let old = below.base.row(ino)?.map(|(inode, ..)| inode.size);
    let same = node.pieces.is_empty() && old == Some(node.inode.size);
    if same && node.inherited == node.inode.size {
        return Ok(None);
    }
    let mut spans = Vec::new();
    below.spans(ino, 0, node.inode.size, &mut spans);
    Ok(Some(parts(&below.base, ino, &spans)?))
}

/// Packs what is cut of the changed files; returns what came of it, and where all their data lies.
fn pack(
    below: &Below,
    layer: &Layer,
    changed: Vec<Changed>,
    known: Known,
    storage: &dyn Storage,
    options: &CreateOptions,
) -> Result<(Packed, HashMap<u64, Vec<Stretch>>), CommitError> {
    let order = order(layer, &changed);
    let cuts = |changed: &Changed| {
        let ino = changed.ino;
        let cut = move |part: &Part| match *part {
            Part::Cut { from, to } => Some(CutJob { ino, from, to }),
            Part::Kept(_) => None,
        };
        changed.parts.iter().filter_map(cut).collect::<Vec<_>>()
    };
    let cuts: Vec<CutJob> = order.iter().flat_map(|at| cuts(&changed[*at])).collect();
    let failure = Mutex::new(None);
    let work = |cuts: &[CutJob], feeder: &mut Feeder| {
        cuts.iter().try_for_each(|cut| {
            read(below, cut, feeder).map_err(|error| {
                if let Reading::Failed(error) = error {
                    *failure.lock() = Some(error);
                }
                Gone
            })
        })
    };
    let packing = options.packing(false);
    let packed = ingest::pack(jobs(&cuts), work, known, &packing, storage, &Quiet::default());
    if let Some(error) = failure.into_inner() {
        return Err(error.into());
    }
    let mut packed = packed?;
    let mut outcomes = std::mem::take(&mut packed.outcomes).into_iter();
    let mut data = HashMap::new();
    for at in order {
        let mut stretches = Vec::new();
        for part in &changed[at].parts {
            match part {
                Part::Kept(stretch) => stretches.push(*stretch),
                Part::Cut { .. } => {
                    let outcome = outcomes.next().ok_or(CreateError::Thread)?;
                    stretches.extend(outcome.stretches);
                }
            }
        }
        data.insert(changed[at].ino, stretches);
    }
    Ok((packed, data))
}

/// Cuts, a few at a time.
fn jobs(cuts: &[CutJob]) -> impl Iterator<Item = &[CutJob]> {
    let mut rest = cuts;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |cut: &&CutJob| {
            let fits = bytes < JOB.1;
            bytes += cut.to - cut.from;
            fits
        };
        let count = rest.iter().take(JOB.0).take_while(fits).count();
        let (job, left) = rest.split_at(count);
        rest = left;
        (count > 0).then_some(job)
    })
}

/// Why data could not be handed over.
enum Reading {
    Gone,
    Failed(FsError),
}

impl From<Gone> for Reading {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Reads what is to be cut, and cuts it.
fn read(below: &Below, cut: &CutJob, feeder: &mut Feeder) -> Result<(), Reading> {
    let mut at = cut.from;
    let mut spans: Vec<Span> = Vec::new();
    while at < cut.to {
        let end = cut.to.min(at + BITE);
        spans.clear();
        below.spans(cut.ino, at, end, &mut spans);
        for span in &spans {
            let read = data::read_span(&below.base, cut.ino, span, feeder.buffer(), false);
            read.map_err(Reading::Failed)?;
        }
        at = end;
        feeder.cut(at == cut.to)?;
    }
    Ok(feeder.tell(Item::End(End { file: 0, digest: None, trouble: None }))?)
}

/// The order in which changed files are packed: that of [`ingest::order`], as far as names are
/// known here; those of which only the data has changed come last, by their numbers.
fn order(layer: &Layer, changed: &[Changed]) -> Vec<usize> {
    let mut names: HashMap<u64, (u64, &[u8])> = HashMap::new();
    for (folder, entries) in &layer.names {
        for (name, found) in entries.iter().filter_map(|(name, to)| Some((name, (*to)?))) {
            // Of several names the first, so that the order depends on nothing else.
            let first = names.entry(found.inode).or_insert((*folder, name));
            *first = (*first).min((*folder, name));
        }
    }
    let mut catalog = Catalog::default();
    catalog.files.push(File::implied());
    let mut folders = HashMap::from([(ROOT, 0)]);
    let (mut by_file, mut nameless) = (HashMap::new(), Vec::new());
    for (at, Changed { ino, .. }) in changed.iter().enumerate() {
        let Some((folder, name)) = names.get(ino) else {
            nameless.push(at);
            continue;
        };
        let folder = folder_of(*folder, &names, &mut folders, &mut catalog);
        let node = layer.nodes.get(ino).map_or(0, |node| node.inode.size);
        let file = File { mode: Kind::File.mode(), size: node, ..File::default() };
        by_file.insert(catalog.add(folder, (*name).into(), file), at);
    }
    let (ordered, _) = ingest::order(&catalog, None);
    ordered.iter().filter_map(|file| by_file.get(file).copied()).chain(nameless).collect()
}

/// The place of a folder in the catalog; the folders around it are added as far as they are known.
fn folder_of(
    ino: u64,
    names: &HashMap<u64, (u64, &[u8])>,
    folders: &mut HashMap<u64, u32>,
    catalog: &mut Catalog,
) -> u32 {
    let mut path = Vec::new();
    let mut at = ino;
    while !folders.contains_key(&at) {
        let known = names.get(&at).filter(|_| path.len() < 4096);
        path.push((at, known.map(|(_, name)| *name)));
        at = known.map_or(ROOT, |(around, _)| *around);
    }
    let mut around = folders.get(&at).copied().unwrap_or(0);
    for (ino, name) in path.into_iter().rev() {
        let name = name.map_or_else(|| format!("{ino:020}").into_bytes(), <[u8]>::to_vec);
        around = catalog.add(around, name.into(), File::implied());
        folders.insert(ino, around);
    }
    around
}

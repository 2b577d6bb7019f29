//! From a store to a file system that can be written to, also after a crash.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::LiveFs;
use super::layer::{Ground, Layer, Node, journal_path, remove_file, spool_path};
use super::log::{Beginning, HEAD_LEN, Log};
use super::packer::Signals;
use super::state::{Below, State};
use crate::format::{JournalBase, JournalHead};
use crate::fs::{ArchiveFs, Owner};
use crate::ingest::{CreateError, may_follow};
use crate::pack::Level;
use crate::storage::{self, Announced, ErrorKind, Lock, Storage, StorageError};
use crate::store::{OpenOptions, Store, default_working_set, parse_root};

/// The folder of a store that has the lock, journals and spools of its writer.
pub const LIVE: &str = "live";

/// How a store is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveOptions {
    /// Budget of the working set, in bytes.
    pub working_set: u64,
    /// Most bytes that are written and not packed yet: whoever writes more waits.
    pub spool: u64,
    /// Most memory for changes that are not committed yet, about, in bytes: whoever makes more
    /// waits.
    pub memory: usize,
    /// How long nothing must have been written before what was is packed.
    pub freeze_after: Duration,
    /// How hard data is compressed.
    pub level: Level,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            working_set: default_working_set(),
            spool: 4 << 30,
            memory: 512 << 20,
            freeze_after: Duration::from_secs(10),
            level: Level::default(),
        }
    }
}

/// The numbers of the journals that there are, or of the spools, in order.
///
/// # Errors
/// If they cannot be listed.
pub(super) fn numbers(
    live: &Path,
    path: fn(&Path, u64) -> PathBuf,
) -> Result<Vec<u64>, StorageError> {
    let list = || -> std::io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(live)? {
            let file = entry?.file_name();
            let number = file.to_str().and_then(|file| file.split_once('-')?.1.parse().ok());
            numbers.extend(number.filter(|number| path(live, *number) == live.join(&file)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    };
    match list() {
        Ok(numbers) => Ok(numbers),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StorageError::io(&live.display().to_string(), error)),
    }
}

/// Whether a store in a folder has changes that were not committed: then it must be written to
/// only by who takes them along.
///
/// # Errors
/// If that cannot be found out.
pub fn has_changes(store: &Path) -> Result<bool, StorageError> {
    let live = store.join(LIVE);
    let longer = |number: &u64| {
        let about = fs::symlink_metadata(journal_path(&live, *number));
        about.is_ok_and(|about| !is_blank(&about))
    };
    Ok(numbers(&live, journal_path)?.iter().any(longer))
}

impl LiveFs {
    /// Opens the store in the folder `store` to be written to, with all that was written to it
    /// before and is not committed yet.
    ///
    /// # Errors
    /// If it is no store in a folder, somebody else writes to it, or what was written before is
    /// damaged.
    pub fn open(store: &Path, options: LiveOptions) -> Result<Self, CreateError> {
        let name = store.display().to_string();
        let kind = fs::metadata(store).map_err(|error| StorageError::io(&name, error))?;
        if !kind.is_dir() {
            return Err(ErrorKind::ReadOnly.of(&name).into());
        }
        Self::open_over(store, storage::open(store)?, options)
    }

    /// The same, of a store whose objects are read and written through that `storage`.
    ///
    /// # Errors
    /// As [`LiveFs::open`].
    pub fn open_over(
        store: &Path,
        storage: Arc<dyn Storage>,
        options: LiveOptions,
    ) -> Result<Self, CreateError> {
        let working_set = options.working_set;
        let open = || {
            let opened = Store::open(
                Arc::clone(&storage),
                OpenOptions { working_set, ..OpenOptions::default() },
            );
            opened.map_err(|error| CreateError::Doubt(error.to_string()))
        };
        // Before the lock, which makes a folder: it may be no store at all.
        may_follow(&open()?)?;
        let home = Arc::new(Home { lock: Lock::take(store)?, store: store.to_owned() });
        let root = open()?;
        may_follow(&root)?;
        let live = store.join(LIVE);
        let base = Arc::new(ArchiveFs::new(Arc::new(root), Owner::default()));
        let state = recover(&live, Below { layers: Vec::new(), base })?;
        let owner = Arc::clone(&home);
        let storage = Arc::new(Announced::new(storage, Box::new(move |_| owner.check())));
        Ok(Self {
            storage,
            live,
            options,
            state: RwLock::new(state),
            gate: RwLock::default(),
            known: std::array::from_fn(|_| Mutex::default()),
            lists: super::Lists::default(),
            leaving: super::Leaving::default(),
            signals: Signals::default(),
            committer: Mutex::default(),
            started: Instant::now(),
            home,
        })
    }
}

/// The store that is written to, and the right to do so.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) lock: Lock,
    store: PathBuf,
}

impl Home {
    /// Makes sure that the store is where it was. Who moved it, or put another one in its place,
    /// means that one to stay what it is.
    ///
    /// # Errors
    /// If it is not: then nothing may be written below its path.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        if self.lock.is_at(&self.store) {
            return Ok(());
        }
        let why = "the store was moved away while it is mounted; move it back, or unmount: \
                   what was written stays with it and goes on with its next mount --rw";
        let name = self.store.display().to_string();
        Err(StorageError::io(&name, std::io::Error::other(why)))
    }
}

/// The root that a store is opened at, as a journal names it.
pub fn base_of(store: &Store) -> JournalBase {
    let (number, root) = parse_root(store.root().0).unwrap_or_default();
    JournalBase { number, root }
}

/// Tells a journal of a root that is about to be the newest, by the key of that; other objects are
/// none of its business.
///
/// # Errors
/// If it cannot be written.
pub(super) fn expect(log: &Log, key: &str) -> Result<(), StorageError> {
    let next = parse_root(key).map(|(number, root)| JournalBase { number, root });
    next.map_or(Ok(()), |next| log.expect(&next))
}

/// Takes up what was left behind: the newest layer goes on, older ones were being committed.
fn recover(live: &Path, mut below: Below) -> Result<State, StorageError> {
    let store = below.base.store();
    let mut next = store.tree().footer().next_inode;
    let (newest, mut behind) = (base_of(store), false);
    let mut layers: Vec<Layer> = Vec::new();
    let journals = numbers(live, journal_path)?;
    let number = journals.last().copied().unwrap_or(0);
    for journal in journals {
        let path = journal_path(live, journal);
        // Nothing was ever written to it: whatever it was to rest on.
        if journal == number && fs::metadata(&path).is_ok_and(|about| is_blank(&about)) {
            continue;
        }
        let opened = Layer::open(live, journal, layers.last(), |it| {
            behind |= layers.is_empty() && it.base != Ok(newest);
            rests(it, layers.last().map(|layer| layer.number), store)
        });
        let Some(mut layer) = opened? else { return Err(never_begun(&path)) };
        next = layer.nodes.keys().fold(next, |next, number| next.max(number.saturating_add(1)));
        // Nobody has them open any more.
        let nameless = |(number, node): (&u64, &Node)| (node.inode.nlink == 0).then_some(*number);
        let nameless: Vec<u64> = layer.nodes.iter().filter_map(nameless).collect();
        nameless.into_iter().for_each(|number| layer.take_away(number));
        tell_holes(&mut layer, &layers, &below.base);
        layers.push(layer);
    }
    // All of it can be used. Nothing was changed so far.
    if let Some(lowest) = layers.first().filter(|_| behind) {
        // It is committed once more. If that is cut short, too, it would be two roots behind.
        lowest.log.rest_on(&newest)?;
    }
    let used: Vec<u64> = layers.iter().map(|layer| layer.number).collect();
    remove_unused(live, &used)?;
    let active = match layers.pop() {
        Some(layer) if layer.number == number => {
            layer.log.trim()?;
            layer
        }
        last => {
            layers.extend(last);
            let after = number.checked_add(1);
            let path = journal_path(live, number).display().to_string();
            let after = after.ok_or_else(|| ErrorKind::TooLong.of(&path))?;
            let root = || Ground::Root(newest);
            let ground = layers.last().map_or_else(root, |layer| Ground::Layer(layer.number));
            Layer::create(live, after, ground)?
        }
    };
    below.layers = layers.into_iter().rev().map(Arc::new).collect();
    if !below.layers.is_empty() || !active.is_empty() {
        log::info!("{}: goes on with what was written before", live.display());
    }
    Ok(State { active, below, orphans: HashMap::new(), next })
}

/// A later journal rests on one that has no head.
pub(super) fn never_begun(journal: &Path) -> StorageError {
    let why = format!("cut short: it ends before byte {HEAD_LEN}");
    ErrorKind::Left(why).of(&journal.display().to_string())
}

/// Whether a journal has nothing but its head, or not even that.
pub(super) fn is_blank(about: &fs::Metadata) -> bool {
    about.is_file() && about.len() <= HEAD_LEN as u64
}

/// Whether what a journal rests on is there: the layer below, or else the root that has it. That is
/// the newest one; or one before, if the newest is the one that was about to follow it.
pub(super) fn rests(
    beginning: &Beginning,
    under: Option<u64>,
    store: &Store,
) -> Result<(), ErrorKind> {
    let JournalHead { below, .. } = beginning.head;
    if below > 0 && under == Some(below) {
        return Ok(());
    }
    let newest = base_of(store);
    match &beginning.base {
        _ if under.is_none() && beginning.next == Some(newest) => Ok(()),
        Ok(base) if under.is_none() => {
            if *base == newest {
                Ok(())
            } else {
                Err(ErrorKind::Newer(base.number))
            }
        }
        Err(error) if below == 0 => Err(ErrorKind::left(error)),
        _ => Err(ErrorKind::Apart(below)),
    }
}

/// What a journal does not tell: how many bytes of what a file has from below are holes.
fn tell_holes(layer: &mut Layer, older: &[Layer], base: &ArchiveFs) {
    for (number, node) in layer.nodes.iter_mut().filter(|(_, node)| node.inherited > 0) {
        let changed = older.iter().rev().find_map(|older| older.nodes.get(number));
        node.inode.holes = match changed {
            Some(below) => below.holes(),
            // Where the page is damaged, so is the file.
            None => base.row(*number).ok().flatten().map_or(0, |(inode, ..)| inode.holes),
        };
    }
}

/// Removes a journal that was never begun, and spools that no journal refers to.
fn remove_unused(live: &Path, used: &[u64]) -> Result<(), StorageError> {
    for path in [journal_path, spool_path] {
        let numbers = numbers(live, path)?.into_iter().filter(|number| !used.contains(number));
        for path in numbers.map(|number| path(live, number)) {
            let removed = remove_file(&path);
            removed.map_err(|error| StorageError::io(&path.display().to_string(), error))?;
        }
    }
    Ok(())
}

//! An opened archive: its settings, root, index and tree, and the frames that its data lies in.

mod error;
mod frame;
mod keys;
mod load;
mod lost;
mod opening;
pub mod snapshots;
mod working_set;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use error::{Cause, Error};
pub use frame::{Frame, INFLATED};
pub use keys::{
    CONFIG, INDEX, ROOTS, SNAPSHOTS, index_key, parse_root, parse_snapshot, root_key, snapshot_key,
};

pub use lost::lost_root;
pub use opening::open_segment;
pub use working_set::{WorkingSet, default_working_set};

use opening::{Opened, Opening};
use working_set::weight;

use crate::buffers::Buffers;
use crate::cache::Counts;
use crate::format::{Config, FormatError, Id, Kind, ObjectRef, Problem, Root, Section, compatible};
use crate::index::{FrameId, Index, Missing, Origin};
use crate::parity::Healer;
use crate::storage::{Lease, Storage, StorageError};
use crate::tree::{self, Tree};

/// A frame is inflated ahead of its reader where so many of its length may be.
const FRAMES: u64 = 2;
/// How often roots are listed anew because one was collected meanwhile.
const TRIES: usize = 8;
/// Longest settings file and root, in bytes.
const MAX_SMALL: u64 = 16 << 20;

/// The root that an archive is opened at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum At {
    /// The newest.
    #[default]
    Head,
    /// The one that the snapshot of that name is of.
    Snapshot(String),
    /// The one of that number.
    Number(u64),
    /// The one of that key.
    Key(String),
}

/// How an archive is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The root that it shows.
    pub at: At,
    /// Budget of the working set, in bytes.
    pub working_set: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { at: At::Head, working_set: default_working_set() }
    }
}

/// An archive, opened at one of its roots.
#[derive(Debug)]
pub struct Store {
    storage: Arc<dyn Storage>,
    config: Config,
    head: Head,
    opening: Opening,
    tree: Tree,
    working_set: Arc<WorkingSet>,
    /// Numbers of the index's segments in the working set.
    numbers: Vec<u32>,
    healer: Healer,
}

impl Store {
    /// Opens an archive: reads its settings, a root, and the index and page tables of that.
    ///
    /// # Errors
    /// If it is no archive, or one of these is missing or does not check out.
    pub fn open(storage: Arc<dyn Storage>, options: OpenOptions) -> Result<Self, Error> {
        Self::begin(storage, options)?.complete()
    }

    /// As [`Store::open`], but its index is still being read: who needs that waits for it, and
    /// reads nothing if it does not check out, which [`Store::check_index`] tells.
    ///
    /// # Errors
    /// If it is no archive, or one of these but the index is missing or does not check out.
    pub fn begin(storage: Arc<dyn Storage>, options: OpenOptions) -> Result<Self, Error> {
        Self::begin_with(storage, &options.at, Arc::new(WorkingSet::new(options.working_set)))
    }

    /// Opens a root that there is now, for whoever goes on from this one, or looks at both: with
    /// the same working set.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn also(&self, at: &At) -> Result<Self, Error> {
        let (storage, working_set) = (Arc::clone(&self.storage), Arc::clone(&self.working_set));
        Self::begin_with(storage, at, working_set)?.complete()
    }

    fn begin_with(
        storage: Arc<dyn Storage>,
        at: &At,
        working_set: Arc<WorkingSet>,
    ) -> Result<Self, Error> {
        let config = read_config(&*storage)?;
        let head = match at {
            At::Head => read_head(&*storage, None)?,
            At::Number(number) => read_head(&*storage, Some(*number))?,
            At::Snapshot(name) => snapshots::read_root(&*storage, name)?,
            At::Key(key) => {
                let lease = storage.lease(key)?;
                let (root, compatible) = read_root(&*storage, key)?;
                Head { key: key.clone(), root, compatible, doubt: None, lease }
            }
        };
        let root = &head.root;
        let tree = open_tree(&storage, &root.tree)?;
        // Not before: the disk would serve it first.
        let opening = Opening::start(&storage, root);
        let numbers = root.segments.iter().map(|object| working_set.number(object.id)).collect();
        let healer = Healer::default();
        Ok(Self { storage, config, head, opening, tree, working_set, numbers, healer })
    }

    fn complete(self) -> Result<Self, Error> {
        self.check_index().map(|()| self)
    }

    /// Waits until its index is read.
    ///
    /// # Errors
    /// If it is missing or does not check out.
    pub fn check_index(&self) -> Result<(), Error> {
        self.opened().error.clone().map_or(Ok(()), Err)
    }

    fn opened(&self) -> &Opened {
        self.opening.opened(&*self.storage, &self.head.root, &self.tree)
    }

    /// Why the root that it was opened at may not be the one that was meant (the newest, if no
    /// other was asked for); `None` if it is.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        self.head.doubt.as_deref()
    }

    /// Bits of compatible features in its root, index and tree: version 1 knows none, and who
    /// does not know them may read, but not write.
    #[must_use]
    pub fn compatible(&self) -> u32 {
        self.head.compatible | self.tree.compatible() | self.opened().compatible
    }

    /// Another tree of the same storage.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn with_tree(&self, object: &ObjectRef) -> Result<Tree, StorageError> {
        Tree::open(Arc::clone(&self.storage), object)
    }

    /// What a user calls it: its path.
    #[must_use]
    pub fn name(&self) -> String {
        self.storage.name()
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The root it was opened at, and that root's key.
    #[must_use]
    pub fn root(&self) -> (&str, &Root) {
        (&self.head.key, &self.head.root)
    }

    /// How its working set was used.
    #[must_use]
    pub fn working_set_counts(&self) -> Counts {
        self.working_set.frames.counts()
    }

    /// Budget of its working set, in bytes.
    #[must_use]
    pub fn working_set_budget(&self) -> u64 {
        self.working_set.budget
    }

    /// Bytes that were inflated for its working set.
    #[must_use]
    pub fn inflated_bytes(&self) -> u64 {
        self.working_set.inflated.load(Ordering::Relaxed)
    }

    /// Its index.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.opened().index
    }

    /// Its tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Where its objects lie.
    #[must_use]
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// As [`Store::storage`], to be kept.
    #[must_use]
    pub fn shared_storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.storage)
    }

    /// Where the blocks of an extent are listed; `slot` is the extent's origin, not 0.
    ///
    /// # Errors
    /// If the tree names no such origin.
    pub fn origin(&self, slot: u32) -> Result<&Origin, Missing> {
        let slot = (slot as usize).checked_sub(1).ok_or(Missing)?;
        self.opened().origins.get(slot).ok_or(Missing)
    }

    /// Buffers to put together in what comes from several frames.
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        &self.working_set.buffers
    }

    /// A frame, from the working set or through it, of which the first `wanted` bytes are about to
    /// be asked for; `inflated` is its whole length in bytes.
    ///
    /// # Errors
    /// If it cannot be read, or does not match its checksum.
    pub fn frame(&self, id: FrameId, inflated: u32, wanted: u32) -> Result<Arc<Frame>, Error> {
        let lost = || Error::new(&self.name(), Cause::Lost);
        self.working_set
            .frames
            .get(self.number(id), weight(inflated.into()), lost, || self.load(id, wanted))
    }

    /// What a frame is in the working set.
    fn number(&self, id: FrameId) -> FrameId {
        // One that the index does not have is not loaded.
        let segment = self.numbers.get(id.segment as usize).copied().unwrap_or(u32::MAX);
        FrameId { segment, ..id }
    }

    /// A frame whose first `wanted` bytes are in the working set, if they are.
    #[must_use]
    pub fn ready(&self, id: FrameId, wanted: u32) -> Option<Arc<Frame>> {
        self.working_set.frames.ready(&self.number(id), |frame| frame.has(wanted as usize))
    }

    /// Calls `with` with the first `wanted` bytes at least of a frame.
    ///
    /// A frame is inflated as far as it is wanted, and goes on from there when more is.
    ///
    /// # Errors
    /// As [`Store::frame`]; also if it does not inflate.
    pub fn reach<T>(
        &self,
        id: FrameId,
        frame: &Frame,
        wanted: u32,
        with: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Error> {
        let reached = frame.reach(wanted as usize, with);
        let (value, new) = reached.map_err(|problem| self.damaged(id, problem))?;
        if new > 0 {
            self.working_set.inflated.fetch_add(new as u64, Ordering::Relaxed);
            if let Some(whole) = frame.whole() {
                // What it took to go on is gone.
                self.working_set.frames.reweigh(&self.number(id), weight(whole.len() as u64));
            }
        }
        Ok(value)
    }

    /// How many bytes may be inflated ahead of a reader.
    #[must_use]
    pub fn ahead(&self) -> u64 {
        self.working_set.ahead()
    }

    /// Inflates the first `wanted` bytes of a frame, which are about to be read: if there is such
    /// a frame, and there is room for some of its length.
    ///
    /// # Errors
    /// As [`Store::reach`].
    pub fn prefetch(&self, id: FrameId, wanted: u32) -> Result<(), Error> {
        let Some((record, _)) = self.index().frame(id) else { return Ok(()) };
        if u64::from(record.inflated) * FRAMES > self.ahead() {
            return Ok(());
        }
        let wanted = wanted.min(record.inflated);
        let frame = self.frame(id, record.inflated, wanted)?;
        self.reach(id, &frame, wanted, |_| ())
    }
}

/// A tree, whose root is a folder.
fn open_tree(storage: &Arc<dyn Storage>, object: &ObjectRef) -> Result<Tree, Error> {
    let tree = Tree::open(Arc::clone(storage), object);
    let tree = tree.map_err(|error| Error::from(error).of_named())?;
    match tree.inode(tree::ROOT, |_, inode| inode.kind())?.flatten() {
        Some(Kind::Folder) => Ok(tree),
        _ => {
            let problem = Problem::Malformed("its root is no folder").of(Section::Tree);
            Err(format_error(&**storage, &tree::key(&object.id), problem))
        }
    }
}

fn format_error(storage: &dyn Storage, key: &str, error: FormatError) -> Error {
    Error::new(&storage.locate(key), Cause::Format(error))
}

/// The settings of an archive.
///
/// # Errors
/// If it has none, or they do not check out.
pub fn read_config(storage: &dyn Storage) -> Result<Config, Error> {
    let bytes = match storage.get(CONFIG, MAX_SMALL) {
        Err(error) if error.is_not_found() => {
            return Err(Error::new(&storage.name(), Cause::NotArchive));
        }
        bytes => bytes?,
    };
    Config::decode(bytes.as_ref()).map_err(|error| format_error(storage, CONFIG, error))
}

/// The root that an archive is opened at.
#[derive(Debug)]
struct Head {
    key: String,
    root: Root,
    compatible: u32,
    /// Why it may not be the one that was meant.
    doubt: Option<String>,
    /// Keeps what it names from being collected.
    #[expect(dead_code, reason = "holds the lease while it is open")]
    lease: Lease,
}

/// The newest root that checks out, of those of one number if that is given: nobody names the one
/// of highest number as a parent.
///
/// A root that does not check out does not exist; if no other does, what is wrong with it is why
/// the archive cannot be opened.
fn read_head(storage: &dyn Storage, only: Option<u64>) -> Result<Head, Error> {
    for _ in 0..TRIES {
        match newest_root(storage, only, true) {
            // It was collected since roots were listed: another has taken its place.
            Err(error) if error.is_not_found() => {}
            head => return head,
        }
    }
    newest_root(storage, only, false)
}

/// As [`read_head`]; `strict`: a root that is listed must be there.
fn newest_root(storage: &dyn Storage, only: Option<u64>, strict: bool) -> Result<Head, Error> {
    let mut keys = list_roots(storage)?;
    keys.retain(|(number, ..)| only.is_none_or(|only| only == *number));
    let mut passed: Vec<Error> = Vec::new();
    while let Some((number, id, key)) = keys.pop() {
        match lease_root(storage, &key, number, &id) {
            Ok((root, compatible, lease)) => {
                passed.iter().for_each(|error| log::warn!("{error}; an older root is used"));
                let other = keys.last().filter(|(other, ..)| *other == number);
                let other = other.map(|(.., other)| {
                    format!("{}: is as new as {key}; move one away", storage.locate(other))
                });
                other.iter().for_each(|other| log::warn!("{other}; the latter is used"));
                let passed =
                    passed.first().map(|error| format!("{error}; move it away if that cannot be"));
                let doubt = passed.or(other);
                return Ok(Head { key, root, compatible, doubt, lease });
            }
            Err(error) if strict && error.is_not_found() => return Err(error),
            Err(error) => passed.push(error),
        }
    }
    let none = || Error::new(&storage.name(), only.map_or(Cause::NoRoot, Cause::NoSuchRoot));
    Err(passed.into_iter().next().unwrap_or_else(none))
}

/// The roots that there are, whether or not they check out, the newest last: number, id and key.
///
/// # Errors
/// If they cannot be listed.
pub fn list_roots(storage: &dyn Storage) -> Result<Vec<(u64, Id, String)>, StorageError> {
    let number = |key: String| parse_root(&key).map(|(number, id)| (number, id, key));
    let mut roots: Vec<_> = storage.list(ROOTS)?.into_iter().filter_map(number).collect();
    roots.sort();
    Ok(roots)
}

/// The root of that key, and bits of compatible features in it.
///
/// # Errors
/// If it does not check out.
pub fn read_root(storage: &dyn Storage, key: &str) -> Result<(Root, u32), Error> {
    match parse_root(key) {
        Some((number, id)) => open_root(storage, key, number, &id),
        None => Err(format_error(storage, key, Problem::Malformed("no key").of(Section::Root))),
    }
}

/// As [`open_root`], and it stays as long as the lease.
fn lease_root(
    storage: &dyn Storage,
    key: &str,
    number: u64,
    id: &Id,
) -> Result<(Root, u32, Lease), Error> {
    let lease = storage.lease(key)?;
    let (root, compatible) = open_root(storage, key, number, id)?;
    Ok((root, compatible, lease))
}

fn open_root(storage: &dyn Storage, key: &str, number: u64, id: &Id) -> Result<(Root, u32), Error> {
    let bytes = storage.get(key, MAX_SMALL)?;
    let root = Root::decode(bytes.as_ref()).map_err(|error| format_error(storage, key, error))?;
    if blake3::hash(bytes.as_ref()).as_bytes() == id && root.number == number {
        return Ok((root, compatible(bytes.as_ref())));
    }
    Err(format_error(storage, key, Problem::Checksum.of(Section::Root)))
}

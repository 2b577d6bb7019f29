//! An opened archive: its settings, root, index and tree, and the frames that its data lies in.

mod error;
mod frame;
mod keys;

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

pub use error::{Cause, Error};
pub use frame::{Frame, INFLATED};
pub use keys::{CONFIG, INDEX, ROOTS, index_key, parse_root, root_key};

use frame::{Buffers, STEP};

use crate::cache::Cache;
use crate::format::{
    Config, ENVELOPE_LEN, FormatError, Id, Kind, MAX_TABLE, ObjectRef, Problem, Root, Section,
    Segment, check, compatible,
};
use crate::index::{FrameId, Index, Missing, Origin};
use crate::pack;
use crate::storage::{Bytes, Storage, StorageError};
use crate::tree::{self, Tree};

/// Default budget of the working set, in bytes.
pub const WORKING_SET: u64 = 512 << 20;
/// Longest settings file and root, in bytes.
const MAX_SMALL: u64 = 16 << 20;

/// How an archive is opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// Budget of the working set, in bytes.
    pub working_set: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { working_set: WORKING_SET }
    }
}

/// Inflated frames held in memory under a byte budget.
pub type WorkingSet = Cache<FrameId, Frame, Error>;

/// An archive, opened at its newest root.
#[derive(Debug)]
pub struct Store {
    storage: Arc<dyn Storage>,
    config: Config,
    head: Head,
    /// Compatible features of what a new root would name.
    compatible: u32,
    index: Index,
    tree: Tree,
    origins: Vec<Origin>,
    working_set: WorkingSet,
    buffers: Arc<Buffers>,
}

impl Store {
    /// Opens an archive: reads its settings, newest root, index and page tables.
    ///
    /// # Errors
    /// If it is no archive, or one of these is missing or does not check out.
    pub fn open(storage: Arc<dyn Storage>, options: OpenOptions) -> Result<Self, Error> {
        let config = read_config(&*storage)?;
        let head = read_head(&*storage)?;
        let root = &head.root;
        let open = |object| open_segment(&*storage, object);
        let segments = root.segments.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (segments, bits): (Vec<_>, Vec<u32>) = segments.into_iter().unzip();
        let index = Index::new(segments);
        let tree = Tree::open(Arc::clone(&storage), &root.tree)?;
        let kind = tree.inode(tree::ROOT, |_, inode| inode.kind())?.flatten();
        if kind != Some(Kind::Folder) {
            let problem = Problem::Malformed("its root is no folder").of(Section::Tree);
            return Err(format_error(&*storage, &tree::key(&root.tree.id), problem));
        }
        let compatible = bits.into_iter().fold(head.compatible | tree.compatible(), |a, b| a | b);
        let origins = tree.footer().origins.iter().map(|origin| index.origin(origin)).collect();
        let working_set = Cache::new(options.working_set);
        let buffers = Arc::default();
        Ok(Self { storage, config, head, compatible, index, tree, origins, working_set, buffers })
    }

    /// Why the root that it was opened at may not be the newest; `None` if it is.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        self.head.doubt.as_deref()
    }

    /// Bits of compatible features in its root, index and tree: version 1 knows none, and who
    /// does not know them may read, but not write.
    #[must_use]
    pub fn compatible(&self) -> u32 {
        self.compatible
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

    /// Its index.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
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

    /// Where the blocks of an extent are listed; `slot` is the extent's origin, not 0.
    ///
    /// # Errors
    /// If the tree names no such origin.
    pub fn origin(&self, slot: u32) -> Result<&Origin, Missing> {
        (slot as usize).checked_sub(1).and_then(|slot| self.origins.get(slot)).ok_or(Missing)
    }

    /// The first `wanted` bytes at least of an inflated frame, from the working set or through it;
    /// `inflated` is its whole length in bytes.
    ///
    /// A frame is inflated as far as the first who wants it needs it, and whole for the second who
    /// needs more: a lone read shall not pay for all of it, nor a walk twice.
    ///
    /// # Errors
    /// If it cannot be read, does not match its checksum, or does not inflate.
    pub fn frame(&self, id: FrameId, inflated: u32, wanted: u32) -> Result<Arc<Frame>, Error> {
        let lost = || Error::new(&self.name(), Cause::Lost);
        let does = |frame: &Frame| frame.len() >= wanted as usize;
        self.working_set.get_where(id, inflated.into(), does, lost, |again| {
            self.load(id, if again { inflated } else { wanted })
        })
    }

    fn load(&self, id: FrameId, wanted: u32) -> Result<Frame, Error> {
        let (record, pack) =
            self.index.frame(id).ok_or_else(|| Error::new(&self.name(), Missing))?;
        let key = pack::key(&pack);
        let stored = self.storage.get_range(&key, record.offset, record.stored as usize)?;
        let damaged = |problem| {
            let object = format!("{}: frame at byte {}", self.storage.locate(&key), record.offset);
            Error::new(&object, Cause::Frame(problem))
        };
        if xxh3_64(&stored) != record.checksum {
            return Err(damaged(Problem::Checksum));
        }
        let length = record.inflated as usize;
        let wanted = (wanted as usize).next_multiple_of(STEP).min(length);
        let buffer = |length| self.buffers.take(length);
        let bytes = pack::inflate(record.codec, stored, length, wanted, &buffer);
        let bytes = bytes.map_err(damaged)?;
        Ok(Frame::new(bytes, &self.buffers))
    }
}

fn format_error(storage: &dyn Storage, key: &str, error: FormatError) -> Error {
    Error::new(&storage.locate(key), Cause::Format(error))
}

fn read_config(storage: &dyn Storage) -> Result<Config, Error> {
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
    /// Why it may not be the newest.
    doubt: Option<String>,
}

/// The newest root that checks out: nobody names the one of highest number as a parent.
///
/// A root that does not check out does not exist; if no other does, what is wrong with it is why
/// the archive cannot be opened.
fn read_head(storage: &dyn Storage) -> Result<Head, Error> {
    let mut keys: Vec<(u64, Id, String)> = storage
        .list(ROOTS)?
        .into_iter()
        .filter_map(|key| keys::parse_root(&key).map(|(number, id)| (number, id, key)))
        .collect();
    keys.sort();
    let mut passed: Vec<Error> = Vec::new();
    while let Some((number, id, key)) = keys.pop() {
        match open_root(storage, &key, number, &id) {
            Ok((root, compatible)) => {
                passed.iter().for_each(|error| log::warn!("{error}; an older root is used"));
                let other = keys.last().filter(|(other, ..)| *other == number);
                let other = other.map(|(.., other)| {
                    format!("{}: is as new as {key}; move one away", storage.locate(other))
                });
                other.iter().for_each(|other| log::warn!("{other}; the latter is used"));
                let passed =
                    passed.first().map(|error| format!("{error}; move it away if that cannot be"));
                let doubt = passed.or(other);
                return Ok(Head { key, root, compatible, doubt });
            }
            Err(error) => passed.push(error),
        }
    }
    let newest = passed.into_iter().next();
    Err(newest.unwrap_or_else(|| Error::new(&storage.name(), Cause::NoRoot)))
}

fn open_root(storage: &dyn Storage, key: &str, number: u64, id: &Id) -> Result<(Root, u32), Error> {
    let bytes = storage.get(key, MAX_SMALL)?;
    let root = Root::decode(bytes.as_ref()).map_err(|error| format_error(storage, key, error))?;
    if blake3::hash(bytes.as_ref()).as_bytes() == id && root.number == number {
        return Ok((root, compatible(bytes.as_ref())));
    }
    Err(format_error(storage, key, Problem::Checksum.of(Section::Root)))
}

fn open_segment(storage: &dyn Storage, object: &ObjectRef) -> Result<(Segment<Bytes>, u32), Error> {
    let key = index_key(&object.id);
    let limit = (MAX_TABLE + ENVELOPE_LEN) as u64;
    let bytes = storage.get(&key, limit)?;
    let fail = |error| format_error(storage, &key, error);
    if check(Section::Index, bytes.as_ref()).map_err(fail)? != object.checksum {
        return Err(fail(Problem::Checksum.of(Section::Index)));
    }
    let bits = compatible(bytes.as_ref());
    Ok((Segment::open(bytes).map_err(fail)?, bits))
}

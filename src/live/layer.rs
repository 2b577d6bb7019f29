//! The changes since a root, or since the layer below: what a journal comes to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log::{Beginning, Log};
use super::pieces::{Piece, Pieces};
use super::spool::Spool;
use crate::format::{
    Change, DataAt, Inode, JournalBase, JournalHead, Kind, Problem, Section, XattrSet, put_node,
};
use crate::storage::{ErrorKind, StorageError};
use crate::tree::Found;

/// What a change takes in a journal at most, about, in bytes; targets and attributes apart.
const NODE_BYTES: usize = 160;
/// What an inode takes in memory, about, in bytes; a name; and a range of a file.
const HELD: (usize, usize, usize) = (480, 120, 96);

/// An inode that was made or changed.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// All that it has; with mode 0 it is gone.
    pub inode: Inode,
    /// The target of a symlink.
    pub target: Box<[u8]>,
    /// Extended attributes.
    pub xattrs: XattrSet,
    /// Bytes before this are those of the layer below, where there is no piece; after it, zeros.
    pub inherited: u64,
    /// What was written.
    pub pieces: Pieces,
}

impl Node {
    /// Whether there is such an inode.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.inode.mode != 0
    }

    /// Bytes of a file that are not holes, about: what was written over others counts twice, up to
    /// the size of the file.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        let inherited = self.inherited.saturating_sub(self.inode.holes);
        (self.pieces.bytes() + inherited).min(self.inode.size)
    }

    /// Bytes of a file that are.
    #[must_use]
    pub fn holes(&self) -> u64 {
        self.inode.size.saturating_sub(self.allocated())
    }

    /// What its extended attributes and its target come to, in bytes.
    #[must_use]
    pub fn attribute_bytes(&self) -> usize {
        let xattrs = self.xattrs.iter().map(|(name, value)| name.len() + value.len());
        self.target.len() + xattrs.sum::<usize>()
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.inode.kind() == Some(Kind::File)
    }
}

/// The names in a folder that were made or changed; `None`: there is none of that name any more.
pub type Names = BTreeMap<Box<[u8]>, Option<Found>>;

/// What a new layer rests on.
#[derive(Debug, Clone, Copy)]
pub enum Ground {
    /// The layer of that number, and so on down to a root.
    Layer(u64),
    /// That root.
    Root(JournalBase),
}

/// All changes since the layer below.
#[derive(Debug)]
pub struct Layer {
    /// Its number: that of its journal and spool.
    pub number: u64,
    /// The inodes.
    pub nodes: HashMap<u64, Node>,
    /// The names, by folder.
    pub names: HashMap<u64, Names>,
    /// Where the written data is.
    pub spool: Arc<Spool>,
    /// Where it is written down.
    pub log: Arc<Log>,
    /// Changes that are not in the journal yet, but for those of `dirty` inodes.
    pending: Vec<u8>,
    dirty: HashSet<u64>,
    /// What the attributes of these come to, in bytes.
    dirty_bytes: usize,
    /// Ranges of the spool that nobody needs once that is in the journal.
    dropped: Vec<(u64, u64)>,
    /// What all that takes in memory, about, in bytes.
    held: usize,
}

impl Layer {
    /// Begins an empty layer of that number in the folder `live`, over that `ground`.
    ///
    /// # Errors
    /// If its journal or spool cannot be made.
    pub fn create(live: &Path, number: u64, ground: Ground) -> Result<Self, StorageError> {
        let (journal, path) = (journal_path(live, number), spool_path(live, number));
        let remove = || -> std::io::Result<()> {
            remove_file(&journal)?;
            remove_file(&path)
        };
        // What is there was never begun: the disk was full, say.
        remove().map_err(|error| StorageError::io(&journal.display().to_string(), error))?;
        let create = || -> Result<Self, StorageError> {
            let spool = Spool::create(&path)?;
            let (below, base) = match &ground {
                Ground::Layer(below) => (*below, None),
                Ground::Root(base) => (0, Some(base)),
            };
            let log = Log::create(&journal, JournalHead { number, below }, base)?;
            Ok(Self::new(number, spool, log))
        };
        create().inspect_err(|_| {
            let _ = remove();
        })
    }

    fn new(number: u64, spool: Spool, log: Log) -> Self {
        let (nodes, names, pending, dirty, dirty_bytes, dropped) = Default::default();
        let (spool, log) = (Arc::new(spool), Arc::new(log));
        let held = 0;
        Self { number, nodes, names, spool, log, pending, dirty, dirty_bytes, dropped, held }
    }

    /// Begins a layer that has no files in the folder `live`: after a crash there is none.
    ///
    /// # Errors
    /// If there is no place for it.
    pub fn nameless(live: &Path) -> Result<Self, StorageError> {
        Ok(Self::new(0, Spool::nameless(live)?, Log::nameless(live)?))
    }

    /// Puts an inode into such a layer.
    pub fn keep(&mut self, number: u64, node: Node) {
        self.held += HELD.0 + node.attribute_bytes() + HELD.2 * node.pieces.count();
        self.nodes.insert(number, node);
    }

    /// What it takes in memory, about, in bytes: never too little by much.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// So many bytes more are about to be part of an inode.
    pub fn hold(&mut self, bytes: usize) {
        self.held += bytes;
    }

    /// Opens the layer of that number that was left behind in the folder `live`, over the one
    /// `under` it, if `check` has nothing against what its journal begins with; `None` if it never
    /// was begun.
    ///
    /// # Errors
    /// If its journal or spool is damaged or cannot be read.
    pub fn open(
        live: &Path,
        number: u64,
        under: Option<&Self>,
        check: impl FnOnce(&Beginning) -> Result<(), ErrorKind>,
    ) -> Result<Option<Self>, StorageError> {
        let Some((log, beginning)) = Log::open(&journal_path(live, number))? else {
            return Ok(None);
        };
        check_beginning(live, number, &beginning, check)?;
        let spool = Spool::open(&spool_path(live, number))?;
        let (length, under) = (spool.length(), under.map(|under| (under.number, under.groups())));
        let mut layer = Self::new(number, spool, log);
        let log = Arc::clone(&layer.log);
        log.replay(|change| {
            check_change(live, number, &change, length, under)?;
            layer.apply(change);
            Ok(())
        })?;
        let used = layer.nodes.values().map(|node| node.pieces.spooled()).sum();
        layer.spool.set_used(used);
        Ok(Some(layer))
    }

    /// How many groups its journal has.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.log.groups()
    }

    /// Removes its files: what it has is in the archive now.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub fn remove(&self, live: &Path) -> std::io::Result<()> {
        // The journal first: without its spool it could not be applied.
        remove_file(&journal_path(live, self.number))?;
        std::fs::File::open(live)?.sync_all()?;
        self.log.discard();
        remove_file(&spool_path(live, self.number))
    }

    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.names.is_empty()
    }

    /// The inodes in the order of their numbers.
    #[must_use]
    pub fn sorted(&self) -> Vec<(u64, &Node)> {
        let mut nodes: Vec<(u64, &Node)> =
            self.nodes.iter().map(|(number, node)| (*number, node)).collect();
        nodes.sort_unstable_by_key(|(number, _)| *number);
        nodes
    }

    /// What a name names, if the layer says so.
    #[must_use]
    pub fn entry(&self, folder: u64, name: &[u8]) -> Option<Option<Found>> {
        self.names.get(&folder)?.get(name).copied()
    }

    /// Makes a name name that, or nothing.
    pub fn set_entry(&mut self, folder: u64, name: &[u8], to: Option<Found>) {
        let change = Change::Entry {
            folder,
            name: name.into(),
            to: to.map(|found| (found.inode, found.kind)),
        };
        change.encode(&mut self.pending);
        self.apply(change);
    }

    /// An inode that is about to be changed, if the layer has it.
    pub fn node_mut(&mut self, number: u64) -> Option<&mut Node> {
        let node = self.nodes.get_mut(&number)?;
        if self.dirty.insert(number) {
            self.dirty_bytes += node.attribute_bytes();
        }
        Some(node)
    }

    /// An inode is there no more: nobody can come to it.
    pub fn take_away(&mut self, number: u64) {
        self.drop_data(number, 0, u64::MAX);
        self.set_node(number, Node::default());
    }

    /// Takes an inode up from the layer below, or a new one.
    pub fn set_node(&mut self, number: u64, node: Node) {
        if self.dirty.insert(number) {
            self.dirty_bytes += node.attribute_bytes();
        }
        self.held += node.attribute_bytes();
        if self.nodes.insert(number, node).is_none() {
            self.held += HELD.0;
        }
    }

    /// A range of a file that the layer has is from now on that of the spool, or zeros.
    pub fn set_data(&mut self, number: u64, offset: u64, piece: Piece) {
        if piece.length == 0 {
            return;
        }
        let Piece { length, at } = piece;
        self.drop_data(number, offset, offset.saturating_add(length));
        let change = Change::Data { number, offset, length, at };
        change.encode(&mut self.pending);
        self.apply(change);
    }

    /// Forgets what was written to a file that the layer has from `size` on.
    pub fn cut(&mut self, number: u64, size: u64) {
        self.drop_data(number, size, u64::MAX);
        let change = Change::Cut { number, size };
        change.encode(&mut self.pending);
        self.apply(change);
    }

    /// What the spool has of `from..to` of a file is not needed any more.
    fn drop_data(&mut self, number: u64, from: u64, to: u64) {
        let Some(node) = self.nodes.get(&number) else { return };
        node.pieces.walk(from, to, |_, _, piece| {
            if let Some(Piece { length, at: DataAt::Spool(at) }) = piece {
                self.dropped.push((at, length));
            }
        });
    }

    /// Bytes that its changes come to which are not in the journal yet, about.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len() + self.dirty.len() * NODE_BYTES + self.dirty_bytes
    }

    /// Hands all changes to the journal, to be written with its next sync.
    pub fn hand_over(&mut self) {
        self.dirty_bytes = 0;
        let mut changes = std::mem::take(&mut self.pending);
        for number in self.dirty.drain() {
            match self.nodes.get(&number) {
                Some(Node { inode, target, xattrs, inherited, .. }) => {
                    put_node(&mut changes, number, *inherited, inode, target, xattrs);
                }
                None => put_node(&mut changes, number, 0, &Inode::default(), b"", &Vec::new()),
            }
        }
        self.log.push(&changes, &mut self.dropped);
        changes.clear();
        changes.shrink_to(1 << 20);
        self.pending = changes;
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Node { number, inherited, inode, target, xattrs } => {
                self.held += HELD.0;
                let node = self.nodes.entry(number).or_default();
                let inode = *inode;
                if inode.mode == 0 {
                    node.pieces = Pieces::default();
                }
                (node.inode, node.target, node.xattrs) = (inode, target, xattrs);
                node.inherited = inherited;
            }
            Change::Entry { folder, name, to } => {
                let to = to.map(|(inode, kind)| Found { inode, kind });
                let held = HELD.1 + name.len();
                if self.names.entry(folder).or_default().insert(name, to).is_none() {
                    self.held += held;
                }
            }
            Change::Data { number, offset, length, at } => {
                self.held += HELD.2;
                let pieces = &mut self.nodes.entry(number).or_default().pieces;
                pieces.set(offset, Piece { length, at });
            }
            Change::Cut { number, size } => {
                self.nodes.entry(number).or_default().pieces.clear(size, u64::MAX);
            }
            Change::Below { .. } => {}
        }
    }
}

/// Whether a journal of that number may begin so.
///
/// # Errors
/// If not.
pub fn check_beginning(
    live: &Path,
    number: u64,
    beginning: &Beginning,
    check: impl FnOnce(&Beginning) -> Result<(), ErrorKind>,
) -> Result<(), StorageError> {
    let fits = match beginning.head.number == number {
        true => check(beginning),
        false => {
            let error = Problem::Malformed("the number of another journal").of(Section::Journal);
            Err(ErrorKind::left(&error))
        }
    };
    fits.map_err(|kind| kind.of(&journal_path(live, number).display().to_string()))
}

/// Whether what a change refers to is there: so many bytes of the spool, and in the layer `under`,
/// of that number, so many groups.
///
/// # Errors
/// If not.
pub fn check_change(
    live: &Path,
    number: u64,
    change: &Change,
    spool: u64,
    under: Option<(u64, u64)>,
) -> Result<(), StorageError> {
    let left = |why, path: PathBuf| Err(ErrorKind::Left(why).of(&path.display().to_string()));
    match (change, under) {
        (Change::Data { at: DataAt::Spool(at), length, .. }, _) if at + length > spool => {
            let why = format!("cut short: it ends before byte {}", at + length);
            left(why, spool_path(live, number))
        }
        (Change::Below { groups }, Some((under, there))) if *groups != there => {
            let why = format!("cut short: has {there} groups of {groups}");
            left(why, journal_path(live, under))
        }
        _ => Ok(()),
    }
}

/// Removes a file, if it is there.
///
/// # Errors
/// If it cannot be removed.
pub fn remove_file(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The journal of the layer of that number.
#[must_use]
pub fn journal_path(live: &Path, number: u64) -> PathBuf {
    live.join(format!("journal-{number}"))
}

/// The spool of the layer of that number.
#[must_use]
pub fn spool_path(live: &Path, number: u64) -> PathBuf {
    live.join(format!("spool-{number}"))
}

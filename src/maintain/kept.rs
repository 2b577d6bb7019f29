//! The roots that are kept: the newest, and those of snapshots.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Error;
use crate::format::{Id, Kind, NO_PACK, ObjectRef, Root, Segment, Snapshot};
use crate::index::{FrameId, Index};
use crate::storage::{Bytes, Lease, Storage, StorageError};
use crate::store::snapshots;
use crate::store::{
    self, SNAPSHOTS, list_roots, open_segment, parse_snapshot, read_root, root_key,
};
use crate::tree::{self, Tree};

/// What the newest root is called among the names of snapshots.
pub const HEAD: &str = "head";

/// A root that is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it is shown as: `head`, and the names of its snapshots.
    pub names: Vec<String>,
    /// Its key.
    pub key: String,
    /// What it says.
    pub root: Root,
    /// Keeps what it names from being collected.
    #[expect(dead_code, reason = "holds the lease while it is looked at")]
    lease: Arc<Lease>,
}

/// A root or snapshot that does not check out.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Its key.
    pub key: String,
    /// What cannot be shown because of it.
    pub names: Vec<String>,
    /// Whether it is newer than the newest root that does check out.
    pub newer: bool,
    /// What is wrong with it.
    pub error: store::Error,
}

/// The roots of an archive.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Those that are kept; the newest is the first.
    pub kept: Vec<Kept>,
    /// Roots and snapshots that do not check out.
    pub broken: Vec<Broken>,
    /// The snapshots that do, by their names.
    pub snapshots: Vec<(String, Snapshot)>,
    /// How many roots there are.
    pub count: usize,
    /// A root that shows something else than another of its number: two writers made them that
    /// did not see each other.
    pub rival: Option<String>,
}

/// How often roots are read anew because one was collected meanwhile.
const TRIES: usize = 8;

impl Roots {
    /// Reads all roots and snapshots there are. Nobody collects what is kept while they live.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn read(storage: &dyn Storage) -> Result<Self, StorageError> {
        for _ in 0..TRIES {
            match Self::read_once(storage) {
                // Another has taken its place since it was read.
                Err(error) if error.is_not_found() => {}
                read => return read,
            }
        }
        Self::read_once(storage)
    }

    /// The newest root.
    ///
    /// # Errors
    /// If there is none that checks out.
    pub fn head(&self) -> Result<&Kept, Error> {
        let head = self.kept.first().filter(|kept| kept.names.iter().any(|name| name == HEAD));
        let none = || Error::Refused("there is no root; run packfs fsck --repair".to_owned());
        head.ok_or_else(none)
    }

    fn read_once(storage: &dyn Storage) -> Result<Self, StorageError> {
        let mut roots = Self::default();
        // Snapshots first: the root of one that is made meanwhile is among those listed then.
        let snapshots = storage.list(SNAPSHOTS)?;
        let mut read: Vec<(String, Root)> = Vec::new();
        for (_, _, key) in list_roots(storage)?.into_iter().rev() {
            match read_root(storage, &key) {
                Ok((root, _)) => read.push((key, root)),
                // Somebody has collected it meanwhile.
                Err(_) if gone(storage, &key) => continue,
                Err(error) => {
                    let newer = read.is_empty();
                    roots.broken.push(Broken { key, names: Vec::new(), newer, error });
                }
            }
            roots.count += 1;
        }
        match read.first() {
            Some((key, root)) => {
                let names = vec![HEAD.to_owned()];
                let lease = Arc::new(storage.lease(key)?);
                roots.kept.push(Kept { names, key: key.clone(), root: root.clone(), lease });
            }
            None => roots.broken.iter_mut().for_each(|root| root.names.push(HEAD.to_owned())),
        }
        let apart = |pair: &&[(String, Root)]| {
            let [(_, one), (_, other)] = pair else { return false };
            one.number == other.number && one.tree != other.tree
        };
        roots.rival = read.windows(2).find(apart).map(|pair| pair[1].0.clone());
        for key in snapshots {
            let Some(name) = parse_snapshot(&key).map(str::to_owned) else { continue };
            match snapshots::read(storage, &key) {
                Ok((snapshot, _)) => roots.keep(storage, name, snapshot, &read)?,
                Err(_) if gone(storage, &key) => {}
                Err(error) => {
                    roots.broken.push(Broken { key, names: vec![name], newer: false, error });
                }
            }
        }
        Ok(roots)
    }

    fn keep(
        &mut self,
        storage: &dyn Storage,
        name: String,
        snapshot: Snapshot,
        read: &[(String, Root)],
    ) -> Result<(), StorageError> {
        self.snapshots.push((name.clone(), snapshot));
        let key = root_key(snapshot.number, &snapshot.root);
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.key == key) {
            kept.names.push(name);
            return Ok(());
        }
        if let Some(broken) = self.broken.iter_mut().find(|broken| broken.key == key) {
            broken.names.push(name);
            return Ok(());
        }
        let listed = read.iter().find(|(listed, _)| *listed == key).map(|(_, root)| root.clone());
        match listed.map_or_else(|| Ok(read_root(storage, &key)?.0), Ok::<_, store::Error>) {
            Ok(root) => {
                let lease = Arc::new(storage.lease(&key)?);
                self.kept.push(Kept { names: vec![name], key, root, lease });
            }
            Err(error) => {
                self.broken.push(Broken { key, names: vec![name], newer: false, error });
            }
        }
        Ok(())
    }
}

fn gone(storage: &dyn Storage, key: &str) -> bool {
    storage.size(key).is_err_and(|error| error.is_not_found())
}

/// What a root needs to be shown, as far as it can be opened.
#[derive(Debug)]
pub struct Opened {
    /// The index of the segments that could be.
    pub index: Index,
    /// Segments that could not, and why.
    pub lost: Vec<(ObjectRef, store::Error)>,
    /// Its tree.
    pub tree: Result<Tree, StorageError>,
}

impl Opened {
    /// Opens what `root` names.
    pub fn of(storage: &Arc<dyn Storage>, root: &Root) -> Self {
        let mut lost = Vec::new();
        let mut segments: Vec<Segment<Bytes>> = Vec::new();
        for object in &root.segments {
            match open_segment(&**storage, object) {
                Ok((segment, _)) => segments.push(segment),
                Err(error) => lost.push((*object, error)),
            }
        }
        let tree = Tree::open(Arc::clone(storage), &root.tree);
        Self { index: Index::new(segments), lost, tree }
    }
}

/// Whether the root folder of a tree is one: else the tree cannot be opened by a reader.
///
/// # Errors
/// If its page cannot be read.
pub fn has_top(tree: &Tree) -> Result<bool, StorageError> {
    Ok(tree.inode(tree::ROOT, |_, inode| inode.kind())?.flatten() == Some(Kind::Folder))
}

/// The packs that a reader takes blocks from, and those without blocks that link others.
pub fn live_packs(index: &Index) -> BTreeSet<Id> {
    let dead = index.dead();
    let mut live = BTreeSet::new();
    for (segment, listed) in (0..).zip(index.segments()) {
        let of = |frame| listed.frame(frame).map(|(_, slot)| slot as usize);
        let full: BTreeSet<usize> = (0..listed.frame_count()).filter_map(of).collect();
        let links = listed.packs().iter().enumerate().filter(|(slot, _)| !full.contains(slot));
        live.extend(links.map(|(_, (id, _))| *id));
        for (frame, at) in (0..).zip(0..listed.frame_count()) {
            let slot = listed.frame(at).map_or(u32::MAX, |(_, slot)| slot);
            if let Some((id, _)) = listed.packs().get(slot as usize)
                && *id != NO_PACK
                && !dead.contains(&FrameId { segment, frame })
            {
                live.insert(*id);
            }
        }
    }
    live
}

/// The packs that an index names, each with its length.
pub fn packs(index: &Index) -> impl Iterator<Item = &(Id, u64)> {
    index.segments().iter().flat_map(|segment| segment.packs())
}

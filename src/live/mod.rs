//! A store that is written to: what a writable mount shows, and how it comes into the archive.
//!
//! ```text
//! active layer    what changes: inodes, names, pieces of files; a journal and a spool on disk
//! sealed layer    the same, at rest, while it is being committed; most of the time there is none
//! root            the archive
//! ```
//!
//! Whatever is asked for is looked up in this order. A commit seals the active layer and begins a
//! new one, packs the data of the sealed one, writes a tree that has its changes, publishes the
//! root, puts it below, and drops the layer. So a root is what the file system was at one moment.
//!
//! | file | what it holds |
//! |---|---|
//! | `pieces` | which ranges of a file were changed, and where these are |
//! | `layer` | inodes, names and pieces that were changed |
//! | `log` | the journal of a layer: order of writes, what a crash leaves; `replay` reads that |
//! | `spool` | file data that is not packed yet |
//! | `state` | the layers and the root together |
//! | `names` | make, link, unlink, rename; `leaving` what the kernel is told of it |
//! | `attributes` | modes, owners, times, extended attributes; `acl` what they mean together |
//! | `data` | read, write, truncate, punch; `copy` from file to file |
//! | `orphans` | files without a name that are open |
//! | `list` | folders, listed so that a listing goes on across changes |
//! | `open` | from a store to a file system, also after a crash |
//! | `aside` | what a crash and damage leave, and cannot be taken up |
//! | `commit` | from a sealed layer to a root |
//! | `extents` | which blocks of a changed file stay, and which bytes are cut anew |
//! | `control` | what other processes can ask for |
//! | `figures` | what it tells of itself |
//! | `plant` | the tree of the commit |
//! | `packer` | the threads that sync and commit |

mod acl;
mod aside;
mod attributes;
mod commit;
mod control;
mod copy;
mod data;
mod extents;
mod figures;
mod layer;
mod leaving;
mod list;
mod log;
mod maintain;
mod names;
mod open;
mod orphans;
mod packer;
mod pieces;
mod plant;
mod replay;
mod spool;
mod state;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::{Mutex, RwLock};

pub use aside::{Left, carried, left_behind, set_aside};
pub use attributes::Changes;
pub use commit::CommitError;
pub use control::{Request, ask};
pub use names::{Made, Replace};
pub use open::{LiveOptions, has_changes};
pub use packer::Packer;

use crate::format::{Inode, Kind, Time, XattrSet};
use crate::fs::{ArchiveFs, Attr, FsError};
use crate::storage::{Storage, StorageError};
use commit::Committer;
use leaving::Leaving;
use list::Lists;
use open::Home;
use packer::Signals;
use state::State;

/// The counts of look-ups are spread over so many locks.
const SHARDS: usize = 16;

/// A store as a file system that can be written to.
#[derive(Debug)]
pub struct LiveFs {
    storage: Arc<dyn Storage>,
    /// The folder of journals and spools.
    live: PathBuf,
    options: LiveOptions,
    state: RwLock<State>,
    /// Held shared by whoever writes to the spool, so that nobody does while a layer is sealed.
    gate: RwLock<()>,
    /// How often the kernel was told of each inode, less what it forgot.
    known: [Mutex<HashMap<u64, u64>>; SHARDS],
    lists: Lists,
    leaving: Leaving,
    signals: Signals,
    committer: Mutex<Committer>,
    started: Instant,
    home: Arc<Home>,
}

impl LiveFs {
    /// The root below all changes.
    #[must_use]
    pub fn base(&self) -> Arc<ArchiveFs> {
        Arc::clone(&self.state.read().below.base)
    }

    fn changed<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let (changed, pending, held) = {
            let mut state = self.state.write();
            let changed = change(&mut state)?;
            (changed, state.active.pending(), state.held())
        };
        self.signals.changed(pending);
        self.weigh(held);
        Ok(changed)
    }

    fn known(&self, ino: u64) -> &Mutex<HashMap<u64, u64>> {
        &self.known[usize::try_from(ino % SHARDS as u64).unwrap_or(0)]
    }

    /// The kernel was told of an inode once more.
    pub fn remember(&self, ino: u64) {
        *self.known(ino).lock().entry(ino).or_default() += 1;
    }

    fn is_known(&self, ino: u64) -> bool {
        self.known(ino).lock().contains_key(&ino)
    }

    /// The kernel forgot an inode so many times. One that has no name any more goes with the last.
    pub fn forget(&self, ino: u64, times: u64) {
        {
            let mut known = self.known(ino).lock();
            let Some(count) = known.get_mut(&ino) else { return };
            *count = count.saturating_sub(times);
            if *count > 0 {
                return;
            }
            known.remove(&ino);
        }
        let nameless = {
            let state = self.state.read();
            let orphan = |node: &layer::Node| node.is_there() && node.inode.nlink == 0;
            state.active.nodes.get(&ino).is_some_and(orphan) || state.orphans.contains_key(&ino)
        };
        if nameless {
            let gone = self.changed(|state| {
                state.active.take_away(ino);
                state.orphans.remove(&ino);
                Ok(())
            });
            gone.unwrap_or_default();
        }
    }

    /// Calls `with` with an inode, the target of a symlink, and extended attributes. No page of
    /// the root is read while others wait.
    fn inode<T>(
        &self,
        ino: u64,
        with: impl FnOnce(&Inode, &[u8], &XattrSet) -> T,
    ) -> Result<T, FsError> {
        let below = {
            let state = self.state.read();
            if state.active.nodes.contains_key(&ino) {
                return state.inode(ino, with);
            }
            state.under(ino).clone()
        };
        below.inode(ino, with)?.ok_or(FsError::NoEntry)
    }

    /// What a file is.
    ///
    /// # Errors
    /// If there is no such inode, or its page is damaged.
    pub fn attr(&self, ino: u64) -> Result<Attr, FsError> {
        let state = self.state.read();
        if let Some(node) = state.active.nodes.get(&ino) {
            return attr_of(ino, node);
        }
        let below = state.under(ino).clone();
        drop(state);
        if let Some(node) = below.layers.iter().find_map(|layer| layer.nodes.get(&ino)) {
            return attr_of(ino, node);
        }
        below.base.attr(ino)
    }

    /// The file of that name in that folder.
    ///
    /// # Errors
    /// If a page is damaged.
    pub fn lookup(&self, folder: u64, name: &[u8]) -> Result<Option<Attr>, FsError> {
        check_name(name)?;
        // Never while it is locked: whoever waits to write would keep a second reader waiting.
        let (known, below) = {
            let state = self.state.read();
            (state.active.entry(folder, name), state.below.clone())
        };
        let found = known.map_or_else(|| below.entry(folder, name), Ok)?;
        found.map(|found| self.attr(found.inode)).transpose()
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// If it is not one, or its page is damaged.
    pub fn target(&self, ino: u64) -> Result<Vec<u8>, FsError> {
        let target = self.inode(ino, |inode, target, _| {
            (inode.kind() == Some(Kind::Symlink)).then(|| target.to_vec())
        })?;
        target.ok_or(FsError::NotSymlink)
    }

    /// The folder of a file's first name; the root folder's is itself.
    ///
    /// # Errors
    /// If there is no such inode, or its page is damaged.
    pub fn parent(&self, ino: u64) -> Result<u64, FsError> {
        self.inode(ino, |inode, _, _| inode.parent)
    }
}

fn attr_of(ino: u64, node: &layer::Node) -> Result<Attr, FsError> {
    let mut attr = Attr::of(ino, &node.inode).ok_or(FsError::NoEntry)?;
    if node.is_file() {
        attr.blocks = node.allocated().div_ceil(crate::fs::SECTOR);
    }
    Ok(attr)
}

/// Whether a name is not too long; that it is one otherwise, the kernel sees to.
fn check_name(name: &[u8]) -> Result<(), FsError> {
    match name.len() <= crate::format::MAX_NAME {
        true => Ok(()),
        false => Err(FsError::TooLong),
    }
}

fn now() -> Time {
    Time::from(SystemTime::now())
}

impl From<StorageError> for FsError {
    fn from(error: StorageError) -> Self {
        match error.kind {
            crate::storage::ErrorKind::Full => Self::NoSpace,
            _ => Self::Damaged(Arc::new(error.into())),
        }
    }
}

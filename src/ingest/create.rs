//! The verbs: a source goes in, and an archive comes out, or a store has more than before.

use super::catalog::File;
use super::commit::{Prepared, prepare};
use super::error::CreateError;
use super::fill::Savings;
use super::known::{Known, NAME_LEN};
use super::options::CreateOptions;
use super::source::{Source, take};
use crate::format::{Time, Totals};
use crate::monitor::{Monitor, Phase};
use crate::storage::{Storage, Undo};
use crate::store::{Store, lost_root};

/// What was archived.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// What the tree comes to.
    pub totals: Totals,
    /// What was dropped because it was known.
    pub savings: Savings,
    /// Bytes of the tree.
    pub tree: u64,
    /// Bytes of the index.
    pub index: u64,
    /// Files that were left out, or changed while they were read.
    pub problems: u64,
}

/// What was added.
#[derive(Debug, Clone, Copy)]
pub struct Added {
    /// What there is now.
    pub summary: Summary,
    /// The number of the new root; `None`: all of it was there already, just so.
    pub root: Option<u64>,
    /// Bytes of all that was written.
    pub written: u64,
}

/// Archives `source` into an empty `storage`.
///
/// # Errors
/// If the source cannot be read at all, the archive cannot be written, or the monitor says stop.
/// What concerns single files is told to the monitor, and the rest is archived.
pub fn create(
    source: Source<'_>,
    storage: &dyn Storage,
    options: &CreateOptions,
    monitor: &dyn Monitor,
) -> Result<Summary, CreateError> {
    let taken = take(source, &File::implied(), Known::default(), storage, options, monitor)?;
    monitor.phase(Phase::Tree);
    let (savings, problems) = (taken.packed.savings, taken.problems);
    let prepared = prepare(taken, None, storage, options)?.ok_or(CreateError::Thread)?;
    prepared.publish(storage)?;
    Ok(summary(&prepared, savings, problems))
}

/// Adds `source` to a store, below the folder `path` of its newest root, as a root that follows
/// that one, unless all of it is there already, just so. Folders on that path that are not there
/// yet are made.
///
/// How files are cut and blocks are named, the store says; other `options` are as for [`create`].
/// The store must be opened at its newest root, and who adds must hold the
/// [lock](crate::storage::Lock) of the store.
///
/// # Errors
/// As [`create`], and if what there is cannot be read, or has a folder where the source has not, or
/// the other way round. Then the store is as it was.
pub fn add(
    source: Source<'_>,
    path: &[&[u8]],
    store: &Store,
    options: &CreateOptions,
    monitor: &dyn Monitor,
) -> Result<Added, CreateError> {
    let config = store.config();
    may_follow(store)?;
    let options = &CreateOptions {
        cutting: config.cutting,
        hash: config.hash,
        hash_len: config.hash_len,
        ..options.clone()
    };
    if usize::from(config.hash_len) < NAME_LEN {
        let kept = config.hash_len;
        log::warn!(
            "{}: keeps {kept} bytes of the hash of each block, too few to know it by; what comes \
             again is stored again",
            store.name()
        );
    }
    let around = File {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Time { sec: options.created, nsec: 0 },
        ..File::implied()
    };
    let (known, origins) = Known::of(store, monitor);
    let undo = Undo::new(store.storage());
    let mut taken = take(source, &around, known, &undo, options, monitor)?;
    monitor.phase(Phase::Tree);
    taken.catalog.sink(path, &around);
    let (savings, problems) = (taken.packed.savings, taken.problems);
    let Some(prepared) = prepare(taken, Some((store, origins)), &undo, options)? else {
        let totals = store.root().1.totals;
        let summary = Summary { totals, savings, tree: 0, index: 0, problems };
        return Ok(Added { summary, root: None, written: 0 });
    };
    if monitor.cancelled() {
        return Err(CreateError::Cancelled);
    }
    if let Err(error) = prepared.publish(store.storage()) {
        // It may be there nevertheless: then nothing that it names may go.
        if prepared.is_absent(store.storage()) {
            return Err(error.into());
        }
        let _ = undo.keep();
        return Err(CreateError::Unsafe(error));
    }
    let summary = summary(&prepared, savings, problems);
    Ok(Added { summary, root: Some(prepared.root.number), written: undo.keep() })
}

/// Whether a new root may follow the one that a store was opened at.
///
/// # Errors
/// If that is not sure to be the newest one, or has features that this version does not know.
pub fn may_follow(store: &Store) -> Result<(), CreateError> {
    if let Some(doubt) = store.doubt() {
        return Err(CreateError::Doubt(doubt.to_owned()));
    }
    if let Some(lost) = lost_root(store.storage(), store.root().1.number)? {
        return Err(CreateError::Doubt(format!("{lost}; run packfs fsck --repair")));
    }
    let bits = store.compatible();
    let unknown = (bits != 0).then(|| format!("{bits:#x}"));
    match store.config().compatible.first().cloned().or(unknown) {
        Some(feature) => Err(CreateError::Feature { archive: store.name(), feature }),
        None => Ok(()),
    }
}

fn summary(made: &Prepared, savings: Savings, problems: u64) -> Summary {
    let Prepared { root, index, .. } = made;
    let (totals, tree, index) = (root.totals, root.tree.length, *index);
    Summary { totals, savings, tree, index, problems }
}

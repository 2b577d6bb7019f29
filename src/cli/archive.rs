//! Opens the archive that a command names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::failure::complain;
use super::flush::mounted;
use super::{Failure, size};
use crate::format::valid_snapshot_name;
use crate::fs::{ArchiveFs, Owner};
use crate::live::has_changes;
use crate::storage::{self, ErrorKind, Lock, Storage};
use crate::store::{At, CONFIG, Cause, OpenOptions, Store};

/// How every reading command names its archive.
#[derive(Debug, Args)]
pub(super) struct ArchiveArgs {
    /// Archive: a store's folder, or an image
    pub(super) archive: PathBuf,
    /// Show that snapshot, not the newest root
    #[arg(long, value_name = "NAME", value_parser = snapshot_name)]
    pub(super) snapshot: Option<String>,
    /// Memory for inflated frames
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(super) working_set: Option<u64>,
}

impl ArchiveArgs {
    /// Opens the archive as a file system.
    pub(super) fn open(&self) -> Result<ArchiveFs, Failure> {
        open_to_read(&self.archive, shown(self.snapshot.as_deref()), self.working_set)
    }

    /// As [`ArchiveArgs::open`], for who wants all there is, and is told of what is left out.
    pub(super) fn open_whole(&self) -> Result<ArchiveFs, Failure> {
        let fs = self.open()?;
        if self.snapshot.is_none() {
            mention_changes(&self.archive);
        }
        Ok(fs)
    }
}

/// The root that a reading command shows.
pub(super) fn shown(snapshot: Option<&str>) -> At {
    snapshot.map_or(At::Head, |name| At::Snapshot(name.to_owned()))
}

/// A name that a snapshot can have.
pub(super) fn snapshot_name(name: &str) -> Result<String, Cause> {
    if valid_snapshot_name(name) { Ok(name.to_owned()) } else { Err(Cause::SnapshotName) }
}

/// As [`begin`], with all of its index, and says so if another root is shown than was meant.
pub(super) fn open_to_read(
    path: &Path,
    at: At,
    working_set: Option<u64>,
) -> Result<ArchiveFs, Failure> {
    let fs = begin(path, at, working_set, Owner::default())?;
    fs.store().check_index()?;
    if let Some(doubt) = fs.store().doubt() {
        complain(&format!("{doubt}; an older root is shown"));
    }
    Ok(fs)
}

/// Opens the archive at `path`, at one of its roots, while its index is still being read; its files
/// belong to `owner` where that says so.
///
/// The working set is a part of the machine's memory if it is not given.
pub(super) fn begin(
    path: &Path,
    at: At,
    working_set: Option<u64>,
    owner: Owner,
) -> Result<ArchiveFs, Failure> {
    let mut options = OpenOptions { at, ..OpenOptions::default() };
    options.working_set = working_set.unwrap_or(options.working_set);
    let store = Store::begin(storage(path)?, options)?;
    Ok(ArchiveFs::new(Arc::new(store), owner))
}

/// A folder that is a store, which can be written to; nothing is made in any other.
pub(super) fn writable(path: &Path) -> Result<Arc<dyn Storage>, Failure> {
    let storage = storage(path)?;
    let name = path.display().to_string();
    if !path.is_dir() {
        return Err(ErrorKind::ReadOnly.of(&name).into());
    }
    if storage.size(CONFIG).is_err_and(|error| error.is_not_found()) {
        return Err(crate::store::Error::new(&name, Cause::NotArchive).into());
    }
    Ok(storage)
}

/// Becomes the writer of a store, which must have no changes that were not committed.
pub(super) fn lock(store: &Path) -> Result<Lock, Failure> {
    let lock = Lock::take(store)?;
    refuse_changes(store)?;
    Ok(lock)
}

/// Refuses to go on with a store that has changes, which the caller has locked.
pub(super) fn refuse_changes(store: &Path) -> Result<(), Failure> {
    if !has_changes(store)? {
        return Ok(());
    }
    let store = store.display();
    Err(Failure::Failed(format!(
        "{store}: has changes that are not packed, of a mount that ended without a commit; \
         mount it with --rw and unmount it first"
    )))
}

/// Says so if a store that is read has changes that are in no root yet.
pub(super) fn mention_changes(archive: &Path) {
    if archive.is_dir() && has_changes(archive).unwrap_or(false) {
        complain(&format!(
            "{}: has changes that are not packed yet, and are left out; packfs flush packs those \
             of a mount, mounting it with --rw those of one that was killed",
            archive.display()
        ));
    }
}

/// What lies at `path`.
pub(super) fn storage(path: &Path) -> Result<Arc<dyn Storage>, Failure> {
    local(path)?;
    if path.is_dir()
        && !path.join(CONFIG).exists()
        && let Some(entry) = mounted(path)
    {
        let (path, source) = (path.display(), Path::new(&entry.source).display());
        let text = format!("{path}: is where {source} is mounted; name that");
        return Err(Failure::Failed(text));
    }
    Ok(storage::open(path)?)
}

/// Whether `path` is one, and not the address of something elsewhere.
pub(super) fn local(path: &Path) -> Result<(), Failure> {
    let text = path.to_string_lossy();
    if let Some((scheme, _)) = text.split_once("://") {
        let text = format!("{text}: this packfs cannot use archives over {scheme}; copy it here");
        return Err(Failure::Failed(text));
    }
    Ok(())
}

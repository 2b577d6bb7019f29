//! Opens the archive that a command names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::failure::complain;
use super::{Failure, size};
use crate::fs::{ArchiveFs, Owner};
use crate::storage::{self, Storage};
use crate::store::{OpenOptions, Store};

/// How every reading command names its archive.
#[derive(Debug, Args)]
pub(super) struct ArchiveArgs {
    /// Archive: a store's folder, or an image
    pub(super) archive: PathBuf,
    /// Memory for inflated frames
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(super) working_set: Option<u64>,
}

impl ArchiveArgs {
    /// Opens the archive as a file system.
    pub(super) fn open(&self) -> Result<ArchiveFs, Failure> {
        let fs = open(&self.archive, self.working_set, Owner::default())?;
        if let Some(doubt) = fs.store().doubt() {
            complain(&format!("{doubt}; an older root is shown"));
        }
        Ok(fs)
    }
}

/// Opens the archive at `path`; its files belong to `owner` where that says so.
///
/// The working set is a part of the machine's memory if it is not given.
pub(super) fn open(
    path: &Path,
    working_set: Option<u64>,
    owner: Owner,
) -> Result<ArchiveFs, Failure> {
    let options = working_set.map(|working_set| OpenOptions { working_set });
    let store = Store::open(storage(path)?, options.unwrap_or_default())?;
    Ok(ArchiveFs::new(Arc::new(store), owner))
}

/// What lies at `path`.
pub(super) fn storage(path: &Path) -> Result<Arc<dyn Storage>, Failure> {
    let text = path.to_string_lossy();
    if let Some((scheme, _)) = text.split_once("://") {
        let text = format!("{text}: this packfs cannot use archives over {scheme}; copy it here");
        return Err(Failure::Failed(text));
    }
    Ok(storage::open(path)?)
}

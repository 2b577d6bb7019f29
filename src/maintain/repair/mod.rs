//! Makes good what a check finds damaged.
//!
//! All is prepared in a layer over the archive, and checked there, so that a dry run is a repair
//! that is not applied. Order, from what mends most: what parity gives back; whole objects of the
//! same id from other archives; settings; a lost root, from the newest whole tree; lost index
//! segments, from the footers of packs; blocks, from wherever there are bytes of their hash. What
//! is there then has parity again, if the archive had.

mod blocks;
mod layer;
mod parity;
mod remade;
mod roots;
mod segments;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layer::{Layer, in_order};
use sources::{From, beginning};

use super::check::{Depth, Report, check};
use super::{Error, Source};
use crate::format::MAX_PACK;
use crate::monitor::{Monitor, Phase};
use crate::storage::{Draft, Storage, StorageError};

/// How often one thing is tried again since there is more to be seen than before.
const ROUNDS: usize = 4;

/// What came of a repair.
#[derive(Debug)]
pub struct Repaired {
    /// How many damages there were.
    pub damages: usize,
    /// What was done, a line each.
    pub actions: Vec<String>,
    /// What is lost for good, though nothing is damaged any more, a line each.
    pub lost: Vec<String>,
    /// What is left.
    pub report: Report,
    /// Where the damaged image is now.
    pub moved: Option<PathBuf>,
}

/// How an archive is repaired.
#[derive(Debug)]
pub struct Options<'a> {
    /// Folders, stores and images that may have what is lost.
    pub from: &'a [PathBuf],
    /// How far it is checked.
    pub depth: Depth,
    /// Tell what would be done, and do nothing.
    pub dry_run: bool,
    /// Through what a store is written to.
    pub store: Option<Arc<dyn Storage>>,
    /// Now, in seconds since 1970.
    pub now: i64,
}

/// Repairs the archive at `path`. Who repairs a store must hold its lock, but for a dry run.
///
/// # Errors
/// If it cannot be checked, what is repaired cannot be written, or the monitor says stop. Then the
/// archive is as it was, or partly repaired, and can be repaired again.
pub fn repair(path: &Path, options: &Options, monitor: &dyn Monitor) -> Result<Repaired, Error> {
    let from = options.from.iter().map(|path| From::open(path)).collect::<Result<_, _>>()?;
    let source = Source::open(path)?;
    let report = check(&source, options.depth, monitor)?;
    let damages = report.damages.len();
    let bare = report.parity.and_then(|cover| cover.bare).is_some_and(|(count, _)| count > 0);
    if damages == 0 && !bare {
        let (actions, lost) = Default::default();
        return Ok(Repaired { damages, actions, lost, report, moved: None });
    }
    let scratch = Scratch::new(path, options.dry_run)?;
    let layer = Arc::new(Layer::new(Arc::clone(&source.storage), &scratch.0));
    let mut repair = Repair {
        storage: Arc::clone(&layer) as Arc<dyn Storage>,
        from,
        beginning: beginning(path),
        depth: options.depth,
        now: options.now,
        monitor,
        actions: Vec::new(),
        lost: Vec::new(),
    };
    if !source.problems.is_empty() {
        let objects = layer.list("")?.len();
        repair.actions.push(format!("{objects} objects that are left make a new image"));
    }
    let report = repair.all()?;
    monitor.phase(Phase::Repair);
    let Repair { actions, lost, .. } = repair;
    let mut moved = None;
    if !options.dry_run {
        match &options.store {
            Some(store) => apply(&layer, &**store, monitor)?,
            None => moved = Some(replace(path, &layer, monitor)?),
        }
    }
    Ok(Repaired { damages, actions, lost, report, moved })
}

/// A folder for what is being prepared, which goes at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(archive: &Path, dry_run: bool) -> Result<Self, Error> {
        let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = match dry_run {
            true => std::env::temp_dir().join(format!("packfs-repair-{}", std::process::id())),
            false if archive.is_dir() => archive.join("live").join("repair"),
            // One that was left behind by a repair that was killed is used again.
            false => archive.with_file_name(format!(".{name}.packfs-repair")),
        };
        let fail = |error| StorageError::io(&folder.display().to_string(), error);
        if folder.symlink_metadata().is_ok() {
            fs::remove_dir_all(&folder).map_err(fail)?;
        }
        fs::create_dir_all(&folder).map_err(fail)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::warn!("{}: left behind: {error}; remove it", self.0.display());
        }
    }
}

/// The state of one repair.
struct Repair<'a> {
    storage: Arc<dyn Storage>,
    from: Vec<From>,
    /// What the image begins with, if it is one.
    beginning: Vec<u8>,
    depth: Depth,
    now: i64,
    monitor: &'a dyn Monitor,
    actions: Vec<String>,
    lost: Vec<String>,
}

impl Repair<'_> {
    fn all(&mut self) -> Result<Report, Error> {
        type Step<'a> = fn(&mut Repair<'a>, &Report) -> Result<bool, Error>;
        let steps: [Step<'_>; 7] = [
            Self::parity,
            Self::history,
            Self::objects,
            Self::settings,
            Self::lost_root,
            Self::segments,
            Self::blocks,
        ];
        let mut report = self.check()?;
        for step in steps {
            if report.damages.is_empty() {
                break;
            }
            self.monitor.phase(Phase::Repair);
            // What an object hid that was lost may be lost, too.
            for _ in 0..ROUNDS {
                if !step(self, &report)? {
                    break;
                }
                report = self.check()?;
            }
        }
        self.protect(report)
    }

    fn check(&self) -> Result<Report, Error> {
        let storage = Arc::clone(&self.storage);
        let source = Source { storage, problems: Vec::new(), salvaged: true };
        check(&source, self.depth, self.monitor)
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.monitor.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Makes what was prepared part of a store.
fn apply(layer: &Layer, store: &dyn Storage, monitor: &dyn Monitor) -> Result<(), Error> {
    for key in layer.new_keys() {
        // What is published must be whole: nobody may stop between a root and its snapshots only
        // because of haste.
        if monitor.cancelled() && !key.starts_with("snapshots/") {
            return Err(Error::Cancelled);
        }
        let bytes = layer.get(&key, MAX_PACK)?;
        store.put(&key, bytes.as_ref())?;
        monitor.advance(1, bytes.as_ref().len() as u64);
    }
    for key in layer.gone_keys() {
        store.delete(&key)?;
    }
    Ok(())
}

/// Writes an image of all that there is, and puts it in the place of the one at `path`, which gets
/// another name.
fn replace(path: &Path, layer: &Layer, monitor: &dyn Monitor) -> Result<PathBuf, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut aside = path.with_file_name(format!("{name}.damaged"));
    for number in 1.. {
        if aside.symlink_metadata().is_err() {
            break;
        }
        aside = path.with_file_name(format!("{name}.damaged{number}"));
    }
    let fail = |error| StorageError::io(&aside.display().to_string(), error);
    // Other names are stores.
    let is_image = path.extension().is_some_and(|ending| ending == "pfs");
    if !is_image {
        let path = path.display();
        return Err(Error::Refused(format!("{path}: an image must end in .pfs to be repaired")));
    }
    let draft = Draft::new(&path.with_file_name(format!("{name}.repaired.pfs")), true)?;
    let storage = draft.storage();
    for key in in_order(layer.list("")?) {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        // What cannot be read at all is left out.
        let Ok(bytes) = layer.get(&key, MAX_PACK) else { continue };
        storage.put(&key, bytes.as_ref())?;
        monitor.advance(1, bytes.as_ref().len() as u64);
    }
    draft.publish()?;
    fs::hard_link(path, &aside).or_else(|_| fs::rename(path, &aside)).map_err(fail)?;
    // In one step: there is always an image at `path`.
    fs::rename(path.with_file_name(format!("{name}.repaired.pfs")), path).map_err(fail)?;
    Ok(aside)
}

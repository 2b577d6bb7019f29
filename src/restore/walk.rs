//! Visits files of an archive, folders before what is in them.

use std::collections::HashSet;

use super::RestoreError;
use crate::format::Kind;
use crate::fs::{ArchiveFs, Attr, Place, join};
use crate::monitor::{Monitor, Problem};

/// A file that a walk came to.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Its path below the root folder; empty for that folder itself.
    pub path: &'a [u8],
    /// What it is.
    pub attr: &'a Attr,
}

/// Calls `visit` for the files that `paths` lead to (all, where there are none): the folders on
/// the way to them, they, and what is below them.
///
/// What cannot be listed is told to the monitor. A folder that comes twice, as only a forged
/// archive has it, is not entered again.
///
/// # Errors
/// If a path leads nowhere, the monitor says stop, or what `visit` fails with.
pub fn walk(
    fs: &ArchiveFs,
    paths: &[Vec<u8>],
    monitor: &dyn Monitor,
    mut visit: impl FnMut(Step<'_>) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let resolve = |path: &Vec<u8>| {
        fs.resolve(path).map_err(|error| RestoreError::Path { path: path.clone(), error })
    };
    let everything = [Vec::new()];
    let paths = if paths.is_empty() { &everything } else { paths };
    let mut places = paths.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
    // What lies below another of them is visited with it, and once.
    let given: Vec<Vec<u8>> = places.iter().map(|place| place.path.clone()).collect();
    let mut seen = HashSet::new();
    places.retain(|place| {
        let covered = given.iter().any(|other| is_below(&place.path, other));
        !covered && seen.insert(place.path.clone())
    });
    let mut walk = Walk { fs, monitor, entered: HashSet::new(), passed: HashSet::new() };
    for place in places {
        walk.way_to(&place, &mut visit)?;
        walk.below(place, &mut visit)?;
    }
    Ok(())
}

/// Longest path of a folder that is entered, in bytes: so that many of them fit memory.
const MAX_PATH: usize = 32 << 10;

/// A path to show: that of the root folder is empty.
fn named(path: &[u8]) -> Vec<u8> {
    if path.is_empty() { b".".to_vec() } else { path.to_vec() }
}

/// Whether a path leads to something below another.
fn is_below(path: &[u8], folder: &[u8]) -> bool {
    match path.strip_prefix(folder) {
        Some(rest) => !rest.is_empty() && (folder.is_empty() || rest[0] == b'/'),
        None => false,
    }
}

struct Walk<'a> {
    fs: &'a ArchiveFs,
    monitor: &'a dyn Monitor,
    /// Folders whose files were visited.
    entered: HashSet<u64>,
    /// Folders that were visited themselves.
    passed: HashSet<u64>,
}

impl Walk<'_> {
    /// Visits the folders on the way to a place, from the root folder on.
    fn way_to(
        &mut self,
        place: &Place,
        visit: &mut impl FnMut(Step<'_>) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let slashes = place.path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut ends: Vec<usize> = slashes.map(|(at, _)| at).collect();
        if !place.path.is_empty() {
            ends.insert(0, 0);
        }
        for end in ends {
            let path = &place.path[..end];
            let fail = |error| RestoreError::Path { path: path.to_vec(), error };
            let attr = self.fs.resolve(path).map_err(fail)?.attr;
            if self.passed.insert(attr.ino) {
                visit(Step { path, attr: &attr })?;
            }
        }
        Ok(())
    }

    /// Visits a place, and all below it.
    fn below(
        &mut self,
        place: Place,
        visit: &mut impl FnMut(Step<'_>) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let mut todo = vec![place];
        while let Some(Place { path, attr }) = todo.pop() {
            if self.monitor.cancelled() {
                return Err(RestoreError::Cancelled);
            }
            if attr.kind != Kind::Folder {
                visit(Step { path: &path, attr: &attr })?;
                continue;
            }
            let passed = |what: &str| {
                self.monitor.problem(Problem { path: named(&path), what: what.to_owned() });
            };
            if path.len() > MAX_PATH {
                passed("its path is over 32 KiB; what is in it is left out");
                continue;
            }
            if !self.entered.insert(attr.ino) {
                passed("another name of a folder that was restored already; left out");
                continue;
            }
            if self.passed.insert(attr.ino) {
                visit(Step { path: &path, attr: &attr })?;
            }
            let mut folders = Vec::new();
            let mut failure = Ok(());
            let listed = self.fs.list_with_attrs(attr.ino, 0, &mut |listed, attr| {
                let path = join(&path, listed.name);
                if attr.kind == Kind::Folder {
                    folders.push(Place { path, attr: *attr });
                    return true;
                }
                failure = visit(Step { path: &path, attr });
                failure.is_ok()
            });
            failure?;
            if let Err(error) = listed {
                let what = format!("cannot be listed to its end: {error}");
                self.monitor.problem(Problem { path: named(&path), what });
            }
            todo.extend(folders.into_iter().rev());
        }
        Ok(())
    }
}

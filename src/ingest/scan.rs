//! Lists a folder: every name below it and all that the files have but their data.
//!
//! Threads list folders, any of them, the latest found first; what they find comes together in
//! the order of a walk, whichever was quicker: files of a folder by name, then its sub-folders.
//! Each folder has a channel of its own, without bound, so that no thread waits for another.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::fs::{Dir, OFlags};
use rustix::io::Errno;

use super::CreateError;
use super::catalog::{Catalog, File, ROOT};
use super::inspect::{Found, Inspector};
use crate::beneath;
use crate::format::Kind;
use crate::monitor::{Monitor, Phase, Problem};

/// Names that are handed over together.
const BATCH: usize = 1024;

/// What was found: all names, and where files are opened.
#[derive(Debug)]
pub struct Scanned {
    /// Names, and the files that they name.
    pub catalog: Catalog,
    /// What was named to be archived, by its place among the files.
    pub tops: HashMap<u32, Top>,
}

/// What the path of a file below a place of the catalog is to be followed from.
#[derive(Debug)]
pub enum Top {
    /// The folder at that place.
    Folder(OwnedFd),
    /// The folder around the file or folder at that place.
    Around(Arc<OwnedFd>),
}

/// How sources are listed.
#[derive(Clone, Copy)]
pub struct Scan<'a> {
    /// Whether times of access and of change of the inode are kept.
    pub all_times: bool,
    /// How many threads list.
    pub threads: usize,
    /// Who is told of files that vanish or are refused, and are left out.
    pub monitor: &'a dyn Monitor,
}

impl Scan<'_> {
    /// Lists all that is below `source`, which must be a folder.
    ///
    /// # Errors
    /// If it cannot be listed, or the monitor says stop.
    pub fn folder(self, source: &Path) -> Result<Scanned, CreateError> {
        self.monitor.phase(Phase::Scan);
        let fail = |error| fail(source, error);
        let opened = open_folder(source.as_os_str()).map_err(fail)?;
        let found =
            Inspector::new(self.all_times).enter(opened.as_fd()).look(b".").map_err(fail)?;
        let mut walk = Walk::new(self.monitor);
        let xattrs = walk.catalog.set_of(found.xattrs);
        walk.catalog.files.push(File { xattrs, ..found.file });
        self.below(source, &opened, ROOT, &mut walk)?;
        let tops = HashMap::from([(ROOT, Top::Folder(opened))]);
        Ok(Scanned { catalog: walk.catalog, tops })
    }

    /// Lists files and folders, each of which gets its own name in a folder like `around`.
    ///
    /// # Errors
    /// If one of them cannot be looked at, two have the same name, or the monitor says stop.
    pub fn each(self, sources: &[PathBuf], around: File) -> Result<Scanned, CreateError> {
        self.monitor.phase(Phase::Scan);
        let mut walk = Walk::new(self.monitor);
        walk.catalog.files.push(around);
        let mut tops = HashMap::new();
        let mut known = HashSet::new();
        let mut folders: HashMap<&Path, Arc<OwnedFd>> = HashMap::new();
        let mut inspector = Inspector::new(self.all_times);
        for source in sources {
            let name = source.file_name().unwrap_or_default();
            if !known.insert(name) {
                return Err(fail(source, Errno::EXIST));
            }
            let name = name.as_bytes();
            let fail = |error| fail(source, error);
            // A slash at the end follows a symlink.
            if source.as_os_str().as_bytes().ends_with(b"/") {
                let folder = open_folder(source.as_os_str()).map_err(fail)?;
                let found = inspector.enter(folder.as_fd()).look(b".").map_err(fail)?;
                let Some(at) = walk.enter(ROOT, name.into(), found) else { continue };
                self.below(source, &folder, at, &mut walk)?;
                tops.insert(at, Top::Folder(folder));
                continue;
            }
            let outer = source.parent().filter(|outer| !outer.as_os_str().is_empty());
            let outer = outer.unwrap_or(Path::new("."));
            let around = match folders.entry(outer) {
                Entry::Occupied(known) => Arc::clone(known.get()),
                Entry::Vacant(new) => {
                    let opened = open_folder(outer.as_os_str()).map_err(fail)?;
                    Arc::clone(new.insert(Arc::new(opened)))
                }
            };
            let found = inspector.enter(around.as_fd()).look(name).map_err(fail)?;
            let is_folder = found.file.kind() == Some(Kind::Folder);
            let Some(at) = walk.enter(ROOT, name.into(), found) else { continue };
            if is_folder {
                let folder = beneath::open_unseen(around.as_fd(), name, OFlags::DIRECTORY);
                self.below(source, &folder.map_err(fail)?, at, &mut walk)?;
            }
            tops.insert(at, Top::Around(around));
        }
        Ok(Scanned { catalog: walk.catalog, tops })
    }

    /// Lists all that is below an open folder, which is `top` in the catalog.
    fn below(
        self,
        source: &Path,
        opened: &OwnedFd,
        top: u32,
        walk: &mut Walk<'_>,
    ) -> Result<(), CreateError> {
        let (sender, entries) = unbounded();
        let tasks = Tasks::new(Task { path: Vec::new(), found: sender });
        std::thread::scope(|scope| {
            let work = || {
                for n in 0..self.threads.max(1) {
                    let body = || tasks.work(opened.as_fd(), self.all_times);
                    let name = format!("scan-{n}");
                    let started = std::thread::Builder::new().name(name).spawn_scoped(scope, body);
                    started.map_err(CreateError::Memory)?;
                }
                walk.run(top, entries).map_err(|stop| match stop {
                    Stop::Cancelled => CreateError::Cancelled,
                    Stop::Top(error) => fail(source, error),
                })
            };
            let done = work();
            tasks.end();
            done
        })
    }
}

fn fail(source: &Path, error: Errno) -> CreateError {
    CreateError::Source { path: source.display().to_string(), source: error.into() }
}

fn open_folder(path: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
}

/// What comes through the channel of a folder.
type Entries = Result<Vec<Listed>, Errno>;

/// A name that was found.
struct Listed {
    name: Box<[u8]>,
    /// All that the file has, or why that cannot be had.
    found: Result<Found, Errno>,
    /// Where the names in it come from, if it is a folder.
    below: Option<Receiver<Entries>>,
}

/// A folder to be listed.
struct Task {
    path: Vec<u8>,
    found: Sender<Entries>,
}

/// Folders to be listed, shared by the threads that do it.
struct Tasks {
    /// The last is to be listed first. `None`: there will be no more.
    todo: Mutex<Option<Vec<Task>>>,
    more: Condvar,
}

impl Tasks {
    fn new(first: Task) -> Self {
        Self { todo: Mutex::new(Some(vec![first])), more: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Task>>> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a folder to list; `None` at the end.
    fn next(&self) -> Option<Task> {
        let mut todo = self.lock();
        loop {
            match todo.as_mut()?.pop() {
                Some(task) => return Some(task),
                None => todo = self.more.wait(todo).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn add(&self, tasks: Vec<Task>) {
        if let Some(todo) = self.lock().as_mut() {
            // So that the first is listed first.
            todo.extend(tasks.into_iter().rev());
        }
        self.more.notify_all();
    }

    fn end(&self) {
        *self.lock() = None;
        self.more.notify_all();
    }

    /// A listing thread.
    fn work(&self, root: BorrowedFd<'_>, all_times: bool) {
        let mut inspector = Inspector::new(all_times);
        inspector.own_folder();
        while let Some(task) = self.next() {
            match list(root, &task, &mut inspector) {
                Ok(folders) if folders.is_empty() => {}
                Ok(folders) => self.add(folders),
                // Who walks is gone if it was told to stop.
                Err(error) => drop(task.found.send(Err(error))),
            }
        }
    }
}

/// Lists one folder; returns its sub-folders.
fn list(root: BorrowedFd<'_>, task: &Task, inspector: &mut Inspector) -> Result<Vec<Task>, Errno> {
    let opened = beneath::open_unseen(root, &task.path, OFlags::DIRECTORY)?;
    let mut names: Vec<Box<[u8]>> = Vec::new();
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.into());
        }
    }
    names.sort_unstable();
    // Some file systems list a name twice that is taken away and made again meanwhile.
    names.dedup();
    let mut inside = inspector.enter(opened.as_fd());
    let mut folders = Vec::new();
    let mut batch = Vec::new();
    for name in names {
        let found = inside.look(&name);
        let is_folder = |found: &Found| found.file.kind() == Some(Kind::Folder);
        let below = found.as_ref().is_ok_and(is_folder).then(|| {
            let (sender, receiver) = unbounded();
            folders.push(Task { path: joined(&task.path, &name), found: sender });
            receiver
        });
        batch.push(Listed { name, found, below });
        if batch.len() == BATCH && task.found.send(Ok(std::mem::take(&mut batch))).is_err() {
            return Ok(Vec::new());
        }
    }
    let gone = task.found.send(Ok(batch)).is_err();
    Ok(if gone { Vec::new() } else { folders })
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    let separator = if path.is_empty() { &b""[..] } else { b"/" };
    [path, separator, name].concat()
}

/// Puts together what was found.
struct Walk<'a> {
    catalog: Catalog,
    /// By device and inode number: files that have several names.
    links: HashMap<(u64, u64), u32>,
    monitor: &'a dyn Monitor,
}

/// Why a walk ended early.
enum Stop {
    Cancelled,
    Top(Errno),
}

impl<'a> Walk<'a> {
    fn new(monitor: &'a dyn Monitor) -> Self {
        Self { catalog: Catalog::default(), links: HashMap::new(), monitor }
    }

    fn run(&mut self, top: u32, entries: Receiver<Entries>) -> Result<(), Stop> {
        let mut todo = vec![(top, entries)];
        while let Some((folder, entries)) = todo.pop() {
            let start = todo.len();
            for entries in entries {
                if self.monitor.cancelled() {
                    return Err(Stop::Cancelled);
                }
                match entries {
                    Ok(entries) => self.add(folder, entries, &mut todo),
                    Err(error) if folder == top => return Err(Stop::Top(error)),
                    Err(error) => {
                        let path = self.catalog.path(folder);
                        self.problem(path, error, "what is in it is left out");
                    }
                }
            }
            // The last is popped first: so they are visited in the order of their names.
            todo[start..].reverse();
        }
        Ok(())
    }

    fn add(&mut self, folder: u32, entries: Vec<Listed>, todo: &mut Vec<(u32, Receiver<Entries>)>) {
        let (mut files, mut bytes) = (0, 0);
        for Listed { name, found, below } in entries {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    let path = joined(&self.catalog.path(folder), &name);
                    self.problem(path, error, "left out");
                    continue;
                }
            };
            let size = found.file.size;
            let Some(at) = self.enter(folder, name, found) else { continue };
            files += 1;
            bytes += size;
            todo.extend(below.map(|below| (at, below)));
        }
        self.monitor.advance(files, bytes);
    }

    /// Enters a name into the catalog; returns its file's place, unless that had a name before.
    fn enter(&mut self, folder: u32, name: Box<[u8]>, found: Found) -> Option<u32> {
        if let Some(known) = found.shared.and_then(|key| self.links.get(&key)) {
            self.catalog.link(folder, &name, *known);
            return None;
        }
        let mut file = found.file;
        file.xattrs = self.catalog.set_of(found.xattrs);
        let at = self.catalog.add(folder, name, file);
        if let Some(key) = found.shared {
            self.links.insert(key, at);
        }
        Some(at)
    }

    fn problem(&self, path: Vec<u8>, error: Errno, what: &str) {
        let error = std::io::Error::from(error);
        self.monitor.problem(Problem { path, what: format!("{error}; {what}") });
    }
}

/// Which files are as long as another: only these can be the same all through.
pub(super) fn twins(catalog: &Catalog, files: &[u32]) -> Vec<bool> {
    let mut sizes: HashMap<u64, u32> = HashMap::new();
    for at in files {
        *sizes.entry(catalog.files[*at as usize].size).or_default() += 1;
    }
    files.iter().map(|at| sizes[&catalog.files[*at as usize].size] > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Quiet;

    #[test]
    fn links_are_found_and_folders_come_in_order() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir_all(at("b/d")).unwrap();
        std::fs::create_dir_all(at("a")).unwrap();
        std::fs::write(at("b/file"), "x").unwrap();
        std::fs::hard_link(at("b/file"), at("a/link")).unwrap();
        let scan = Scan { all_times: false, threads: 2, monitor: &Quiet::default() };
        let catalog = scan.folder(temp.path()).unwrap().catalog;
        assert_eq!(catalog.names.len(), 5);
        assert_eq!(catalog.files.len(), 5);
        let regular = catalog.regular();
        assert_eq!(catalog.path(regular[0]), b"a/link");
    }
}

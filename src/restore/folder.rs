//! Restores files below a folder, and never outside of it, whatever the archive says: names are
//! single components (checked where pages are decoded), every folder is opened below the one
//! before, and no symlink is ever followed.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, renameat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use super::RestoreError;
use super::apply::apply;
use super::walk::{Step, walk};
use crate::beneath;
use crate::format::{Kind, XattrSet};
use crate::fs::{ArchiveFs, Attr, FsError, Seek};
use crate::monitor::{Monitor, Phase, Problem};

/// Bytes that are read and written at once.
const CHUNK: u32 = 1 << 20;
/// Files that wait for a thread to write them.
const WAITING: usize = 256;

/// How files are restored.
#[derive(Debug, Clone, Copy)]
pub struct FolderOptions {
    /// Threads that write files.
    pub threads: usize,
    /// Whether what is there already makes way.
    pub replace: bool,
}

/// A file whose data is to be written: its path, and what it is.
type FileJob = (Vec<u8>, Attr);

/// Restores what `paths` lead to (all, where there are none) below the folder `dest`.
///
/// What cannot be restored as it was is told to the monitor. A file whose data is damaged is
/// left out: never wrong bytes.
///
/// # Errors
/// If `dest` cannot be written to, a path leads nowhere, or the monitor says stop.
pub fn extract(
    fs: &ArchiveFs,
    dest: &Path,
    paths: &[Vec<u8>],
    options: FolderOptions,
    monitor: &dyn Monitor,
) -> Result<(), RestoreError> {
    monitor.phase(Phase::Extract);
    if paths.is_empty() {
        let totals = fs.store().root().1.totals;
        monitor.total(totals.files, totals.bytes);
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dest, flags, Mode::empty()).map_err(|error| {
        RestoreError::Output { object: dest.display().to_string(), source: error.into() }
    })?;
    let restore =
        Restore { fs, root, monitor, replace: options.replace, full: AtomicBool::new(false) };
    let (sender, receiver) = bounded(WAITING);
    let (folders, links) = std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            let (restore, receiver) = (&restore, receiver.clone());
            scope.spawn(move || restore.write_files(&receiver));
        }
        drop(receiver);
        restore.make_names(paths, sender)
    })?;
    if monitor.cancelled() {
        return Err(RestoreError::Cancelled);
    }
    if restore.full.load(Ordering::Relaxed) {
        let source = std::io::Error::from(Errno::NOSPC);
        return Err(RestoreError::Output { object: dest.display().to_string(), source });
    }
    for (first, path) in links {
        restore.note(&path, restore.link(&first, &path));
    }
    // From the deepest up: writing into a folder changes its time, and its mode may forbid it.
    for (path, attr) in folders.into_iter().rev() {
        restore.finish(&path, &attr);
    }
    Ok(())
}

struct Restore<'a> {
    fs: &'a ArchiveFs,
    root: OwnedFd,
    monitor: &'a dyn Monitor,
    replace: bool,
    /// Set when no space is left: the rest would fail the same way.
    full: AtomicBool,
}

/// Why a file could not be written.
enum Refused {
    System(Errno),
    Archive(FsError),
    Stopped,
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

impl From<FsError> for Refused {
    fn from(error: FsError) -> Self {
        Self::Archive(error)
    }
}

/// Folders to finish, and further names of files: the path of the first, and the new one.
type Names = (Vec<FileJob>, Vec<(Vec<u8>, Vec<u8>)>);

impl Restore<'_> {
    /// Makes folders and all that has no data, and hands files on to be written.
    fn make_names(&self, paths: &[Vec<u8>], files: Sender<FileJob>) -> Result<Names, RestoreError> {
        let mut folders = Vec::new();
        let mut links = Vec::new();
        let mut firsts: HashMap<u64, Vec<u8>> = HashMap::new();
        walk(self.fs, paths, self.monitor, |Step { path, attr }| {
            if self.full.load(Ordering::Relaxed) {
                return Err(RestoreError::Cancelled);
            }
            if attr.kind == Kind::Folder {
                match self.make_folder(path) {
                    Ok(()) => folders.push((path.to_vec(), *attr)),
                    made => self.note(path, made),
                }
                return Ok(());
            }
            if attr.nlink > 1 {
                if let Some(first) = firsts.get(&attr.ino) {
                    links.push((first.clone(), path.to_vec()));
                    return Ok(());
                }
                firsts.insert(attr.ino, path.to_vec());
            }
            if attr.kind == Kind::File {
                return files.send((path.to_vec(), *attr)).map_err(|_| RestoreError::Thread);
            }
            self.note(path, self.make_node(path, attr));
            Ok(())
        })
        .or_else(|error| match error {
            RestoreError::Cancelled => Ok(()),
            error => Err(error),
        })?;
        Ok((folders, links))
    }

    fn note(&self, path: &[u8], result: Result<(), Refused>) {
        let what = match result {
            Ok(()) | Err(Refused::Stopped) => return,
            Err(Refused::System(error)) => {
                if error == Errno::NOSPC || error == Errno::DQUOT {
                    self.full.store(true, Ordering::Relaxed);
                }
                std::io::Error::from(error).to_string()
            }
            Err(Refused::Archive(error)) => format!("left out: {error}"),
        };
        self.monitor.problem(Problem { path: path.to_vec(), what });
    }

    /// Opens the folder that a path lies in; returns it with the path's last name.
    fn around<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Errno> {
        let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        Ok((beneath::open(self.root.as_fd(), folder, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    fn make_folder(&self, path: &[u8]) -> Result<(), Refused> {
        if path.is_empty() {
            return Ok(());
        }
        let (folder, name) = self.around(path)?;
        match mkdirat(&folder, name, Mode::RWXU) {
            Err(Errno::EXIST) if self.replace => {
                let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    unlinkat(&folder, name, AtFlags::empty())?;
                    mkdirat(&folder, name, Mode::RWXU)?;
                }
                Ok(())
            }
            made => Ok(made?),
        }
    }

    /// Makes way for a name, where that was asked for.
    fn make_way(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        if !self.replace {
            return Ok(());
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        }
    }

    /// Makes a symlink, device, FIFO or socket.
    fn make_node(&self, path: &[u8], attr: &Attr) -> Result<(), Refused> {
        let (folder, name) = self.around(path)?;
        self.make_way(folder.as_fd(), name)?;
        match attr.kind {
            Kind::Symlink => symlinkat(self.fs.target(attr.ino)?, &folder, name)?,
            kind => {
                let kind = FileType::from_raw_mode(kind.mode());
                mknodat(&folder, name, kind, Mode::RUSR | Mode::WUSR, attr.rdev)?;
            }
        }
        self.apply(folder.as_fd(), name, path, attr)
    }

    fn apply(
        &self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        attr: &Attr,
    ) -> Result<(), Refused> {
        let xattrs: XattrSet =
            if self.fs.has_xattrs() { self.fs.xattrs(attr.ino)? } else { XattrSet::new() };
        let refused = apply(folder, name, attr, &xattrs);
        if !refused.is_empty() {
            let what = format!("could not be given {}", refused.join(", "));
            self.monitor.problem(Problem { path: path.to_vec(), what });
        }
        Ok(())
    }

    /// A writing thread.
    fn write_files(&self, files: &Receiver<FileJob>) {
        for (path, attr) in files {
            if self.monitor.cancelled() || self.full.load(Ordering::Relaxed) {
                continue;
            }
            let written = self.write_file(&path, &attr);
            self.monitor.advance(u64::from(written.is_ok()), 0);
            self.note(&path, written);
        }
    }

    fn write_file(&self, path: &[u8], attr: &Attr) -> Result<(), Refused> {
        let (folder, last) = self.around(path)?;
        // What is there makes way only for a file that is whole.
        let aside = format!(".packfs-{}-{}", std::process::id(), attr.ino);
        let name = if self.replace { aside.as_bytes() } else { last };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = openat(&folder, name, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
        if let Err(refused) = self.write_data(&file, attr) {
            unlinkat(&folder, name, AtFlags::empty())?;
            return Err(refused);
        }
        drop(file);
        self.apply(folder.as_fd(), name, path, attr)?;
        if self.replace
            && let Err(error) = renameat(&folder, name, &folder, last)
        {
            unlinkat(&folder, name, AtFlags::empty())?;
            return Err(error.into());
        }
        Ok(())
    }

    fn write_data(&self, file: &OwnedFd, attr: &Attr) -> Result<(), Refused> {
        let mut at = 0;
        while at < attr.size {
            let data = match self.fs.seek(attr.ino, at, Seek::Data) {
                Err(FsError::NoData) => break,
                data => data?,
            };
            let hole = self.fs.seek(attr.ino, data, Seek::Hole)?;
            self.monitor.advance(0, data - at);
            at = data;
            while at < hole {
                if self.monitor.cancelled() {
                    return Err(Refused::Stopped);
                }
                let want = u32::try_from(hole - at).unwrap_or(CHUNK).min(CHUNK);
                let bytes = self.fs.read(attr.ino, at, want)?;
                write_all(file, &bytes, at)?;
                at += bytes.len() as u64;
                self.monitor.advance(0, bytes.len() as u64);
            }
        }
        self.monitor.advance(0, attr.size - at);
        Ok(rustix::fs::ftruncate(file, attr.size)?)
    }

    /// Gives a file that was written another name.
    fn link(&self, first: &[u8], path: &[u8]) -> Result<(), Refused> {
        let (from, from_name) = self.around(first)?;
        let (to, to_name) = self.around(path)?;
        self.make_way(to.as_fd(), to_name)?;
        match linkat(&from, from_name, &to, to_name, AtFlags::empty()) {
            Err(Errno::NOENT) => {
                let what = "left out with the file's first name".to_owned();
                self.monitor.problem(Problem { path: path.to_vec(), what });
                Ok(())
            }
            linked => Ok(linked?),
        }
    }

    /// Gives a folder what it has, once all in it is there.
    fn finish(&self, path: &[u8], attr: &Attr) {
        let finish = || {
            if path.is_empty() {
                // DEST itself: it is what the root folder was.
                return self.apply(self.root.as_fd(), b".", b".", attr);
            }
            let (folder, name) = self.around(path)?;
            self.apply(folder.as_fd(), name, path, attr)
        };
        self.note(path, finish());
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

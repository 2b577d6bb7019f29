//! Reads files of a folder and feeds their blocks, holes and troubles.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::fs::{OFlags, SeekFrom, fstat, seek};
use rustix::io::Errno;

use super::catalog::{Catalog, ROOT, place};
use super::feed::{BATCH_BYTES, End, Feeder, Gone, Item, Trouble};
use super::scan::{Scanned, Top};
use crate::beneath;
use crate::format::{Id, Kind};
use crate::monitor::Monitor;

/// Files up to this length, in bytes, are compared whole with those of the same length.
const WHOLE: usize = BATCH_BYTES;

/// Reads files of a scanned folder; shared by all reading threads.
pub struct Reader<'a> {
    tops: &'a HashMap<u32, Top>,
    catalog: &'a Catalog,
    monitor: &'a dyn Monitor,
    /// For each digest of a whole file, the rank of the first file known to have it.
    digests: Mutex<HashMap<Id, u32>>,
}

/// Why reading stopped.
enum Stop {
    File(Trouble),
    Gone,
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        let error = std::io::Error::from(error);
        Self::File(Trouble::Lost(format!("{error}; left out")))
    }
}

/// A file to read: its place, and whether others have its length.
pub type FileJob = (u32, bool);

impl<'a> Reader<'a> {
    /// A reader of files that were found.
    pub fn new(scanned: &'a Scanned, monitor: &'a dyn Monitor) -> Self {
        let Scanned { tops, catalog } = scanned;
        Self { tops, catalog, monitor, digests: Mutex::new(HashMap::new()) }
    }

    /// Feeds all of these files; the first has this `rank` in the order of packing.
    pub fn read(&self, rank: u32, files: &[FileJob], feeder: &mut Feeder) -> Result<(), Gone> {
        let mut near = None;
        for (at, (file, twin)) in files.iter().enumerate() {
            let mut digest = None;
            let next = files.get(at + 1).map(|(next, _)| self.folder(*next));
            let opened = self.open(*file, next == Some(self.folder(*file)), &mut near);
            let rank = rank + place(at);
            let fed = opened.map_err(Stop::from).and_then(|opened| {
                self.file(&opened, *file, twin.then_some(rank), feeder, &mut digest)
            });
            let trouble = match fed {
                Ok(trouble) => trouble,
                Err(Stop::File(trouble)) => {
                    feeder.forget();
                    Some(trouble)
                }
                Err(Stop::Gone) => return Err(Gone),
            };
            feeder.tell(Item::End(End { file: *file, digest, trouble }))?;
        }
        Ok(())
    }

    /// The folder that a file has its first name in.
    fn folder(&self, file: u32) -> u32 {
        let name = self.catalog.files[file as usize].first_name;
        self.catalog.names[name as usize].folder
    }

    /// An open folder, and the path of a file below it.
    fn path(&self, file: u32) -> Option<(BorrowedFd<'_>, Vec<u8>)> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = file;
        let top = loop {
            let top = self.tops.get(&at);
            if let Some(Top::Folder(opened)) = top {
                break opened;
            }
            let name = &self.catalog.names[self.catalog.files[at as usize].first_name as usize];
            names.push(&name.name);
            match top {
                Some(Top::Around(opened)) => break opened,
                _ if at == ROOT => return None,
                _ => at = name.folder,
            }
        };
        names.reverse();
        Some((top.as_fd(), names.join(&b'/')))
    }

    /// Opens a file. Its folder is kept open if it is needed `again`: a short path is found sooner.
    fn open(
        &self,
        file: u32,
        again: bool,
        near: &mut Option<(u32, OwnedFd)>,
    ) -> Result<OwnedFd, Errno> {
        // Not blocking: it may have become a FIFO since it was listed.
        let flags = OFlags::NONBLOCK;
        let folder = self.folder(file);
        if again && near.as_ref().is_none_or(|(near, _)| *near != folder) {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            // Files that were named themselves have no folder that could be opened.
            if let Some((top, path)) = self.path(folder) {
                *near = Some((folder, beneath::open(top, &path, flags)?));
            }
        }
        match near {
            Some((near, opened)) if *near == folder => {
                let name = self.catalog.files[file as usize].first_name;
                let name = &self.catalog.names[name as usize].name;
                beneath::open_unseen(opened.as_fd(), name, flags)
            }
            _ => {
                let (top, path) = self.path(file).ok_or(Errno::NOENT)?;
                beneath::open_unseen(top, &path, flags)
            }
        }
    }

    fn file(
        &self,
        opened: &OwnedFd,
        at: u32,
        twin: Option<u32>,
        feeder: &mut Feeder,
        digest: &mut Option<Id>,
    ) -> Result<Option<Trouble>, Stop> {
        let file = &self.catalog.files[at as usize];
        if Kind::of_mode(fstat(opened)?.st_mode) != Some(Kind::File) {
            return Err(Stop::File(Trouble::Lost("is no longer a regular file; left out".into())));
        }
        // Fewer blocks than its length takes may also mean that they are compressed.
        let sparse = file.sparse && seek(opened, SeekFrom::Hole(0)).is_ok_and(|at| at < file.size);
        if file.sparse {
            seek(opened, SeekFrom::Start(0))?;
        }
        let read = if sparse {
            self.sparse(opened, file.size, feeder)?
        } else if usize::try_from(file.size).is_ok_and(|size| size <= WHOLE) {
            self.whole(opened, file.size, twin, feeder, digest)?
        } else {
            let read = self.stretch(opened, file.size, feeder)?;
            feeder.cut(true)?;
            read
        };
        let after = fstat(opened)?;
        let changed = if read < file.size {
            format!("shrank to {read} bytes while it was read")
        } else if after.st_size.cast_unsigned() > file.size {
            format!("grew while it was read; its first {read} bytes are kept")
        } else if (after.st_mtime, after.st_mtime_nsec)
            != (file.mtime.sec, u64::from(file.mtime.nsec))
        {
            "changed while it was read".to_owned()
        } else {
            return Ok(None);
        };
        Ok(Some(Trouble::Changed(changed)))
    }

    /// A short file: the same as an earlier one, or one block, or cut.
    fn whole(
        &self,
        opened: &OwnedFd,
        size: u64,
        twin: Option<u32>,
        feeder: &mut Feeder,
        digest: &mut Option<Id>,
    ) -> Result<u64, Stop> {
        let read = self.append(opened, usize::try_from(size).unwrap_or(WHOLE), feeder)?;
        if feeder.cutter().is_one_block(read) {
            let name = feeder.cutter().name(feeder.pending());
            feeder.block(name)?;
        } else {
            if let Some(rank) = twin {
                let whole = *blake3::hash(feeder.pending()).as_bytes();
                if self.first_with(whole, rank) < rank {
                    feeder.forget();
                    feeder.tell(Item::Same(whole))?;
                    return Ok(read as u64);
                }
                *digest = Some(whole);
            }
            feeder.cut(true)?;
        }
        Ok(read as u64)
    }

    /// The rank of the first file known to have that digest, of those and this one.
    ///
    /// A later file may get here before an earlier one does; then both are cut, and come to the
    /// same blocks. So what is archived does not depend on who is first.
    fn first_with(&self, digest: Id, rank: u32) -> u32 {
        let mut digests = self.digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let first = digests.entry(digest).or_insert(rank);
        let earlier = *first;
        *first = earlier.min(rank);
        earlier
    }

    /// Feeds up to `length` bytes from where the file stands; returns how many there were.
    fn stretch(&self, opened: &OwnedFd, length: u64, feeder: &mut Feeder) -> Result<u64, Stop> {
        let mut done = 0;
        while done < length {
            if self.monitor.cancelled() {
                return Err(Stop::Gone);
            }
            let want = usize::try_from(length - done).unwrap_or(BATCH_BYTES).min(BATCH_BYTES);
            let read = self.append(opened, want, feeder)?;
            feeder.cut(false)?;
            done += read as u64;
            if read < want {
                break;
            }
        }
        Ok(done)
    }

    /// A file with holes: each stretch of data is cut by itself.
    fn sparse(&self, opened: &OwnedFd, size: u64, feeder: &mut Feeder) -> Result<u64, Stop> {
        let mut at = 0;
        while at < size {
            let data = match seek(opened, SeekFrom::Data(at)) {
                Ok(data) => data.min(size),
                // Nothing but a hole up to the end, wherever that is now.
                Err(Errno::NXIO) => {
                    let end = fstat(opened)?.st_size.cast_unsigned();
                    size.min(end.max(at))
                }
                // A file system that does not tell of holes.
                Err(Errno::INVAL) => at,
                Err(error) => return Err(error.into()),
            };
            if data > at {
                feeder.tell(Item::Hole(data - at))?;
            }
            at = data;
            if at >= size {
                break;
            }
            let hole = match seek(opened, SeekFrom::Hole(at)) {
                Ok(hole) => hole.min(size),
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL) => size,
                Err(error) => return Err(error.into()),
            };
            seek(opened, SeekFrom::Start(at))?;
            let read = self.stretch(opened, hole - at, feeder)?;
            feeder.cut(true)?;
            at += read;
            if at < hole {
                break;
            }
        }
        Ok(at)
    }

    /// Appends `want` bytes from where the file stands; fewer only at its end.
    fn append(&self, opened: &OwnedFd, want: usize, feeder: &mut Feeder) -> Result<usize, Errno> {
        let buffer = feeder.buffer();
        let start = buffer.len();
        buffer.resize(start + want, 0);
        let mut done = 0;
        while done < want {
            match rustix::io::read(opened.as_fd(), &mut buffer[start + done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(error) => {
                    buffer.truncate(start);
                    return Err(error);
                }
            }
        }
        buffer.truncate(start + done);
        Ok(done)
    }
}

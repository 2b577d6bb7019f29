//! The journal of a layer, as a file.
//!
//! Order of writes, whoever asks for them: first the spool is synced, then a group is written that
//! refers to it, then the journal is synced. So a journal never says more than the spool has. A
//! group that is torn was acknowledged to nobody, and the journal ends before it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, OFlags, fallocate, fdatasync, fstatvfs};

use super::replay::{self, Replayed};
use super::spool::Spool;
use crate::format::{Change, FormatError, JournalBase, JournalHead, seal_group};
use crate::storage::{ErrorKind, StorageError};

/// Room on the disk that is set aside for what is written next, so that files can be deleted when
/// the disk is full: at most so many bytes, and that part of the disk.
const RESERVE: (u64, u64) = (8 << 20, 32);
/// If so many bytes wait to be written, the disk does not take them.
const MOST_WAITING: usize = 256 << 20;
/// Longest journal that is read, in bytes: a layer is committed long before.
const LONGEST: u64 = 8 << 30;

/// Length of what a journal begins with, in bytes.
pub const HEAD_LEN: usize = NEXT_AT + JournalBase::LEN;
const _: () = assert!(HEAD_LEN <= 512, "see Log::rest_on");
/// Where in it the root is that comes next.
const NEXT_AT: usize = JournalHead::LEN + JournalBase::LEN;

/// What a journal begins with.
#[derive(Debug)]
pub struct Beginning {
    /// Its head.
    pub head: JournalHead,
    /// The root that it rests on, or why there is none that can be read.
    pub base: Result<JournalBase, FormatError>,
    /// The root that was about to follow that, if any.
    pub next: Option<JournalBase>,
}

/// A journal.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    incoming: Mutex<Incoming>,
    written: Mutex<Written>,
    /// Whether there was no room to set aside.
    tight: AtomicBool,
}

/// What is to be written with the next sync.
#[derive(Debug, Default)]
struct Incoming {
    changes: Vec<u8>,
    /// Ranges of the spool that nobody needs after these changes.
    dropped: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Written {
    /// Where the last whole group ends, in bytes.
    end: u64,
    /// The number of the next group.
    next: u64,
    /// What was taken from `incoming`, and could not be written so far.
    left: Incoming,
    /// How far there is room.
    reserved: u64,
}

impl Log {
    /// Begins a journal in `folder`, durably; `base` is the root that it rests on, if there is no
    /// layer below.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(
        path: &Path,
        head: JournalHead,
        base: Option<&JournalBase>,
    ) -> Result<Self, StorageError> {
        let mut bytes = head.encode();
        bytes.extend(base.map_or_else(|| vec![0; JournalBase::LEN], JournalBase::encode));
        bytes.resize(HEAD_LEN, 0);
        let begin = || {
            let file = File::options().read(true).write(true).create_new(true).open(path)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
            Ok(file)
        };
        let file = begin().map_err(|error| StorageError::io(&path.display().to_string(), error))?;
        let log = Self::new(file, path);
        log.reserve(&mut log.written.lock());
        Ok(log)
    }

    fn new(file: File, path: &Path) -> Self {
        let left = Incoming::default();
        let written = Written { end: HEAD_LEN as u64, next: 1, left, reserved: 0 };
        Self {
            file,
            path: path.to_owned(),
            incoming: Mutex::default(),
            written: Mutex::new(written),
            tight: AtomicBool::new(false),
        }
    }

    /// One that nothing is ever written to, of a layer that ends with its process.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn nameless(folder: &Path) -> Result<Self, StorageError> {
        let file = tempfile::tempfile_in(folder);
        let fail = |error| StorageError::io(&folder.display().to_string(), error);
        Ok(Self::new(file.map_err(fail)?, folder))
    }

    /// Opens a journal that was left behind, which is then to be [replayed](Self::replay), and
    /// reads what it begins with. `None`: it was never begun.
    ///
    /// # Errors
    /// If it cannot be read or is no journal.
    pub fn open(path: &Path) -> Result<Option<(Self, Beginning)>, StorageError> {
        Self::open_with(path, File::options().read(true).write(true))
    }

    /// The same, to be [surveyed](Self::survey) alone.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn look_at(path: &Path) -> Result<Option<(Self, Beginning)>, StorageError> {
        Self::open_with(path, File::options().read(true))
    }

    fn open_with(
        path: &Path,
        options: &OpenOptions,
    ) -> Result<Option<(Self, Beginning)>, StorageError> {
        let name = path.display().to_string();
        let fail = |error| StorageError::io(&name, error);
        plain(path)?;
        let (file, bytes) = open(path, options).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        let head = match JournalHead::decode(&bytes) {
            Ok(head) if bytes.len() == HEAD_LEN => head,
            Ok(_) => return Ok(None),
            // It is synced before anything is written to it.
            Err(_) if length <= HEAD_LEN as u64 => return Ok(None),
            Err(error) => return Err(ErrorKind::left(&error).of(&name)),
        };
        let base = JournalBase::decode(&bytes[JournalHead::LEN..]);
        let next = JournalBase::decode(&bytes[NEXT_AT..]).ok();
        Ok(Some((Self::new(file, path), Beginning { head, base, next })))
    }

    /// Gives back what was set aside: nothing more is written to it.
    pub fn end(&self) {
        let mut written = self.written.lock();
        let more = written.reserved.saturating_sub(written.end);
        if more == 0 || !written.left.changes.is_empty() {
            return;
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, written.end, more) {
            Ok(()) => written.reserved = written.end,
            Err(error) => log::debug!("{}: {error}", self.path.display()),
        }
    }

    /// Hands its changes to `each` in order. Before anything is written to it, what comes after the
    /// last whole group is to be [cut off](Self::trim).
    ///
    /// # Errors
    /// If it cannot be read or is damaged, or what `each` fails with.
    pub fn replay(
        &self,
        each: impl FnMut(Change) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let Replayed { end, next, damage } = self.survey(each)?;
        if let Some(damage) = damage {
            return Err(damage);
        }
        let mut written = self.written.lock();
        (written.end, written.next) = (end, next);
        Ok(())
    }

    /// Cuts off what comes after the last whole group.
    ///
    /// # Errors
    /// If that fails.
    pub fn trim(&self) -> Result<(), StorageError> {
        let mut written = self.written.lock();
        let name = || self.path.display().to_string();
        self.file.set_len(written.end).map_err(|error| StorageError::io(&name(), error))?;
        self.reserve(&mut written);
        Ok(())
    }

    /// As [`Log::replay`], and changes nothing.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn survey(
        &self,
        each: impl FnMut(Change) -> Result<(), StorageError>,
    ) -> Result<Replayed, StorageError> {
        replay::replay(&self.file, &self.path.display().to_string(), HEAD_LEN as u64, each)
    }

    /// How many groups were written to it so far.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.written.lock().next - 1
    }

    /// Writes down, durably, that all below its layer is in that root: then the layers below may
    /// go. While these are there, what was there before does not count. Where there are none, it
    /// replaces a root that counts as well: it lies in the first 512 bytes, which a disk writes
    /// whole or not at all (`PostgreSQL` keeps its control file in as many for this reason).
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn rest_on(&self, base: &JournalBase) -> Result<(), StorageError> {
        self.write_root(base, JournalHead::LEN)
    }

    /// Writes down, durably, that this root is about to be the newest, and to have what its layer
    /// rests on, with its changes or without: nobody else's is taken for that.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn expect(&self, next: &JournalBase) -> Result<(), StorageError> {
        self.write_root(next, NEXT_AT)
    }

    fn write_root(&self, root: &JournalBase, at: usize) -> Result<(), StorageError> {
        let write = || -> io::Result<()> {
            self.file.write_all_at(&root.encode(), at as u64)?;
            Ok(fdatasync(&self.file)?)
        };
        write().map_err(|error| StorageError::io(&self.path.display().to_string(), error))
    }

    /// It was removed: it takes no room any more, though its layer may stay for files without a
    /// name.
    pub fn discard(&self) {
        if let Err(error) = self.file.set_len(0) {
            log::debug!("{}: {error}", self.path.display());
        }
    }

    /// Takes changes to be written with the next [`Log::sync`], and the ranges of the spool that
    /// nobody needs after that.
    pub fn push(&self, changes: &[u8], dropped: &mut Vec<(u64, u64)>) {
        let mut incoming = self.incoming.lock();
        incoming.changes.extend_from_slice(changes);
        incoming.dropped.append(dropped);
    }

    /// Whether the disk is so full that nothing should be made any more.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        if self.tight.load(Ordering::Relaxed)
            && let Some(mut written) = self.written.try_lock()
        {
            self.reserve(&mut written);
        }
        self.tight.load(Ordering::Relaxed) || self.incoming.lock().changes.len() > MOST_WAITING
    }

    /// Makes all changes that were pushed, and the data in `spool` that they refer to, survive a
    /// power cut. The journal `below`, if it is still there, is synced before, and gets no more.
    ///
    /// # Errors
    /// If the disk is full or fails. Nothing is lost: the next call tries again.
    pub fn sync(&self, spool: &Spool, below: Option<&Self>) -> Result<(), StorageError> {
        let mut written = self.written.lock();
        let mut incoming = std::mem::take(&mut *self.incoming.lock());
        written.left.changes.append(&mut incoming.changes);
        written.left.dropped.append(&mut incoming.dropped);
        spool.sync()?;
        if written.left.changes.is_empty() {
            return Ok(());
        }
        if let Some(below) = below.filter(|_| written.next == 1) {
            let mut changes = Vec::new();
            Change::Below { groups: below.groups() }.encode(&mut changes);
            changes.append(&mut written.left.changes);
            written.left.changes = changes;
        }
        let group = seal_group(written.next, &written.left.changes);
        let write = || -> io::Result<()> {
            self.file.write_all_at(&group, written.end)?;
            Ok(fdatasync(&self.file)?)
        };
        write().map_err(|error| StorageError::io(&self.path.display().to_string(), error))?;
        written.end += group.len() as u64;
        written.next += 1;
        let done = std::mem::take(&mut written.left);
        self.reserve(&mut written);
        // Not before: without the changes, what was written there is still the file's.
        done.dropped.into_iter().for_each(|(at, length)| spool.drop_range(at, length));
        Ok(())
    }

    fn reserve(&self, written: &mut Written) {
        let (most, part) = RESERVE;
        if written.reserved >= written.end + most / 2 {
            return;
        }
        let disk = fstatvfs(&self.file);
        let disk = disk.map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        let reserve = most.min(disk / part);
        let wanted = written.end + reserve;
        if written.reserved >= written.end + reserve / 2 {
            return;
        }
        let from = written.reserved.max(written.end);
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, wanted - from) {
            Ok(()) => {
                written.reserved = wanted;
                self.tight.store(false, Ordering::Relaxed);
            }
            Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
                self.tight.store(true, Ordering::Relaxed);
            }
            // Not every file system can.
            Err(_) => written.reserved = u64::MAX / 2,
        }
    }
}

/// What the system says of a file of a layer, which must be no symlink, folder or device.
///
/// # Errors
/// If it is something else, or not there.
pub fn plain(path: &Path) -> Result<Metadata, StorageError> {
    let name = || path.display().to_string();
    match path.symlink_metadata() {
        Ok(about) if about.is_file() => Ok(about),
        Ok(_) => Err(ErrorKind::Left("is no regular file".to_owned()).of(&name())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ErrorKind::Left("not found".to_owned()).of(&name()))
        }
        Err(error) => Err(StorageError::io(&name(), error)),
    }
}

/// Opens a journal, which must be a regular file, and reads what it begins with.
fn open(path: &Path, options: &OpenOptions) -> io::Result<(File, Vec<u8>)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.clone().custom_flags(flags.bits().cast_signed()).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > LONGEST {
        return Err(io::Error::other("is no journal; move it away"));
    }
    let mut bytes = Vec::new();
    (&file).take(HEAD_LEN as u64).read_to_end(&mut bytes)?;
    Ok((file, bytes))
}

//! The journal of a layer, as a file.
//!
//! Order of writes, whoever asks for them: first the spool is synced, then a group is written that
//! refers to it, then the journal is synced. So a journal never says more than the spool has. A
//! group that is torn was acknowledged to nobody, and the journal ends before it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, OFlags, fallocate, fdatasync};

use super::spool::Spool;
use crate::format::{
    Change, JournalHead, Section, group_length, group_number, open_group, seal_group,
};
use crate::storage::StorageError;

/// Room on the disk that is set aside for what is written next, in bytes: so that files can be
/// deleted when the disk is full.
const RESERVE: u64 = 8 << 20;
/// If so many bytes wait to be written, the disk does not take them.
const MOST_WAITING: usize = 256 << 20;

/// What follows a torn group is hashed so many times at most.
const LOOKED: usize = 8;
/// Longest journal that is read, in bytes: a layer is committed long before.
const LONGEST: u64 = 8 << 30;

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
    /// Begins a journal in `folder`, durably.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(path: &Path, head: JournalHead) -> Result<Self, StorageError> {
        let bytes = head.encode();
        let begin = || {
            let file = File::options().read(true).write(true).create_new(true).open(path)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
            Ok(file)
        };
        let file = begin().map_err(|error| StorageError::io(&path.display().to_string(), error))?;
        Ok(Self::new(file, path, bytes.len() as u64, 1))
    }

    fn new(file: File, path: &Path, end: u64, next: u64) -> Self {
        let written = Written { end, next, left: Incoming::default(), reserved: 0 };
        let log = Self {
            file,
            path: path.to_owned(),
            incoming: Mutex::default(),
            written: Mutex::new(written),
            tight: AtomicBool::new(false),
        };
        log.reserve(&mut log.written.lock());
        log
    }

    /// Opens a journal that was left behind, hands its changes to `each` in order, and cuts off
    /// what comes after the last whole group. `None`: it was never begun.
    ///
    /// # Errors
    /// If it cannot be read or is no journal, or what `each` fails with.
    pub fn open(
        path: &Path,
        mut each: impl FnMut(Change),
    ) -> Result<Option<(Self, JournalHead)>, StorageError> {
        let name = path.display().to_string();
        let fail = |error| StorageError::io(&name, error);
        let (file, bytes) = read(path).map_err(fail)?;
        let (head, mut end) = match JournalHead::decode(&bytes) {
            Ok(read) => read,
            // It is synced before anything is written to it.
            Err(_) if bytes.len() <= HEAD_LEN => return Ok(None),
            Err(error) => return Err(StorageError::format(&name, error)),
        };
        let mut next = 1;
        while end < bytes.len() {
            match open_group(next, &bytes[end..]) {
                Ok((changes, length)) => {
                    changes.into_iter().for_each(&mut each);
                    end += length;
                    next += 1;
                }
                // What was being written when it ended; room that was set aside is zeros.
                Err(error) if is_torn(&bytes[end..], next) => {
                    if bytes[end..].iter().any(|byte| *byte != 0) {
                        log::warn!("{name}: ends at byte {end}, with {error}");
                    }
                    break;
                }
                Err(error) => return Err(StorageError::format(&name, error)),
            }
        }
        file.set_len(end as u64).map_err(fail)?;
        Ok(Some((Self::new(file, path, end as u64, next), head)))
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
    /// power cut.
    ///
    /// # Errors
    /// If the disk is full or fails. Nothing is lost: the next call tries again.
    pub fn sync(&self, spool: &Spool) -> Result<(), StorageError> {
        let mut written = self.written.lock();
        let mut incoming = std::mem::take(&mut *self.incoming.lock());
        written.left.changes.append(&mut incoming.changes);
        written.left.dropped.append(&mut incoming.dropped);
        spool.sync()?;
        if written.left.changes.is_empty() {
            return Ok(());
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
        let wanted = written.end + RESERVE;
        if written.reserved >= written.end + RESERVE / 2 {
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

/// Whether what follows the last group that can be read was never whole: then neither it nor any
/// group after it checks out. Bytes that look like the start of very many groups are not looked
/// into without end: then they are as good as damage.
fn is_torn(bytes: &[u8], next: u64) -> bool {
    let magic = Section::Group.magic();
    let mut left = bytes.len().saturating_mul(LOOKED);
    for (at, _) in bytes.windows(magic.len()).enumerate().filter(|(_, window)| *window == magic) {
        let rest = &bytes[at..];
        let Some(length) = group_length(rest) else { continue };
        match left.checked_sub(length) {
            Some(after) if group_number(rest).is_none_or(|number| number < next) => left = after,
            _ => return false,
        }
    }
    true
}

/// Opens a journal, which must be a regular file, and reads all of it.
fn read(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    let mut file =
        options.read(true).write(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > LONGEST {
        return Err(io::Error::other("is no journal; move it away"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((file, bytes))
}

/// Length of a journal's head, in bytes.
pub const HEAD_LEN: usize = crate::format::ENVELOPE_LEN + 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_groups_without_end_is_damage() {
        let group = seal_group(5, &[0; 100]);
        let mut head = group[..crate::format::ENVELOPE_LEN].to_vec();
        assert!(is_torn(&[&head[..], &[0; 50]].concat(), 5));
        assert!(is_torn(&group, 6));
        assert!(!is_torn(&[&head[..], &group].concat(), 5));
        // Each is said to have all that follows it, and has to be hashed.
        let length = head.len() * 100;
        head[24..32].copy_from_slice(&(length as u64 / 2).to_le_bytes());
        assert!(!is_torn(&head.repeat(100), 5));
        assert!(is_torn(&head.repeat(10), 5));
    }
}

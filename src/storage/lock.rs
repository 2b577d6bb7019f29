//! The one writer of a store.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, openat, stat};
use rustix::io::Errno;

use super::{ErrorKind, StorageError};

/// The folder of the lock, and the lock. It is not part of the archive, and stays when nobody
/// holds it.
const FOLDER: &str = "live";
const LOCK: &str = "lock";
/// Longest text that is read from it, in bytes.
const LONGEST: u64 = 64;

/// What the lock says besides who holds it, once that is about to end.
const ENDING: &str = "ending";
/// How long to wait for a holder that is about to end, or has just ended.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(200));
/// How long to wait before the next look.
const PAUSE: Duration = Duration::from_millis(20);

/// Held by whoever writes to a store in a folder, until it is dropped or its process ends, however
/// that ends. Those who read need no lock.
#[derive(Debug)]
pub struct Lock(File);

/// Who holds a lock, as far as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holder {
    /// Its process.
    pub process: Option<u32>,
    /// Whether it does no more than what was begun, and then ends.
    pub ending: bool,
}

impl Holder {
    /// What the lock of the store in `folder` says of who holds it, or held it last.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        open_lock(folder).map_or(Self::default(), |file| Self::read(&file))
    }

    fn read(mut file: &File) -> Self {
        let mut text = String::new();
        // Who holds it may be about to write who it is.
        let _ = file.rewind().and_then(|()| file.take(LONGEST).read_to_string(&mut text));
        let (process, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        Self { process: process.parse().ok(), ending: rest == ENDING }
    }

    fn show(self) -> String {
        let process = self.process.map_or("another process".into(), |n| format!("process {n}"));
        match self.ending {
            true => format!("{process}, which packs what was written last"),
            false => process,
        }
    }
}

impl Lock {
    /// Becomes the writer of the store in `folder`. Who is about to end is waited for.
    ///
    /// # Errors
    /// If somebody else is, or nothing can be written there.
    pub fn take(folder: &Path) -> Result<Self, StorageError> {
        let name = folder.join(FOLDER).join(LOCK).display().to_string();
        let fail = |error: io::Error| match Errno::from_io_error(&error) {
            // A symlink, say: whoever made the store may want another file to be overwritten.
            Some(Errno::NOTDIR | Errno::LOOP) => {
                StorageError::io(&name, io::Error::other("is not the lock of a store; remove it"))
            }
            _ => StorageError::io(&name, error),
        };
        let file = open_lock(folder).map_err(fail)?;
        let start = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(fail(error.into())),
            }
            let holder = Holder::read(&file);
            let patience = if holder.ending { PATIENCE.0 } else { PATIENCE.1 };
            if start.elapsed() > patience {
                return Err(ErrorKind::Busy(holder.show()).of(&folder.display().to_string()));
            }
            std::thread::sleep(PAUSE);
        }
        let lock = Self(file);
        // Another store may have taken the place of this one before it was locked.
        if !lock.is_at(folder) {
            return Err(fail(io::Error::other("was replaced meanwhile; run it again")));
        }
        write(&lock.0, "").map_err(fail)?;
        Ok(lock)
    }

    /// Whether it is the one of the store in `folder`: neither was that moved away, nor another
    /// one put in its place.
    #[must_use]
    pub fn is_at(&self, folder: &Path) -> bool {
        let there = stat(folder.join(FOLDER).join(LOCK));
        let (Ok(held), Ok(there)) = (fstat(&self.0), there) else { return false };
        (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
    }

    /// Keeps others from becoming the writer of the store in `folder` while it lives, and changes
    /// nothing; `None`: somebody writes to it.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn watch(folder: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
        let file = File::from(open(folder.join(FOLDER).join(LOCK), flags, Mode::empty())?);
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets all who want it know that it is about to be given back: they wait.
    pub fn ending(&self) {
        // Else they are told that somebody has it, which is as true.
        let _ = write(&self.0, &format!(" {ENDING}"));
    }
}

/// Writes who holds the lock.
fn write(mut file: &File, more: &str) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "{}{more}", std::process::id())
}

/// Opens the lock, through no symlink.
fn open_lock(folder: &Path) -> io::Result<File> {
    // Whoever may write to the store may become its writer.
    let mode = fs::metadata(folder)?.mode() & 0o2777;
    match fs::create_dir(folder.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
        Ok(()) => fs::set_permissions(folder.join(FOLDER), fs::Permissions::from_mode(mode))?,
    }
    let plain = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let live = open(folder.join(FOLDER), plain | OFlags::DIRECTORY, Mode::empty())?;
    let flags = plain | OFlags::RDWR | OFlags::NONBLOCK;
    let create = flags | OFlags::CREATE | OFlags::EXCL;
    let file = match openat(&live, LOCK, create, Mode::from_raw_mode(0o600)) {
        Ok(new) => {
            let file = File::from(new);
            file.set_permissions(fs::Permissions::from_mode(mode & 0o666))?;
            file
        }
        Err(Errno::EXIST) => File::from(openat(&live, LOCK, flags, Mode::empty())?),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(Errno::LOOP.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        lock.ending();
        let own = Holder { process: Some(std::process::id()), ending: true };
        assert_eq!(Holder::of(folder.path()), own);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| Lock::take(folder.path()).unwrap());
            std::thread::sleep(PATIENCE.1 * 2);
            assert!(!waits.is_finished());
            drop(lock);
            waits.join().unwrap();
        });
        assert!(!Holder::of(folder.path()).ending);
    }

    #[test]
    fn a_lock_that_leads_elsewhere_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let letter = folder.path().join("letter");
        fs::write(&letter, "dear").unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        std::os::unix::fs::symlink(&letter, folder.path().join(FOLDER).join(LOCK)).unwrap();
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains("not the lock"), "{error}");
        fs::remove_dir_all(folder.path().join(FOLDER)).unwrap();
        std::os::unix::fs::symlink("/tmp", folder.path().join(FOLDER)).unwrap();
        assert!(Lock::take(folder.path()).is_err());
        assert_eq!(fs::read_to_string(letter).unwrap(), "dear");
    }
}

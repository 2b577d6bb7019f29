//! The one writer of a store.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, openat, stat};
use rustix::io::Errno;

use super::{ErrorKind, StorageError};

/// The folder of the lock, and the lock. It is not part of the archive, and stays when nobody
/// holds it.
const FOLDER: &str = "live";
const LOCK: &str = "lock";
/// Longest text that is read from it, in bytes.
const LONGEST: u64 = 64;

/// Held by whoever writes to a store in a folder, until it is dropped or its process ends, however
/// that ends. Those who read need no lock.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holds the lock while it is open")] File);

impl Lock {
    /// Becomes the writer of the store in `folder`.
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
        let mut file = open_lock(folder).map_err(fail)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Who holds it may be about to write who it is.
                let _ = (&mut file).take(LONGEST).read_to_string(&mut holder);
                let number = holder.trim().parse::<u32>();
                let holder = number.map_or("another process".into(), |n| format!("process {n}"));
                return Err(ErrorKind::Busy(holder).of(&folder.display().to_string()));
            }
            Err(error) => return Err(fail(error.into())),
        }
        let tell = |mut file: &File| -> io::Result<()> {
            // Another store may have taken the place of this one before it was locked.
            let (held, there) = (fstat(file)?, stat(folder.join(FOLDER).join(LOCK))?);
            if (held.st_dev, held.st_ino) != (there.st_dev, there.st_ino) {
                return Err(io::Error::other("was replaced meanwhile; run it again"));
            }
            file.rewind()?;
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        tell(&file).map_err(fail)?;
        Ok(Self(file))
    }
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
        drop(lock);
        Lock::take(folder.path()).unwrap();
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

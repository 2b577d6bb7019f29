//! The one writer of a store.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{ErrorKind, StorageError};

/// Where the lock lies in a store. It is not part of the archive, and stays when nobody holds it.
const LOCK: &str = "live/lock";
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
        let name = folder.display().to_string();
        let path = folder.join(LOCK);
        let opened = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            File::options().read(true).write(true).create(true).truncate(false).open(&path)
        });
        let mut file = opened.map_err(|error| StorageError::io(&name, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Who holds it may be about to write who it is.
                let _ = (&mut file).take(LONGEST).read_to_string(&mut holder);
                let number = holder.trim().parse::<u32>();
                let holder = number.map_or("another process".into(), |n| format!("process {n}"));
                return Err(ErrorKind::Busy(holder).of(&name));
            }
            Err(error) => return Err(StorageError::io(&name, error.into())),
        }
        let tell = |mut file: &File| -> io::Result<()> {
            file.rewind()?;
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        tell(&file).map_err(|error| StorageError::io(&name, error))?;
        Ok(Self(file))
    }
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
}

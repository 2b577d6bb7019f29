//! Keeps objects that somebody reads from being taken away.
//!
//! A lease is a lock (flock(2)) of the object's own file: to read is enough for it, it ends with
//! its process however that ends, and it does not depend on any clock. Readers share it; whoever
//! takes an object away must have it alone.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Held while an object is read, or while it is taken away.
#[derive(Debug, Default)]
pub struct Lease(#[expect(dead_code, reason = "holds what it has")] Option<Held>);

/// What a lease has: a file that is locked, or in memory a share of something.
#[derive(Debug)]
#[expect(dead_code, reason = "is held, not looked at")]
pub(super) enum Held {
    /// The lock ends when the file is closed.
    File(File),
    /// Somebody counts who has one.
    Share(Arc<()>),
}

impl Lease {
    /// Of an object in memory.
    pub(super) fn memory(share: Arc<()>) -> Self {
        Self(Some(Held::Share(share)))
    }

    /// Of a file that is read. `None`: it is being taken away, or was.
    ///
    /// Where files cannot be locked, nobody can take it away either.
    pub(super) fn share(file: File) -> io::Result<Option<Self>> {
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => {
                log::debug!("a root that is read cannot be locked: {error}");
                Ok(Some(Self::default()))
            }
            // Whoever removed it had it alone before.
            Ok(()) => Ok((file.metadata()?.nlink() > 0).then_some(Self(Some(Held::File(file))))),
        }
    }

    /// Of a file that is to be taken away. `None`: somebody reads it.
    pub(super) fn seize(file: File) -> io::Result<Option<Self>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(Some(Held::File(file))))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LocalStorage, Storage};

    #[test]
    fn what_is_read_is_not_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::new(folder.path());
        storage.put("roots/a", b"root").unwrap();
        let (one, two) = (storage.lease("roots/a").unwrap(), storage.lease("roots/a").unwrap());
        assert!(storage.seize("roots/a").unwrap().is_none());
        drop((one, two));
        let alone = storage.seize("roots/a").unwrap().unwrap();
        assert!(storage.lease("roots/a").unwrap_err().is_not_found());
        storage.delete("roots/a").unwrap();
        drop(alone);
        assert!(storage.lease("roots/a").unwrap_err().is_not_found());
        assert!(storage.seize("roots/a").unwrap_err().is_not_found());
    }
}

//! Tells when the kernel has counted that a name of a file is gone: see
//! [`crate::live::LiveFs::told`].
//!
//! It counts as soon as it has read the answer, and does not say so. A notification that waits for
//! the folder's lock would tell; but who holds that may wait for an answer of ours, and a thread
//! that waits for a lock in the kernel cannot be killed, nor could the mount.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use fuser::{INodeNo, Notifier, ReplyEmpty};

use super::answer::done;
use super::pool::Pool;
use crate::fs::FsError;
use crate::live::LiveFs;

/// The kernel has counted after so long. Should it not have, since nothing got a processor
/// meanwhile, it asks anew when it is asked next: it forgets the time of change with the name.
const COUNTS: Duration = Duration::from_millis(5);

/// A thread that waits for that.
#[derive(Debug)]
pub(super) struct Links {
    fs: Arc<LiveFs>,
    thread: Pool,
    notifier: OnceLock<Notifier>,
}

impl Links {
    pub(super) fn start(fs: Arc<LiveFs>) -> io::Result<Self> {
        Ok(Self { fs, thread: Pool::start("links", 1)?, notifier: OnceLock::new() })
    }

    /// From now on it can talk to the kernel.
    pub(super) fn notify(&self, notifier: Notifier) {
        let _ = self.notifier.set(notifier);
        self.fs.count_names();
    }

    /// Replies that a name in a folder is gone, perhaps of a file that has others.
    pub(super) fn removed(
        &self,
        folder: INodeNo,
        left: Result<Option<u64>, FsError>,
        reply: ReplyEmpty,
    ) {
        let file = left.as_ref().ok().copied().flatten();
        done(left.map(|_| ()), reply);
        file.into_iter().for_each(|file| self.left(folder.0, file));
    }

    /// The kernel was told that a name in a folder is gone, of a file that has others.
    fn left(&self, folder: u64, file: u64) {
        let Some(notifier) = self.notifier.get().cloned() else { return };
        let fs = Arc::clone(&self.fs);
        let due = Instant::now() + COUNTS;
        self.thread.run(move || {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            fs.counted(file, folder);
            // What it was told before is as good as forgotten, also if it has yet to read it.
            let _ = notifier.inval_inode(INodeNo(file), -1, 0);
        });
    }
}

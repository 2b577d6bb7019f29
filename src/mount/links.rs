//! Tells when the kernel has counted that a name of a file is gone: see
//! [`crate::live::LiveFs::told`].

use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};

use super::pool::Pool;
use crate::live::LiveFs;

/// A name that no folder has.
const NOBODY: &str = ".";

/// A thread that waits for the kernel.
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

    /// The kernel was told that a name in a folder is gone, of a file that has others.
    pub(super) fn left(&self, folder: u64, file: u64) {
        let Some(notifier) = self.notifier.get().cloned() else { return };
        let fs = Arc::clone(&self.fs);
        self.thread.run(move || {
            // It has the folder locked until it has counted, and locks it to forget a name.
            let _ = notifier.inval_entry(INodeNo(folder), OsStr::new(NOBODY));
            fs.counted(file);
            // What it was told before is as good as forgotten, also if it has yet to read it.
            let _ = notifier.inval_inode(INodeNo(file), -1, 0);
        });
    }
}

//! Who writes waits for room where nobody else has to wait for that.

use std::io;
use std::sync::Arc;

use super::pool::Pool;
use crate::live::LiveFs;

/// How many wait for room at a time; others wait in front of them.
const WAITERS: usize = 4;

/// Threads that wait for room in a store that is written to.
#[derive(Debug)]
pub(super) struct Waiters {
    fs: Arc<LiveFs>,
    threads: Pool,
}

impl Waiters {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system has none left.
    pub(super) fn start(fs: Arc<LiveFs>) -> io::Result<Self> {
        Ok(Self { fs, threads: Pool::start("wait", WAITERS)? })
    }

    /// Does what may wait.
    pub(super) fn wait(&self, job: impl FnOnce(&LiveFs) + Send + 'static) {
        let fs = Arc::clone(&self.fs);
        self.threads.run(move || job(&fs));
    }

    /// Does now what needs no room or has it, else where it may wait for it.
    pub(super) fn with_room(&self, bytes: u64, job: impl FnOnce(&LiveFs) + Send + 'static) {
        match self.fs.has_room(bytes) {
            true => job(&self.fs),
            false => self.wait(job),
        }
    }

    /// Does now what needs no room, unless changes take too much memory: then it waits elsewhere.
    pub(super) fn with_memory(&self, job: impl FnOnce(&LiveFs) + Send + 'static) {
        match self.fs.is_crowded() {
            false => job(&self.fs),
            true => self.wait(|fs| {
                fs.breathe();
                job(fs);
            }),
        }
    }
}

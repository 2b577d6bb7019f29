//! Tells when the kernel has counted that a name of a file is gone: see
//! [`crate::live::LiveFs::told`].
//!
//! The thread that removed the name counts as soon as it runs again, and does not say so. A
//! notification that waits for the folder's lock would tell; but who holds that may wait for an
//! answer of ours, and a thread that waits for a lock in the kernel cannot be killed, nor could the
//! mount. So it is told from the thread itself: that it asks for something else, or that it has had
//! a processor since, as the kernel shows in `/proc/<thread>/stat` and `schedstat`
//! (proc_pid_stat(5), `Documentation/scheduler/sched-stats.rst`).

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use fuser::{INodeNo, Notifier, ReplyEmpty, Request};
use parking_lot::Mutex;

use super::answer::done;
use super::pool::Pool;
use crate::fs::FsError;
use crate::live::LiveFs;

/// Mostly the kernel has counted after so long.
const COUNTS: Duration = Duration::from_millis(5);
/// How long it takes for sure, of threads that cannot be seen from here.
const UNSEEN: Duration = Duration::from_millis(50);
/// How long a thread is waited for that gets no processor.
const STARVED: Duration = Duration::from_secs(2);

/// A name that was removed.
#[derive(Debug)]
struct Left {
    folder: u64,
    file: u64,
    /// The thread that has removed it; 0: one of another pid namespace.
    thread: u32,
    /// Whether the kernel is known to have counted.
    counted: bool,
}

/// A thread that waits for that.
#[derive(Debug)]
pub(super) struct Links {
    fs: Arc<LiveFs>,
    waiting: Pool,
    left: Arc<Mutex<VecDeque<Left>>>,
    notifier: OnceLock<Notifier>,
}

impl Links {
    pub(super) fn start(fs: Arc<LiveFs>) -> io::Result<Self> {
        let (waiting, left) = (Pool::start("links", 1)?, Arc::default());
        Ok(Self { fs, waiting, left, notifier: OnceLock::new() })
    }

    /// From now on it can talk to the kernel.
    pub(super) fn notify(&self, notifier: Notifier) {
        let _ = self.notifier.set(notifier);
        self.fs.count_names();
    }

    /// Replies to a thread that a name in a folder is gone, perhaps of a file that has others.
    pub(super) fn removed(
        &self,
        thread: u32,
        folder: INodeNo,
        left: Result<Option<u64>, FsError>,
        reply: ReplyEmpty,
    ) {
        let file = left.as_ref().ok().copied().flatten();
        let (Some(file), Some(notifier)) = (file, self.notifier.get().cloned()) else {
            return done(left.map(|_| ()), reply);
        };
        // Before it can ask for anything else.
        self.left.lock().push_back(Left { folder: folder.0, file, thread, counted: false });
        done(left.map(|_| ()), reply);
        let (fs, left) = (Arc::clone(&self.fs), Arc::clone(&self.left));
        let due = Instant::now() + if thread == 0 { UNSEEN } else { COUNTS };
        self.waiting.run(move || {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let waited_for =
                left.lock().front().filter(|left| !left.counted).map(|left| left.thread);
            waited_for.into_iter().for_each(await_run);
            let Some(left) = left.lock().pop_front() else { return };
            if !left.counted {
                fs.counted(left.file, left.folder);
            }
            // What it was told before is as good as forgotten, also if it has yet to read it.
            let _ = notifier.inval_inode(INodeNo(left.file), -1, 0);
        });
    }

    /// A thread asks for something: all that it was answered before, it has taken in.
    pub(super) fn asked(&self, request: &Request) {
        if !self.fs.is_counting() || request.pid() == 0 {
            return;
        }
        let mut left = self.left.lock();
        for left in left.iter_mut().filter(|left| left.thread == request.pid() && !left.counted) {
            left.counted = true;
            self.fs.counted(left.file, left.folder);
        }
    }
}

/// Waits until a thread that was answered has had a processor since.
fn await_run(thread: u32) {
    let (start, first) = (Instant::now(), turns(thread));
    while first.is_some() && turns(thread) == first && start.elapsed() < STARVED {
        thread::sleep(Duration::from_millis(1));
    }
}

/// How long, and how often, a thread had a processor so far; `None` if it waits for none: it does
/// something else than to take in an answer, or is gone.
fn turns(thread: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    let (_, state) = stat.rsplit_once(')')?;
    let runs = state.trim_start().starts_with('R');
    runs.then(|| fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_or_runs_or_is_gone_has_run() {
        let start = Instant::now();
        let own = rustix::thread::gettid().as_raw_pid().cast_unsigned();
        thread::scope(|scope| {
            scope.spawn(|| await_run(own));
        });
        // Itself, it runs meanwhile.
        assert!(turns(own).is_some());
        await_run(own);
        await_run(u32::MAX);
        assert!(start.elapsed() < STARVED);
    }
}

//! Threads for what takes a while.
//!
//! A mount has one event loop: each message that another thread takes up is one that it must be
//! woken for, on another core, which costs more than most answers do. So the loop answers what it
//! can at once, and hands over here what would keep the next message waiting.

use std::fmt;
use std::io;
use std::thread;

use crossbeam_channel::{Sender, unbounded};

/// Something to be done, and answered.
type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait for jobs; they end when it is dropped.
pub(super) struct Pool(Sender<Job>);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool of {} jobs", self.0.len())
    }
}

impl Pool {
    /// Starts so many threads of that name.
    ///
    /// # Errors
    /// If the system has none left.
    pub(super) fn start(name: &str, threads: usize) -> io::Result<Self> {
        let (sender, jobs) = unbounded::<Job>();
        for n in 0..threads {
            let jobs = jobs.clone();
            let body = move || jobs.into_iter().for_each(|job| job());
            thread::Builder::new().name(format!("{name}-{n}")).spawn(body)?;
        }
        Ok(Self(sender))
    }

    /// Has a job done: the kernel never has more of them under way than it waits for itself.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if let Err(job) = self.0.send(Box::new(job)) {
            (job.0)();
        }
    }
}

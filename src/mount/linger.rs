//! Waits a moment for the next request before an event loop sleeps.
//!
//! To wake a thread that sleeps on another processor takes tens of microseconds on a virtual
//! machine, whose idle processors are given back to the host: several times what answers take.
//! Whoever walks a tree or unpacks one waits for each answer, so that would be most of their time.
//! So a loop looks for the next request for a moment, as long as one follows the other closely, and
//! processors are kept [awake](super::awake) for who waits for the answer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::awake::Awake;
use crate::parallel::processors;

/// How long to look for a request.
const MOMENT: Duration = Duration::from_micros(100);
/// A request that comes within this after the last answer follows it closely: as long as a thread
/// that sleeps may take to wake, twice.
const CLOSE: Duration = Duration::from_micros(200);

/// What the event loops of a connection have in common.
#[derive(Debug)]
pub(super) struct Linger {
    connection: OwnedFd,
    begun: Instant,
    /// When the last request was answered, in nanoseconds since the beginning.
    answered: AtomicU64,
    /// Whether a loop looks already; or nothing is gained where there is one processor.
    taken: AtomicBool,
    awake: Option<Awake>,
}

/// A request that is being answered; once it is dropped, the next one is looked for.
pub(super) struct Answering<'a> {
    linger: &'a Linger,
    is_close: bool,
}

impl Linger {
    /// For the loops that read from `connection`; `awake`: processors may be kept awake.
    ///
    /// # Errors
    /// If there are too many open files.
    pub(super) fn new(connection: impl AsFd, awake: bool) -> io::Result<Self> {
        Ok(Self {
            connection: connection.as_fd().try_clone_to_owned()?,
            begun: Instant::now(),
            answered: AtomicU64::new(0),
            taken: AtomicBool::new(processors() == 1),
            awake: if awake && processors() > 1 { Awake::start() } else { None },
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A request has come.
    pub(super) fn request(&self) -> Answering<'_> {
        let since = self.now().saturating_sub(self.answered.load(Ordering::Relaxed));
        Answering { linger: self, is_close: Duration::from_nanos(since) < CLOSE }
    }

    /// Looks for a request, and lets others run meanwhile.
    fn look(&self) {
        let start = Instant::now();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        while start.elapsed() < MOMENT {
            let connection = PollFd::new(&self.connection, PollFlags::IN);
            if poll(&mut [connection], Some(&at_once)) != Ok(0) {
                return;
            }
            thread::yield_now();
        }
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let linger = self.linger;
        linger.answered.store(linger.now(), Ordering::Relaxed);
        if !self.is_close {
            return;
        }
        linger.awake.iter().for_each(Awake::close);
        if !linger.taken.swap(true, Ordering::Relaxed) {
            linger.look();
            linger.taken.store(false, Ordering::Relaxed);
        }
    }
}

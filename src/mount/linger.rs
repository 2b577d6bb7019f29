//! Waits a moment for the next request before an event loop sleeps.
//!
//! To wake a thread that sleeps on another processor takes tens of microseconds on a virtual
//! machine, whose idle processors are given back to the host: several times what answers take.
//! Whoever walks a tree or unpacks one waits for each answer, so that would be most of their time.
//! So a loop looks for the next request for a moment, as long as one follows the other closely, and
//! processors are kept [awake](super::awake) for who waits for the answer.
//!
//! Where others want the processor meanwhile, looking would cost them, and letting them run costs
//! whoever comes next: they keep it for milliseconds, while a thread that sleeps gets it back as
//! soon as it is woken. So then the loop sleeps.

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
/// Who lets others run and is back only after this, shares the processor with them.
const SHARED: Duration = Duration::from_micros(50);
/// There is no looking then for so long at least, twice as long the next time, and so long at most.
const RESTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(64));

/// What the event loops of a connection have in common.
#[derive(Debug)]
pub(super) struct Linger {
    connection: OwnedFd,
    begun: Instant,
    /// When the last request was answered, in nanoseconds since the beginning.
    answered: AtomicU64,
    /// Whether a loop looks already; or nothing is gained where there is one processor.
    taken: AtomicBool,
    rest: Rest,
    awake: Option<Awake>,
}

/// When there is no looking, in nanoseconds: the more often others want the processor, the longer.
#[derive(Debug)]
struct Rest {
    until: AtomicU64,
    /// How long the next one takes.
    next: AtomicU64,
}

/// A request that is being answered; once it is dropped, the next one is looked for.
pub(super) struct Answering<'a> {
    linger: &'a Linger,
    is_close: bool,
}

impl Default for Rest {
    fn default() -> Self {
        Self { until: AtomicU64::new(0), next: AtomicU64::new(nanos(RESTS.0)) }
    }
}

impl Rest {
    /// Whether it lasts.
    fn lasts(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Relaxed)
    }

    /// Others wanted the processor: it begins.
    fn begin(&self, now: u64) {
        let rest = self.next.load(Ordering::Relaxed);
        self.until.store(now + rest, Ordering::Relaxed);
        self.next.store((rest * 2).min(nanos(RESTS.1)), Ordering::Relaxed);
    }

    /// A request was found: the next one is shorter.
    fn found(&self) {
        let rest = self.next.load(Ordering::Relaxed);
        self.next.store((rest / 2).max(nanos(RESTS.0)), Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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
            rest: Rest::default(),
            awake: if awake && processors() > 1 { Awake::start() } else { None },
        })
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }

    /// A request has come.
    pub(super) fn request(&self) -> Answering<'_> {
        let since = self.now().saturating_sub(self.answered.load(Ordering::Relaxed));
        Answering { linger: self, is_close: since < nanos(CLOSE) }
    }

    /// Looks for a request, and lets others run meanwhile.
    fn look(&self, start: u64) {
        let (at_once, mut now) = (Timespec { tv_sec: 0, tv_nsec: 0 }, start);
        while now - start < nanos(MOMENT) {
            let connection = PollFd::new(&self.connection, PollFlags::IN);
            if poll(&mut [connection], Some(&at_once)) != Ok(0) {
                return self.rest.found();
            }
            let before = self.now();
            thread::yield_now();
            now = self.now();
            if now - before > nanos(SHARED) {
                return self.rest.begin(now);
            }
        }
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let (linger, now) = (self.linger, self.linger.now());
        linger.answered.store(now, Ordering::Relaxed);
        if !self.is_close {
            return;
        }
        linger.awake.iter().for_each(Awake::close);
        if linger.rest.lasts(now) {
            return;
        }
        if !linger.taken.swap(true, Ordering::Relaxed) {
            linger.look(now);
            linger.taken.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_are_longer_the_more_often_others_want_the_processor() {
        let (rest, mut now) = (Rest::default(), 1_000_000);
        let mut longest = 0;
        assert!(!rest.lasts(now));
        for _ in 0..10 {
            rest.begin(now);
            let took = rest.until.load(Ordering::Relaxed) - now;
            assert!(rest.lasts(now + took - 1) && !rest.lasts(now + took));
            assert!(took >= longest && took >= nanos(RESTS.0));
            (longest, now) = (took, now + took);
        }
        assert_eq!(longest, nanos(RESTS.1));
        (0..10).for_each(|_| rest.found());
        rest.begin(now);
        assert_eq!(rest.until.load(Ordering::Relaxed), now + nanos(RESTS.0));
    }
}

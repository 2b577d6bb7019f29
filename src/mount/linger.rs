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
//! soon as it is woken. So then the loop sleeps. It also sleeps where more threads want to run than
//! there are processors, though none of them this one: whoever unpacks what is compressed would
//! share a processor with what inflates it, while the loop looks on the other.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
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
/// How often the kernel is asked how many threads want to run.
const COUNTED: Duration = Duration::from_millis(2);
/// Where it says so: `proc_loadavg(5)`.
const RUNNING: &str = "/proc/loadavg";

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
    processors: usize,
    running: Option<File>,
    /// When it was last asked, in nanoseconds.
    counted: AtomicU64,
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

    /// More than there are processors want to run: it is as long as it can be.
    fn crowd(&self, now: u64) {
        self.until.store(now + nanos(RESTS.1), Ordering::Relaxed);
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

/// How many threads want to run, by `/proc/loadavg`.
fn running(text: &[u8]) -> Option<usize> {
    let word = text.split(|&byte| byte == b' ').nth(3)?;
    let count = word.split(|&byte| byte == b'/').next()?;
    std::str::from_utf8(count).ok()?.parse().ok()
}

impl Linger {
    /// For the loops that read from `connection`; `awake`: processors may be kept awake.
    ///
    /// # Errors
    /// If there are too many open files.
    pub(super) fn new(connection: impl AsFd, awake: bool) -> io::Result<Self> {
        let processors = processors();
        Ok(Self {
            connection: connection.as_fd().try_clone_to_owned()?,
            begun: Instant::now(),
            answered: AtomicU64::new(0),
            taken: AtomicBool::new(processors == 1),
            rest: Rest::default(),
            processors,
            running: File::open(RUNNING).ok(),
            counted: AtomicU64::new(0),
            awake: if awake && processors > 1 { Awake::start() } else { None },
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

    /// Whether more threads want to run than there are processors: who looks is one of them, and
    /// who was just answered another.
    fn crowded(&self, now: u64) -> bool {
        if now < self.counted.load(Ordering::Relaxed) + nanos(COUNTED) {
            return false;
        }
        self.counted.store(now, Ordering::Relaxed);
        let mut text = [0; 64];
        let Some(Ok(length)) = self.running.as_ref().map(|file| file.read_at(&mut text, 0)) else {
            return false;
        };
        running(&text[..length]).is_some_and(|count| count > self.processors)
    }

    /// Looks for a request, and lets others run meanwhile.
    fn look(&self, start: u64) {
        if self.crowded(start) {
            return self.rest.crowd(start);
        }
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
    fn the_kernel_tells_how_many_threads_want_to_run() {
        assert_eq!(running(b"0.66 1.89 2.33 3/315 1234\n"), Some(3));
        for text in ["", "0.66 1.89 2.33", "0.66 1.89 2.33 many/315 1234", "0.66 1.89 2.33 /315"] {
            assert_eq!(running(text.as_bytes()), None, "{text}");
        }
        let text = std::fs::read(RUNNING).unwrap();
        assert!(running(&text).is_some_and(|count| count > 0), "{text:?}");
    }

    #[test]
    fn where_more_want_to_run_than_there_are_processors_there_is_no_looking() {
        let (rest, now) = (Rest::default(), 1_000_000);
        rest.crowd(now);
        assert!(rest.lasts(now + nanos(RESTS.1) - 1) && !rest.lasts(now + nanos(RESTS.1)));
        rest.found();
        assert_eq!(rest.next.load(Ordering::Relaxed), nanos(RESTS.0));
    }

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

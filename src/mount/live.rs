//! What a mount has done so far, readable in the mount itself.
//!
//! Its root folder has one name more than it lists, [`LIVE`]: whoever looks it up gets a small file
//! of JSON, made at that moment. Each time it is another inode, so that no cache keeps an old one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::format::{Kind, Time};
use crate::fs::{ArchiveFs, Attr, figures};
use crate::tree::ROOT;

/// The name of the file in the root folder of a mount.
pub const LIVE: &str = ".packfs-live";
/// Numbers of its inodes begin here: no archive comes so far.
pub const LIVE_INODES: u64 = 1 << 62;
/// How many files that were made are kept for those who still read them.
const KEPT: usize = 16;
/// Latencies are counted by powers of two, in units of 1/4 microsecond.
const BUCKETS: usize = 32;
/// Nanoseconds of the first of these.
const UNIT: u128 = 250;

/// What a mount counts. Cheap enough to be always on: some additions for each message.
#[derive(Debug)]
pub(super) struct Live {
    started: Instant,
    lookups: AtomicU64,
    listings: AtomicU64,
    reads: AtomicU64,
    returned: AtomicU64,
    handed_files: AtomicU64,
    handed_bytes: AtomicU64,
    /// How long reads took, from the moment that they were seen until they were answered.
    latencies: [AtomicU64; BUCKETS],
    made: Mutex<Made>,
}

/// The files that were made, newest last.
#[derive(Debug)]
struct Made {
    next: u64,
    /// Whose they are: user and group of the mount's root folder.
    owner: (u32, u32),
    files: VecDeque<(u64, Arc<[u8]>)>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            lookups: AtomicU64::default(),
            listings: AtomicU64::default(),
            reads: AtomicU64::default(),
            returned: AtomicU64::default(),
            handed_files: AtomicU64::default(),
            handed_bytes: AtomicU64::default(),
            latencies: std::array::from_fn(|_| AtomicU64::default()),
            made: Mutex::new(Made { next: LIVE_INODES, owner: (0, 0), files: VecDeque::new() }),
        }
    }

    pub(super) fn looked_up(&self) {
        self.lookups.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn listed(&self) {
        self.listings.fetch_add(1, Ordering::Relaxed);
    }

    /// A read was answered with so many bytes.
    pub(super) fn answered(&self, bytes: usize, took: Duration) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.returned.fetch_add(bytes as u64, Ordering::Relaxed);
        let bucket = (u128::BITS - (took.as_nanos() / UNIT).leading_zeros()) as usize;
        self.latencies[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// A file was handed to the kernel unasked.
    pub(super) fn handed_over(&self, bytes: usize) {
        self.handed_files.fetch_add(1, Ordering::Relaxed);
        self.handed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The time within which that share of all reads was answered, at most, in microseconds.
    fn latency(counts: &[u64], share: f64) -> f64 {
        let all: u64 = counts.iter().sum();
        let mut left = (all as f64 * share).ceil();
        for (bucket, count) in counts.iter().enumerate() {
            left -= *count as f64;
            if left <= 0.0 && all > 0 {
                return f64::exp2(bucket as f64) * 0.25;
            }
        }
        0.0
    }

    /// All of it, as JSON.
    pub(super) fn tell(&self, fs: &ArchiveFs) -> Value {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let latencies: Vec<u64> = self.latencies.iter().map(load).collect();
        let inflated = fs.store().inflated_bytes();
        let out = load(&self.returned) + load(&self.handed_bytes);
        let mut told = figures(fs.store());
        let more = json!({
            "seconds": self.started.elapsed().as_secs(),
            "messages": {
                "lookups": load(&self.lookups),
                "listings": load(&self.listings),
                "reads": load(&self.reads),
            },
            "returned": load(&self.returned),
            "handed_over": { "files": load(&self.handed_files), "bytes": load(&self.handed_bytes) },
            "inflated_for_each": if out > 0 { inflated as f64 / out as f64 } else { 0.0 },
            "read_microseconds": {
                "p50": Self::latency(&latencies, 0.5),
                "p90": Self::latency(&latencies, 0.9),
                "p99": Self::latency(&latencies, 0.99),
                "max": Self::latency(&latencies, 1.0),
            },
        });
        if let Value::Object(more) = more {
            told.extend(more);
        }
        Value::Object(told)
    }

    /// Makes a file of it, and tells what that is.
    pub(super) fn make(&self, fs: &ArchiveFs) -> Attr {
        let text: Arc<[u8]> = format!("{:#}\n", self.tell(fs)).into_bytes().into();
        let owner = fs.attr(ROOT).map_or((0, 0), |root| (root.uid, root.gid));
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.owner = owner;
        let ino = made.next;
        made.next += 1;
        made.files.push_back((ino, Arc::clone(&text)));
        if made.files.len() > KEPT {
            made.files.pop_front();
        }
        attr(ino, &text, made.owner)
    }

    /// The file of that inode, if it is one that was made here.
    pub(super) fn file(&self, ino: u64) -> Option<(Attr, Arc<[u8]>)> {
        if ino < LIVE_INODES {
            return None;
        }
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, text) = made.files.iter().find(|(known, _)| *known == ino)?;
        Some((attr(ino, text, made.owner), Arc::clone(text)))
    }
}

fn attr(ino: u64, text: &[u8], (uid, gid): (u32, u32)) -> Attr {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let now = Time { sec: i64::try_from(now.as_secs()).unwrap_or(0), nsec: now.subsec_nanos() };
    Attr {
        ino,
        kind: Kind::File,
        mode: 0o444,
        nlink: 1,
        uid,
        gid,
        size: text.len() as u64,
        blocks: 1,
        rdev: 0,
        mtime: now,
        atime: now,
        ctime: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_told_to_a_power_of_two() {
        let live = Live::new();
        for _ in 0..98 {
            live.answered(10, Duration::from_micros(3));
        }
        live.answered(10, Duration::from_micros(700));
        live.answered(10, Duration::from_secs(3));
        let counts: Vec<u64> = live.latencies.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let tell = |share| Live::latency(&counts, share);
        assert!((3.0..=6.0).contains(&tell(0.5)), "{}", tell(0.5));
        assert!((700.0..=1400.0).contains(&tell(0.99)), "{}", tell(0.99));
        assert!(tell(1.0) >= 3e6);
        assert!(Live::latency(&[0; BUCKETS], 0.5).abs() < 1e-9);
    }
}

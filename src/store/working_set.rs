//! Inflated frames, held in memory for whoever reads an archive.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::Error;
use super::frame::Frame;
use crate::buffers::Buffers;
use crate::cache::{self, Cache};
use crate::format::Id;
use crate::index::FrameId;

/// The working set has one part in so many of the machine's memory by default,
const SHARE: u64 = 16;
/// but neither less nor more than this, in bytes.
const BOUNDS: (u64, u64) = (64 << 20, 2 << 30);
/// One part in so many of the budget is for what comes beside frames: buffers, pages of trees, and
/// what the allocator cannot help.
const BESIDE: u64 = 8;
/// Memory comes in pieces of so many bytes.
const PAGE: u64 = 4096;
/// What the working set itself takes for a frame, in bytes.
const ENTRY: u64 = 1024;

/// The default budget of the working set, in bytes: a part of the memory that there is.
#[must_use]
pub fn default_working_set() -> u64 {
    let system = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "its width differs between machines")]
    let memory = u64::from(system.totalram).saturating_mul(system.mem_unit.into());
    // Where a container's limit is, as far as it can see it.
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|limit| limit.trim().parse().ok()).unwrap_or(memory);
    (memory.min(limit) / SHARE).clamp(BOUNDS.0, BOUNDS.1)
}

/// Inflated frames under a byte budget. What shows several roots of an archive, one after the
/// other, has one for all of them: most frames of a root are those of the one before.
#[derive(Debug)]
pub struct WorkingSet {
    /// Bytes that all of it may take.
    pub(super) budget: u64,
    /// By the number of their segment here, which stays, whatever roots list segments in.
    pub(super) frames: Cache<FrameId, Frame, Error>,
    /// What is inflated goes into these.
    pub(super) buffers: Buffers,
    /// Bytes that were inflated so far.
    pub(super) inflated: AtomicU64,
    segments: Mutex<HashMap<Id, u32>>,
}

impl WorkingSet {
    /// An empty one with a budget, in bytes.
    #[must_use]
    pub(super) fn new(budget: u64) -> Self {
        let (buffers, inflated, segments) = Default::default();
        let frames = Cache::new(budget - budget / BESIDE);
        Self { budget, frames, buffers, inflated, segments }
    }

    /// How many bytes may be inflated before they are asked for: what is new has a quarter of the
    /// budget, and what is read just now shall not have to go for what is read next.
    pub(super) fn ahead(&self) -> u64 {
        self.budget / cache::NEW / 2
    }

    /// The number of a segment.
    pub(super) fn number(&self, segment: Id) -> u32 {
        let mut segments = self.segments.lock();
        let next = u32::try_from(segments.len()).unwrap_or(u32::MAX);
        *segments.entry(segment).or_insert(next)
    }
}

/// What a frame of that many bytes takes: whole pages of memory, and what there is to know of it.
pub(super) fn weight(inflated: u64) -> u64 {
    inflated.next_multiple_of(PAGE) + ENTRY
}

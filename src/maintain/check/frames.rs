//! Verifies frames: their checksums, and, in a deep check, that they inflate to blocks of the
//! hashes that their pack lists.

use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::damage::{may_go_on, reason};
use super::packs::{FrameKey, frame_key};
use super::{Checker, Damage, What};
use crate::format::{Cutting, FrameRecord, Id, PackFooter, Problem};
use crate::ingest::Cutter;
use crate::maintain::{Error, parallel};
use crate::monitor::Monitor;
use crate::pack::{self, Inflation};
use crate::storage::{Storage, StorageError};

/// Bytes that are read at once: enough for a disk, and few enough for the processor's cache.
const READ: usize = 1 << 20;
/// Stored bytes that one thread takes on at a time.
const JOB: u64 = 16 << 20;

/// Frames of one pack that lie one after the other.
pub(super) struct Job {
    pack: Id,
    length: u64,
    frames: Vec<FrameRecord>,
}

/// What is wrong with a frame, or with a block of it: its ordinal in the pack, and where it lies
/// in the inflated frame.
pub(super) enum Trouble {
    Frame(String),
    Block(usize, u32, u32),
}

/// What is wrong, in which pack, at which frame.
pub(super) type Found = (Id, FrameKey, Trouble);

/// Calls `find`, which finds frames, and verifies them meanwhile; what is wrong with them.
pub(super) fn verify<R>(
    storage: &dyn Storage,
    deep: bool,
    monitor: &dyn Monitor,
    find: impl FnOnce(&mut dyn FnMut(Job)) -> Result<R, Error>,
) -> Result<(R, Vec<Found>), Error> {
    let found: Mutex<Vec<Found>> = Mutex::new(Vec::new());
    let work = |footer: &mut LastFooter, job: Job| {
        let mut bad = |frame: &FrameRecord, trouble| {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.push((job.pack, frame_key(frame), trouble));
        };
        match deep {
            false => checksums(storage, &job, monitor, &mut bad),
            true => blocks(storage, &job, monitor, footer, &mut bad),
        }
    };
    let done = parallel::found(find, || None, work)?;
    Ok((done, found.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

impl Checker<'_> {
    /// Takes note of what is wrong with frames.
    pub(super) fn frames(&mut self, mut found: Vec<Found>) {
        found.sort_by_key(|(pack, frame, _)| (*pack, *frame));
        for (id, frame, trouble) in found {
            let key = pack::key(&id);
            let (what, place, why) = match &trouble {
                Trouble::Frame(why) => (What::Frame, String::new(), why.clone()),
                Trouble::Block(block, ..) => {
                    let why = "its hash is another than the pack lists";
                    (What::Block, format!(", block {block}"), why.to_owned())
                }
            };
            let place = format!("frame at byte {}{place}", frame.0);
            let damage = Damage::new(what, &key, &place, why);
            let at = self.add(Damage { at: frame.0, ..damage });
            let Some(pack) = self.packs.0.get_mut(&id) else { continue };
            match trouble {
                Trouble::Frame(_) => _ = pack.bad.insert(frame, at),
                Trouble::Block(_, from, to) => {
                    pack.blocks.entry(frame).or_default().push((from, to, at));
                }
            }
        }
    }

    /// Hands over all frames that are new and not known to be lost, in the order they lie.
    pub(super) fn hand_over(&mut self, take: &mut dyn FnMut(Job)) {
        for (id, pack) in &mut self.packs.0 {
            let fresh = std::mem::take(&mut pack.fresh).into_iter();
            let mut job: Option<(u64, Job)> = None;
            for (key, frame) in fresh.filter(|(key, _)| !pack.bad.contains_key(key)) {
                let (stored, length) = (u64::from(key.1), pack.size);
                self.bytes += stored;
                let full = job.take_if(|(bytes, _)| *bytes + stored > JOB);
                full.into_iter().for_each(|(_, full)| take(full));
                let empty = || (0, Job { pack: *id, length, frames: Vec::new() });
                let (bytes, job) = job.get_or_insert_with(empty);
                *bytes += stored;
                job.frames.push(frame);
            }
            job.into_iter().for_each(|(_, last)| take(last));
        }
        self.monitor.total(self.packs.count() as u64, self.bytes);
    }
}

/// Verifies the checksums of frames.
fn checksums(
    storage: &dyn Storage,
    job: &Job,
    monitor: &dyn Monitor,
    bad: &mut impl FnMut(&FrameRecord, Trouble),
) -> Result<(), Error> {
    let key = pack::key(&job.pack);
    let mut at = 0;
    while let Some(first) = job.frames.get(at) {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        let (count, length) = together(&job.frames[at..]);
        let frames = &job.frames[at..at + count];
        at += count;
        monitor.advance(0, length as u64);
        let read =
            if count > 1 { storage.get_range(&key, first.offset, length) } else { Ok(vec![]) };
        if let (true, Ok(bytes)) = (count > 1, &read) {
            for frame in frames {
                let from = usize::try_from(frame.offset - first.offset).unwrap_or(usize::MAX);
                let stored = bytes.get(from..).and_then(|rest| rest.get(..frame.stored as usize));
                if stored.is_none_or(|stored| xxh3_64(stored) != frame.checksum) {
                    bad(frame, Trouble::Frame(Problem::Checksum.to_string()));
                }
            }
            continue;
        }
        // Large, or not all of them can be read.
        for frame in frames {
            match sum(storage, &key, frame) {
                Ok(sum) if sum == frame.checksum => {}
                Ok(_) => bad(frame, Trouble::Frame(Problem::Checksum.to_string())),
                Err(error) => unreadable(frame, &error, bad)?,
            }
        }
    }
    monitor.advance(1, 0);
    Ok(())
}

fn unreadable(
    frame: &FrameRecord,
    error: &StorageError,
    bad: &mut impl FnMut(&FrameRecord, Trouble),
) -> Result<(), Error> {
    may_go_on(&error.clone().into())?;
    bad(frame, Trouble::Frame(reason(&error.kind)));
    Ok(())
}

/// How many frames are read at once, and the bytes that they and what lies between them come to.
fn together(frames: &[FrameRecord]) -> (usize, usize) {
    let first = frames.first().map_or(0, |first| first.offset);
    let span = |frame: &FrameRecord| frame.offset.saturating_sub(first) + u64::from(frame.stored);
    let fits = |frame: &&FrameRecord| span(frame) <= READ as u64;
    let count = frames.iter().take_while(fits).count().max(1);
    let length = frames[..count.min(frames.len())].iter().map(span).max().unwrap_or(0);
    (count, usize::try_from(length).unwrap_or(usize::MAX))
}

/// The checksum of the stored bytes of a frame of any length.
fn sum(storage: &dyn Storage, key: &str, frame: &FrameRecord) -> Result<u64, StorageError> {
    let mut hash = Xxh3::new();
    let mut at = 0;
    while at < frame.stored as usize {
        let length = READ.min(frame.stored as usize - at);
        hash.update(&storage.get_range(key, frame.offset + at as u64, length)?);
        at += length;
    }
    Ok(hash.digest())
}

/// A footer that was read last, and of which pack.
type LastFooter = Option<(Id, Option<Arc<PackFooter>>)>;

/// Inflates frames, and verifies the hashes of their blocks.
fn blocks(
    storage: &dyn Storage,
    job: &Job,
    monitor: &dyn Monitor,
    last: &mut LastFooter,
    bad: &mut impl FnMut(&FrameRecord, Trouble),
) -> Result<(), Error> {
    if last.as_ref().is_none_or(|(id, _)| *id != job.pack) {
        let footer = pack::footer(storage, &job.pack, job.length).ok();
        *last = Some((job.pack, footer.map(Arc::new)));
    }
    let footer = last.as_ref().and_then(|(_, footer)| footer.clone());
    let key = pack::key(&job.pack);
    for frame in &job.frames {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        monitor.advance(0, frame.stored.into());
        let stored = match storage.get_range(&key, frame.offset, frame.stored as usize) {
            Ok(stored) => stored,
            Err(error) => {
                unreadable(frame, &error, bad)?;
                continue;
            }
        };
        if xxh3_64(&stored) != frame.checksum {
            bad(frame, Trouble::Frame(Problem::Checksum.to_string()));
            continue;
        }
        let length = frame.inflated as usize;
        match Inflation::new(frame.codec, stored, Vec::with_capacity(length).into(), length, length)
        {
            Ok(inflated) => {
                if let Some(footer) = &footer {
                    hashes(footer, frame, inflated.bytes(), bad);
                }
            }
            Err(problem) => bad(frame, Trouble::Frame(problem.to_string())),
        }
    }
    monitor.advance(1, 0);
    Ok(())
}

/// Verifies the hashes of the blocks of a frame, where its pack lists it.
fn hashes(
    footer: &PackFooter,
    frame: &FrameRecord,
    bytes: &[u8],
    bad: &mut impl FnMut(&FrameRecord, Trouble),
) {
    let at = footer.frames.partition_point(|own| own.offset < frame.offset);
    let Some(own) = footer.frames.get(at).filter(|own| own.offset == frame.offset) else { return };
    // Only what it takes to name blocks: nothing is cut here.
    let cutter = Cutter { cutting: Cutting { min: 0, average: 0, max: 0 }, hash: footer.hash };
    let (mut block, mut from) = (own.first_block as usize, 0usize);
    while from < bytes.len() {
        let Some(length) = footer.lengths.get(block) else { return };
        let to = from.saturating_add(*length as usize);
        let (Some(data), Some(hash)) =
            (bytes.get(from..to), footer.hashes.chunks_exact(footer.hash_len).nth(block))
        else {
            return;
        };
        if cutter.name(data).get(..footer.hash_len) != Some(hash) {
            let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            bad(frame, Trouble::Block(block, place(from), place(to)));
        }
        block += 1;
        from = to;
    }
}

//! The threads of a build, and how they hand over.
//!
//! ```text
//! jobs ─→ readers ─────────→ filler ─────────────────→ compressors ─→ writer
//!         (read, cut, hash)  (dedup, window, frames)                  (packs)
//! ```
//!
//! Each hand-over keeps the order of the source however threads race, so that the same source
//! gives the same archive: whoever takes a job queues, at that moment, the channel that its
//! results will come through; the next stage drains these channels one after another. All
//! channels are bounded, so memory is, too. The job at the head of a queue is always being
//! worked on, so nothing waits for ever.
//!
//! A stage that fails goes on taking what the stage before it hands over, and drops it: a channel
//! that nobody takes from keeps what was sent, and whoever sends waits. Readers stop by themselves
//! once `stop` is set.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::CreateError;
use super::cut::Cutter;
use super::feed::{Batch, Feeder, Gone};
use super::fill::{Filler, Outcome, RawFrame, Savings};
use super::known::Known;
use super::window::Window;
use crate::format::{Codec, Id, IndexBuilder};
use crate::monitor::Monitor;
use crate::pack::{self, Compressor, Level, PackWriter};
use crate::storage::Storage;

/// Batches that a reader may be ahead with, within one job.
const BATCHES_AHEAD: usize = 2;

/// How data is packed.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// How blocks are cut and named.
    pub cutter: Cutter,
    /// Bytes of each hash that are kept.
    pub hash_len: usize,
    /// How frames are compressed.
    pub codec: Codec,
    /// How hard.
    pub level: Level,
    /// Bytes of a frame before compression.
    pub frame_size: usize,
    /// Within how many bytes of new blocks those that are alike are put side by side; 0: none.
    pub window: usize,
    /// Bytes of a pack before compression.
    pub pack_size: u64,
    /// Whether it is sure already that blocks stand for many times their bytes, and so are worth
    /// more time.
    pub dense: bool,
    /// Threads that read, and threads that compress.
    pub threads: usize,
}

/// What came of the data of a source.
#[derive(Debug)]
pub struct Packed {
    /// How each file came out.
    pub outcomes: Vec<Outcome>,
    /// What was dropped because it was known.
    pub savings: Savings,
    /// Where the blocks lie.
    pub index: IndexBuilder,
    /// The last pack of the chain, which names it; `None` where there is no data at all.
    pub origin: Option<Id>,
    /// All blocks that are known now; of new ones, in the order they came in.
    pub known: Known,
}

/// A compressed frame on its way to the writer.
struct Squeezed {
    codec: Codec,
    stored: Vec<u8>,
    blocks: Vec<(u32, Id)>,
}

type FrameJob = (RawFrame, Sender<Squeezed>);

/// Under which numbers blocks are known that are packed anew, in another place.
pub trait Homes: Sync {
    /// Calls `each` with the origins and numbers of the block of that name.
    fn numbers(&self, name: &Id, each: &mut dyn FnMut(Id, u32));
}

/// Packs the data of all `jobs`, in their order, into `storage`, but blocks that are `known`.
///
/// `work` does one job, in any of the reading threads.
///
/// # Errors
/// If the archive cannot be written, or the monitor says stop.
pub fn run<J: Send>(
    jobs: impl Iterator<Item = J> + Send,
    work: impl Fn(J, &mut Feeder) -> Result<(), Gone> + Sync,
    known: Known,
    packing: &Packing,
    storage: &dyn Storage,
    monitor: &dyn Monitor,
) -> Result<Packed, CreateError> {
    run_all(jobs, work, (known, None), packing, storage, monitor)
}

/// As [`run`], of blocks that are there already and keep the numbers that `homes` tells.
///
/// # Errors
/// As [`run`].
pub fn run_anew<J: Send>(
    jobs: impl Iterator<Item = J> + Send,
    work: impl Fn(J, &mut Feeder) -> Result<(), Gone> + Sync,
    homes: &dyn Homes,
    packing: &Packing,
    storage: &dyn Storage,
    monitor: &dyn Monitor,
) -> Result<Packed, CreateError> {
    run_all(jobs, work, (Known::default(), Some(homes)), packing, storage, monitor)
}

fn run_all<J: Send>(
    jobs: impl Iterator<Item = J> + Send,
    work: impl Fn(J, &mut Feeder) -> Result<(), Gone> + Sync,
    (known, homes): (Known, Option<&dyn Homes>),
    packing: &Packing,
    storage: &dyn Storage,
    monitor: &dyn Monitor,
) -> Result<Packed, CreateError> {
    let jobs = Mutex::new(jobs);
    let stop = &AtomicBool::new(false);
    let (batches, work) = (bounded(packing.threads * 2), &work);
    let frames = bounded::<FrameJob>(packing.threads);
    let order = bounded(packing.threads * 2);
    let compressor = |_| Compressor::new(packing.codec, packing.level);
    let compressors = (0..packing.threads).map(compressor).collect::<Result<Vec<_>, _>>();
    let compressors = compressors.map_err(CreateError::Memory)?;
    std::thread::scope(|scope| {
        let filled = || {
            for n in 0..packing.threads {
                let (jobs, queue) = (&jobs, batches.0.clone());
                let body = move || read(jobs, &queue, work, packing.cutter, stop);
                start(scope, format!("read-{n}"), body)?;
            }
            drop(batches.0);
            for (n, mut compressor) in compressors.into_iter().enumerate() {
                let frames = frames.1.clone();
                let body = move || squeeze(&frames, &mut compressor, packing.dense, monitor, stop);
                start(scope, format!("squeeze-{n}"), body)?;
            }
            drop(frames.1);
            let written = start(scope, "write".to_owned(), move || {
                let written = write(&order.1, homes, packing, storage, monitor);
                stop.fetch_or(written.is_err(), Ordering::Relaxed);
                order.1.into_iter().for_each(drop);
                written
            })?;
            let filled = fill(&batches.1, known, (&frames.0, &order.0), packing, monitor, stop);
            stop.fetch_or(filled.is_err(), Ordering::Relaxed);
            drop((frames.0, order.0));
            match (written.join().map_err(|_| CreateError::Thread)?, filled) {
                (Ok((mut index, origin)), Ok((outcomes, savings, mut known))) => {
                    for (home, number, local) in known.healed() {
                        index.add_range(home, number, 1, local);
                    }
                    Ok(Packed { outcomes, savings, index, origin, known })
                }
                // That a thread is gone only says that another one failed.
                (Err(CreateError::Thread), Err(error)) | (Err(error), _) | (_, Err(error)) => {
                    Err(error)
                }
            }
        };
        let packed = filled();
        stop.store(true, Ordering::Relaxed);
        batches.1.into_iter().for_each(drop);
        packed
    })
}

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    body: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, CreateError> {
    std::thread::Builder::new().name(name).spawn_scoped(scope, body).map_err(CreateError::Memory)
}

/// A reading thread: takes jobs, and queues where their batches come from, in one go.
fn read<J>(
    jobs: &Mutex<impl Iterator<Item = J>>,
    queue: &Sender<Receiver<Batch>>,
    work: &(impl Fn(J, &mut Feeder) -> Result<(), Gone> + Sync),
    cutter: Cutter,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        let (sender, receiver) = bounded(BATCHES_AHEAD);
        let job = {
            let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
            // Before the job is taken, so that no job is taken and lost.
            if queue.send(receiver).is_err() {
                return;
            }
            let Some(job) = jobs.next() else { return };
            job
        };
        let mut feeder = Feeder::new(cutter, sender);
        if work(job, &mut feeder).and_then(|()| feeder.finish()).is_err() {
            return;
        }
    }
}

/// The filler: drains the jobs' channels in order.
fn fill(
    queue: &Receiver<Receiver<Batch>>,
    known: Known,
    (frames, order): (&Sender<FrameJob>, &Sender<Receiver<Squeezed>>),
    packing: &Packing,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<(Vec<Outcome>, Savings, Known), CreateError> {
    let put = |frame| {
        // A window holds many frames: what ends the build must not wait for all of them.
        if monitor.cancelled() {
            return Err(CreateError::Cancelled);
        }
        if stop.load(Ordering::Relaxed) {
            return Err(CreateError::Thread);
        }
        let (sender, receiver) = bounded(1);
        let gone = |_| CreateError::Thread;
        order.send(receiver).map_err(|_| CreateError::Thread)?;
        frames.send((frame, sender)).map_err(gone)
    };
    // Where a pack is one frame, size goes before what a read inflates.
    let by_file = (packing.frame_size as u64) < packing.pack_size;
    let window = (packing.window > 0).then(|| Window::new(packing.window, by_file));
    let mut filler = Filler::new(monitor, known, packing.frame_size, window, put);
    for job in queue {
        for batch in job {
            if stop.load(Ordering::Relaxed) {
                // The writer failed, and says why.
                return Err(CreateError::Thread);
            }
            filler.take(batch)?;
        }
    }
    if monitor.cancelled() {
        return Err(CreateError::Cancelled);
    }
    filler.finish()
}

/// A compressing thread.
fn squeeze(
    frames: &Receiver<FrameJob>,
    compressor: &mut Compressor,
    dense: bool,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) {
    for (frame, done) in frames {
        if stop.load(Ordering::Relaxed) || monitor.cancelled() {
            continue;
        }
        let (codec, stored) = compressor.compress(frame.bytes, dense || frame.dense);
        // A writer that is gone needs nothing more.
        let _ = done.send(Squeezed { codec, stored, blocks: frame.blocks });
    }
}

/// The writer: puts frames into packs, and packs into the storage.
fn write(
    order: &Receiver<Receiver<Squeezed>>,
    homes: Option<&dyn Homes>,
    packing: &Packing,
    storage: &dyn Storage,
    monitor: &dyn Monitor,
) -> Result<(IndexBuilder, Option<Id>), CreateError> {
    let mut writer = Writer { homes, packing, storage, monitor, index: IndexBuilder::default() };
    let mut last: Option<Id> = None;
    let mut pack = writer.begin(last);
    for frame in order {
        let frame = frame.recv();
        if monitor.cancelled() {
            return Err(CreateError::Cancelled);
        }
        let Ok(frame) = frame else { return Err(CreateError::Thread) };
        let inflated: u64 = frame.blocks.iter().map(|(length, _)| u64::from(*length)).sum();
        if !pack.0.is_empty() && pack.0.inflated() + inflated > packing.pack_size {
            last = Some(writer.put(pack)?);
            pack = writer.begin(last);
        }
        writer.add(&mut pack, &frame);
    }
    if !pack.0.is_empty() {
        last = Some(writer.put(pack)?);
    }
    let mut index = writer.index;
    if let Some(origin) = last.filter(|_| homes.is_none()) {
        index.add_range(origin, 0, index.block_count(), 0);
    }
    Ok((index, last))
}

/// A pack, and the numbers of its blocks where these are told: origin, number, ordinal.
type Open = (PackWriter, Vec<(Id, u32, u32)>);

struct Writer<'a> {
    homes: Option<&'a dyn Homes>,
    packing: &'a Packing,
    storage: &'a dyn Storage,
    monitor: &'a dyn Monitor,
    index: IndexBuilder,
}

impl Writer<'_> {
    fn begin(&self, last: Option<Id>) -> Open {
        let Packing { cutter, hash_len, .. } = *self.packing;
        let first = self.index.block_count();
        (PackWriter::new(last.unwrap_or_default(), first, cutter.hash, hash_len), Vec::new())
    }

    fn add(&self, (pack, numbers): &mut Open, frame: &Squeezed) {
        if let Some(homes) = self.homes {
            for ((_, name), local) in frame.blocks.iter().zip(pack.block_count()..) {
                homes.numbers(name, &mut |home, number| numbers.push((home, number, local)));
            }
        }
        pack.add_frame(frame.codec, &frame.stored, &frame.blocks);
    }

    fn put(&mut self, (mut pack, numbers): Open) -> Result<Id, CreateError> {
        if self.homes.is_some() {
            pack.moved(numbers);
        }
        let sealed = pack.seal();
        self.storage.put(&pack::key(&sealed.id), &sealed.bytes)?;
        self.monitor.written(sealed.bytes.len() as u64);
        let (length, first) = (sealed.bytes.len() as u64, self.index.block_count());
        let footer = &sealed.footer;
        self.index.add_pack(sealed.id, length, &footer.frames, &footer.lengths);
        for range in &footer.moved {
            let (home, local) = (footer.homes[range.home as usize], first + range.local);
            self.index.add_range(home, range.first, range.count, local);
        }
        // Before more is packed: nobody could open what would come of it.
        match self.index.is_too_long() {
            true => Err(CreateError::TooManyBlocks),
            false => Ok(sealed.id),
        }
    }
}

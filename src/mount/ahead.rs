//! Reads ahead: inflates the frame that a reader will come to, and hands small files to the kernel
//! before they are asked for.
//!
//! Whoever walks a tree and reads all of its files, as tar does, asks for each small one in a
//! message of its own and waits for the answer: most of the time goes into waking one another. So
//! when such a walker has listed a folder, the small files in it are put into the kernel's cache
//! before it is told that the list is at its end, which it must ask for in any case. One that reads
//! each file as soon as it is listed gets the others before it is answered the first. Some files
//! are left out on purpose: that they are asked for shows that the walker goes on reading.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use fuser::{INodeNo, Notifier};
use lru::LruCache;

use super::live::Live;
use super::shown::Shown;
use super::walks::Walks;
use crate::format::Kind;
use crate::fs::{ArchiveFs, Data};
use crate::index::FrameId;
use crate::parallel::processors;

/// Longest file that is handed over, in bytes: longer ones the kernel itself reads ahead.
const SMALL: u64 = 128 << 10;
/// Most bytes that are handed over at a time, as the kernel counts them.
const WINDOW: u64 = 2 << 20;
/// What the kernel keeps a file in, in bytes.
const PAGE: u64 = 4096;
/// So many entries of a folder are looked at for them, at the most.
const LOOKED: u32 = 1024;
/// So many files are handed over before their reader goes on; the rest while it is busy with them.
const FIRST: usize = 8;
/// Fewer are not handed over: to wake another thread costs more than to be asked for one.
const FEWEST: usize = 2;
/// Walkers that are remembered.
const WALKERS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Folders of a walker that are remembered.
const FOLDERS: usize = 64;
/// What may wait to be inflated; more is not.
const BACKLOG: usize = 16;
/// Most threads that inflate ahead.
const MOST_THREADS: usize = 4;
/// Answers of so many bytes are of a file that is read as a whole.
const STREAM: usize = 64 << 10;
/// Who asks for no more bytes than these in the midst of a file reads here and there: a frame that
/// was not inflated far enough for that is inflated as a whole, for there are likely to be more.
const SCATTERED: usize = 16 << 10;
/// How far ahead of the reader of such a file it is inflated at most, in bytes: by as much as was
/// read of it in sequence, and as there is room for,
const AHEAD: u64 = 8 << 20;
/// and how much at a time.
const CHUNK: u32 = 2 << 20;
/// Such files that are remembered.
const STREAMS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// One file in so many is left out.
const LEFT_OUT: u32 = 32;
/// A walker that asked for so many files of folders that it had listed is helped,
const TRUSTED: u32 = 4;
/// until so many that were left out in a row are not asked for.
const DOUBTED: u32 = 16;

/// What is handed over to whom.
#[derive(Debug)]
pub(super) struct Ahead {
    shown: Arc<Shown>,
    live: Arc<Live>,
    /// There is none before the session is.
    notifier: OnceLock<Notifier>,
    walkers: Mutex<LruCache<u32, Walker>>,
    /// Handing over waits for requests of the same files: one thread at a time may do it, so that
    /// others are there to read these.
    busy: Mutex<()>,
    walks: Mutex<Walks>,
    /// The frame that was read last, as one number.
    last: AtomicU64,
    /// Files that are read from front to back.
    streams: Mutex<LruCache<u64, Stream>>,
    jobs: Sender<Job>,
}

/// How far a file was read, and how far ahead of that it was inflated.
#[derive(Debug, Clone, Copy)]
struct Stream {
    start: u64,
    end: u64,
    inflated: u64,
}

/// What the threads do.
#[derive(Debug, Clone, Copy)]
enum Job {
    /// Inflate a frame that a walk of small files comes to.
    Frame(FrameId),
    /// Inflate what a file has from an offset on.
    File(u64, u64),
}

/// Inodes of small files, and their lengths in bytes.
pub(super) type SmallFiles = Vec<(u64, u64)>;

/// A process that lists folders.
#[derive(Debug, Default)]
struct Walker {
    /// Folders that it lists or has listed, but that were not handed over whole.
    rest: HashMap<u64, Rest>,
    /// The folder that it listed, or was handed over, last.
    last: u64,
    /// How many files of those folders it asked for.
    asked: u32,
    /// How many were left out since it last asked for one.
    unasked: u32,
    /// How many were considered.
    count: u32,
}

/// What is not handed over of a folder.
#[derive(Debug, Clone, Copy)]
struct Rest {
    /// When this file is asked for, it is time to; or any file.
    first: Option<u64>,
    /// The offset in the list to go on at.
    from: u64,
}

impl Ahead {
    /// Starts the threads that inflate; they end with what is returned.
    pub(super) fn start(shown: Arc<Shown>, live: Arc<Live>) -> io::Result<Self> {
        let (jobs, todo) = bounded(BACKLOG);
        for _ in 0..processors().clamp(1, MOST_THREADS) {
            let (shown, todo): (_, Receiver<Job>) = (Arc::clone(&shown), todo.clone());
            thread::Builder::new()
                .name("inflate".to_owned())
                .spawn(move || todo.iter().for_each(|job| inflate(&shown.fs(), job)))?;
        }
        let walkers = Mutex::new(LruCache::new(WALKERS));
        let streams = Mutex::new(LruCache::new(STREAMS));
        let (notifier, busy, walks) = Default::default();
        let last = AtomicU64::new(u64::MAX);
        Ok(Self { shown, live, notifier, walkers, busy, walks, last, streams, jobs })
    }

    /// From here on it can hand over.
    pub(super) fn notify(&self, notifier: Notifier) {
        let _ = self.notifier.set(notifier);
    }

    /// Part of a file, from that offset on, was read: inflates what its reader is about to come
    /// to, unless there is enough to do already.
    pub(super) fn read_on(&self, offset: u64, data: &Data) {
        let Some(frame) = data.frame else { return };
        if data.left_off && offset > 0 && data.len() <= SCATTERED {
            let _ = self.jobs.try_send(Job::Frame(frame));
        }
        let place = u64::from(frame.segment) << 32 | u64::from(frame.frame);
        if self.last.swap(place, Ordering::Relaxed) == place {
            return;
        }
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        walks.read(frame, |frame| {
            // A stream may need no more than the front of each.
            data.len() < STREAM && self.jobs.try_send(Job::Frame(frame)).is_ok()
        });
    }

    /// A large part of a file is asked for: inflates what follows, if it goes on where the one
    /// before ended.
    pub(super) fn stream(&self, file: u64, offset: u64, size: u32) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset.saturating_add(size.into());
        let new = || Stream { start: offset, end: offset, inflated: end };
        let stream = streams.get_or_insert_mut(file, new);
        if stream.end != offset {
            *stream = new();
        }
        stream.end = end;
        stream.inflated = stream.inflated.max(end);
        let room = self.shown.fs().store().ahead();
        let far = end.saturating_add(AHEAD.min(room).min(offset - stream.start));
        while stream.inflated < far && self.jobs.try_send(Job::File(file, stream.inflated)).is_ok()
        {
            stream.inflated = stream.inflated.saturating_add(CHUNK.into());
        }
    }

    fn walker<T>(&self, process: u32, with: impl FnOnce(&mut Walker) -> T) -> T {
        let mut walkers = self.walkers.lock().unwrap_or_else(PoisonError::into_inner);
        with(walkers.get_or_insert_mut(process, Walker::default))
    }

    /// A process lists a folder from an offset on.
    pub(super) fn lists(&self, process: u32, folder: u64, from: u64) {
        if self.notifier.get().is_some() {
            self.walker(process, |walker| {
                if from == 0 || !walker.rest.contains_key(&folder) {
                    walker.leave(folder, Rest { first: None, from });
                }
            });
        }
    }

    /// A process listed a folder; the files in it to be [handed over](Ahead::hand_over).
    pub(super) fn listed(&self, process: u32, folder: u64) -> SmallFiles {
        let rest = self.walker(process, |walker| {
            walker.last = folder;
            let trusted = walker.is_trusted();
            walker.rest.get(&folder).copied().filter(|rest| trusted && rest.first.is_none())
        });
        rest.map_or_else(SmallFiles::new, |rest| self.choose(process, folder, rest.from, None))
    }

    /// A process is to be answered the first bytes of a file; what is to be handed over then.
    pub(super) fn read(&self, process: u32, file: u64) -> SmallFiles {
        let Ok(folder) = self.shown.fs().parent(file) else { return SmallFiles::new() };
        let next = self.walker(process, |walker| {
            let rest = walker.rest.get(&folder).copied();
            if walker.last == folder || rest.is_some() {
                walker.asked = walker.asked.saturating_add(1);
                walker.unasked = 0;
            }
            let trusted = walker.is_trusted();
            rest.filter(|rest| trusted && rest.first.is_none_or(|first| first == file))
        });
        next.map_or_else(SmallFiles::new, |rest| {
            self.choose(process, folder, rest.from, Some(file))
        })
    }

    /// The files of a folder to hand over, from an offset of its list on, after `read`.
    fn choose(&self, process: u32, folder: u64, from: u64, read: Option<u64>) -> SmallFiles {
        let (mut files, mut bytes, mut rest, mut looked) = (SmallFiles::new(), 0, None, 0);
        let listed = self.shown.fs().list_with_attrs(folder, from, &mut |entry, attr| {
            looked += 1;
            if read == Some(entry.ino) {
                // Who came to it has done with those before it.
                files.clear();
            } else if attr.kind == Kind::File && (1..=SMALL).contains(&attr.size) {
                bytes += attr.size.next_multiple_of(PAGE);
                if bytes > WINDOW {
                    rest = Some(Rest { first: Some(entry.ino), from: entry.next });
                    return false;
                }
                files.push((entry.ino, attr.size));
            }
            looked < LOOKED
        });
        match listed {
            Ok(()) => self.walker(process, |walker| walker.choose(folder, files, rest)),
            Err(_) => SmallFiles::new(),
        }
    }

    /// Hands over files to a process, which goes on once there is a `reply`. It takes another
    /// thread than the event loop: the kernel may first want files answered that it has asked for.
    pub(super) fn hand_over(&self, files: &[(u64, u64)], reply: impl FnOnce()) {
        let (first, rest) = files.split_at(files.len().min(FIRST));
        self.store(first);
        reply();
        self.store(rest);
    }

    /// Puts files into the kernel's cache.
    fn store(&self, files: &[(u64, u64)]) {
        let Some(notifier) = self.notifier.get().filter(|_| !files.is_empty()) else { return };
        let Ok(_busy) = self.busy.try_lock() else { return };
        for (file, size) in files {
            // Who asks for a damaged file gets the error, and it is logged.
            let Ok(data) = self.shown.fs().read(*file, 0, u32::try_from(*size).unwrap_or(0)) else {
                return;
            };
            self.read_on(0, &data);
            if notifier.store(INodeNo(*file), 0, &data).is_err() {
                return;
            }
            self.live.handed_over(data.len());
        }
    }
}

fn inflate(fs: &ArchiveFs, job: Job) {
    // Who comes to read it gets the error, if there is one.
    match job {
        Job::Frame(frame) => drop(fs.store().prefetch(frame, u32::MAX)),
        Job::File(file, offset) => fs.inflate(file, offset, CHUNK),
    }
}

impl Walker {
    fn is_trusted(&self) -> bool {
        self.asked >= TRUSTED
    }

    /// Something of a folder is not handed over.
    fn leave(&mut self, folder: u64, rest: Rest) {
        if self.rest.len() >= FOLDERS {
            self.rest.clear();
        }
        self.rest.insert(folder, rest);
    }

    /// Which of these files of a folder to hand over; `rest` is where to go on with it.
    fn choose(&mut self, folder: u64, mut files: SmallFiles, rest: Option<Rest>) -> SmallFiles {
        self.last = folder;
        self.rest.remove(&folder);
        if let Some(rest) = rest {
            self.leave(folder, rest);
        }
        files.retain(|_| {
            self.count = self.count.wrapping_add(1);
            let kept = !self.count.is_multiple_of(LEFT_OUT);
            self.unasked += u32::from(!kept);
            kept
        });
        if self.unasked > DOUBTED {
            (self.asked, self.unasked) = (0, 0);
            self.rest.clear();
            files.clear();
        }
        if files.len() < FEWEST {
            files.clear();
        }
        files
    }
}

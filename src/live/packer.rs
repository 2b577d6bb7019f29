//! The threads of a live store: one syncs what was written, one commits it; and what makes those
//! who write wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::fs::{StatVfs, statvfs};

use super::control::Control;
use super::{CommitError, LiveFs};
use crate::fs::FsError;
use crate::storage::StorageError;

/// Changes are in the journal after so long at the latest: half of what may be lost, as it takes a
/// while to write them.
const SYNC_EVERY: Duration = Duration::from_millis(2500);
/// Or once they come to so many bytes.
const SYNC_BYTES: usize = 8 << 20;
/// What is written without a pause is committed after so long.
const OLDEST: Duration = Duration::from_secs(300);
/// Changes that take this part of the memory that they may take are committed, however little data
/// they have.
const MEMORY_SHARE: usize = 2;
/// How nice the thread that commits is to others.
const PATIENT: i32 = 19;
/// A commit begins once the spool is filled to this part of its limit.
const SHARE: u64 = 2;
/// After a commit that failed, the next attempt waits so long.
const RETRY: Duration = Duration::from_secs(10);
/// Room on the disk that is left for what a commit writes besides data: at most so many bytes, and
/// at most that part of the disk.
const MARGIN: (u64, u64) = (32 << 20, 8);
/// The room on a disk that is left for what a commit writes besides data, in bytes.
pub fn margin(disk: &StatVfs) -> u64 {
    let (most, part) = MARGIN;
    most.min(disk.f_blocks.saturating_mul(disk.f_frsize) / part)
}

/// How much may be written before the room on the disk is looked at again, in bytes.
const LOOK_AGAIN: u64 = 4 << 20;
/// How long whoever writes waits for room at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the threads are told, and tell.
#[derive(Debug, Default)]
pub struct Signals {
    flags: Mutex<Flags>,
    /// Something for the threads to do.
    wake: Condvar,
    /// A commit has ended.
    room: Condvar,
    /// Bytes that may be written before the disk is looked at.
    allowance: AtomicU64,
    /// Whether changes take more memory than they may.
    crowded: AtomicBool,
    /// Whether a commit is under way.
    pub packing: AtomicBool,
    /// Syncs that were asked for.
    asked: AtomicU64,
    /// The last of them that is done; held while one is under way.
    synced: Mutex<u64>,
}

#[derive(Debug, Default)]
struct Flags {
    stop: bool,
    /// Whether the journal lacks changes, and since when.
    unsynced: Option<Instant>,
    sync_now: bool,
    /// When the layer was changed first, and last.
    first: Option<Instant>,
    last: Option<Instant>,
    commit_now: bool,
    failed: Option<Instant>,
    commits: u64,
}

impl Signals {
    /// Something has changed; so many bytes are to be written to the journal.
    pub fn changed(&self, pending: usize) {
        let mut flags = self.flags.lock();
        let at = Instant::now();
        let fresh = flags.unsynced.is_none() || flags.first.is_none();
        flags.unsynced.get_or_insert(at);
        flags.first.get_or_insert(at);
        flags.last = Some(at);
        if pending > SYNC_BYTES && !flags.sync_now {
            flags.sync_now = true;
            self.wake.notify_all();
        } else if fresh {
            self.wake.notify_all();
        }
    }

    /// A commit has begun, or has ended.
    pub fn packing(&self, now: bool) {
        self.packing.store(now, Ordering::Relaxed);
    }

    /// How many commits have ended well, and whether the last one did not.
    pub fn commits(&self) -> (u64, bool) {
        let flags = self.flags.lock();
        (flags.commits, flags.failed.is_some())
    }

    /// A commit has ended well.
    pub fn committed(&self) {
        let mut flags = self.flags.lock();
        flags.commits += 1;
        flags.failed = None;
        self.allowance.store(0, Ordering::Relaxed);
        self.room.notify_all();
    }

    /// Waits until something is due, for which `due` says how long it takes (`None`: until there is
    /// a change); `None`: it is time to stop.
    fn wait(&self, due: impl Fn(&Flags) -> Option<Duration>) -> Option<MutexGuard<'_, Flags>> {
        let mut flags = self.flags.lock();
        while !flags.stop {
            match due(&flags) {
                Some(left) if left.is_zero() => return Some(flags),
                Some(left) => {
                    let _ = self.wake.wait_for(&mut flags, left);
                }
                None => self.wake.wait(&mut flags),
            }
        }
        None
    }

    fn want_commit(&self) {
        let mut flags = self.flags.lock();
        if !flags.commit_now {
            flags.commit_now = true;
            self.wake.notify_all();
        }
    }
}

/// The threads, while they run.
#[derive(Debug)]
pub struct Packer {
    fs: Arc<LiveFs>,
    control: Option<Control>,
    threads: Vec<JoinHandle<()>>,
}

impl Packer {
    /// Starts them.
    ///
    /// # Errors
    /// If the system has no threads left.
    pub fn start(fs: Arc<LiveFs>) -> std::io::Result<Self> {
        {
            let state = fs.state.read();
            if !state.below.layers.is_empty() || !state.active.is_empty() {
                // What was left behind is due like what is written now.
                let mut flags = fs.signals.flags.lock();
                (flags.first, flags.last) = (Some(Instant::now()), Some(Instant::now()));
            }
        }
        let spawn = |name: &str, body: fn(&LiveFs)| {
            let fs = Arc::clone(&fs);
            std::thread::Builder::new().name(name.to_owned()).spawn(move || body(&fs))
        };
        let threads =
            vec![spawn("sync", LiveFs::sync_loop)?, spawn("commit", LiveFs::commit_loop)?];
        // Without it all goes on, but cannot be asked for anything.
        let control = Control::start(Arc::clone(&fs));
        let told = |error: &std::io::Error| log::warn!("{}/socket: {error}", fs.live.display());
        let control = control.inspect_err(told).ok();
        Ok(Self { fs, control, threads })
    }

    /// Commits all there is, and ends the threads.
    ///
    /// # Errors
    /// If it cannot be committed. Then all of it is in the journal, if that can be written.
    pub fn finish(mut self) -> Result<Option<u64>, CommitError> {
        self.fs.home.lock.ending();
        self.stop();
        let committed = self.fs.commit();
        if committed.is_err() {
            self.fs.sync()?;
        } else {
            self.fs.protect();
            self.fs.leave();
        }
        committed
    }

    fn stop(&mut self) {
        self.control = None;
        self.fs.signals.flags.lock().stop = true;
        self.fs.signals.wake.notify_all();
        self.threads.drain(..).for_each(|thread| {
            let _ = thread.join();
        });
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl LiveFs {
    /// Makes all that was written before survive a power cut. Those who ask at the same time wait
    /// for one another's syncs, not for one each.
    ///
    /// # Errors
    /// If the disk is full or fails; then it is tried again later.
    pub fn sync(&self) -> Result<(), StorageError> {
        let ticket = self.signals.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut synced = self.signals.synced.lock();
        if *synced >= ticket {
            return Ok(());
        }
        let covers = self.signals.asked.load(Ordering::SeqCst);
        {
            let mut flags = self.signals.flags.lock();
            flags.unsynced = None;
            flags.sync_now = false;
        }
        let synced_all = self.sync_layers();
        if synced_all.is_err() {
            self.signals.flags.lock().unsynced.get_or_insert(Instant::now());
        } else {
            *synced = covers;
        }
        synced_all
    }

    fn sync_layers(&self) -> Result<(), StorageError> {
        let (sealed, log, spool) = {
            let mut state = self.state.write();
            state.active.hand_over();
            let active = &state.active;
            (state.below.layers.clone(), Arc::clone(&active.log), Arc::clone(&active.spool))
        };
        // What the newer layer says rests on what the older ones do.
        let mut below = None;
        for layer in sealed.iter().rev() {
            layer.log.sync(&layer.spool, below)?;
            below = Some(&*layer.log);
        }
        log.sync(&spool, below)
    }

    fn sync_loop(&self) {
        let due = |flags: &Flags| match flags.unsynced {
            Some(_) if flags.sync_now => Some(Duration::ZERO),
            since => since.map(|since| SYNC_EVERY.saturating_sub(since.elapsed())),
        };
        while self.signals.wait(due).is_some() {
            if let Err(error) = self.sync() {
                log::error!("{error}; what was written is not safe yet");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }

    /// How long until a commit is due; `None`: nothing is to be committed.
    fn due(&self, flags: &Flags) -> Option<Duration> {
        let retry = flags.failed.map_or(Duration::ZERO, |at| RETRY.saturating_sub(at.elapsed()));
        if flags.commit_now {
            return Some(retry);
        }
        let (first, last) = (flags.first?, flags.last?);
        let quiet = self.options.freeze_after.saturating_sub(last.elapsed());
        Some(quiet.min(OLDEST.saturating_sub(first.elapsed())).max(retry))
    }

    fn commit_loop(&self) {
        // Whoever uses the mount goes first. The threads that it starts are as patient.
        if let Err(error) = rustix::process::setpriority_process(None, PATIENT) {
            log::debug!("cannot be nice: {error}");
        }
        let signals = &self.signals;
        while let Some(mut flags) = signals.wait(|flags| self.due(flags)) {
            (flags.first, flags.commit_now) = (None, false);
            drop(flags);
            if let Err(error) = self.commit() {
                log::error!("{error}; what was written stays in the journal for now");
                let at = Instant::now();
                let mut flags = signals.flags.lock();
                flags.failed = Some(at);
                flags.first.get_or_insert(at);
                flags.last.get_or_insert(at);
                signals.room.notify_all();
            }
        }
    }

    /// Whether there is sure to be room for so many bytes more, so that nobody waits for it.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        self.signals.allowance.load(Ordering::Relaxed) > bytes && !self.is_crowded()
    }

    /// Whether changes take more memory than they may: whoever makes more had better wait.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.signals.crowded.load(Ordering::Relaxed)
    }

    /// What changes that are not committed yet take in memory, about, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.state.read().held()
    }

    /// Changes take so many bytes of memory now.
    pub(super) fn weigh(&self, held: usize) {
        let most = self.options.memory;
        if held > most / MEMORY_SHARE {
            self.signals.want_commit();
        }
        self.signals.crowded.store(held > most, Ordering::Relaxed);
    }

    /// Waits until changes take no more memory than they may. If they cannot be committed, it does
    /// not: files must go to make room on a disk that is full.
    pub fn breathe(&self) {
        while self.is_crowded() {
            let mut flags = self.signals.flags.lock();
            if flags.failed.is_some() || flags.stop {
                return;
            }
            let _ = self.signals.room.wait_for(&mut flags, Duration::from_millis(100));
        }
    }

    /// Waits until there is room for so many bytes more: in the spool, and on the disk for them and
    /// for all that is to be packed.
    ///
    /// # Errors
    /// If there is none, and will be none once all is packed.
    pub(super) fn room(&self, bytes: u64) -> Result<(), FsError> {
        let allowed = |left: u64| left.checked_sub(bytes.max(1));
        let allowance = &self.signals.allowance;
        self.breathe();
        if allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, allowed).is_ok()
            && !self.is_crowded()
        {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (commits, failed) = self.signals.commits();
            // Before room is looked for: what was packed is removed before that ends.
            let packing = self.signals.packing.load(Ordering::Relaxed);
            let (used, nodes, log) = {
                let state = self.state.read();
                (spooled(&state), state.active.nodes.len(), Arc::clone(&state.active.log))
            };
            let free = self.free();
            let full = log.is_tight() || free < used.saturating_add(bytes);
            let over = used.saturating_add(bytes) > self.options.spool.max(bytes);
            let crowded = self.is_crowded();
            if used > self.options.spool / SHARE || full || crowded {
                self.signals.want_commit();
            }
            if !full && !over && !crowded {
                let left = free.saturating_sub(used).saturating_sub(bytes);
                allowance.store(LOOK_AGAIN.min(left / 8), Ordering::Relaxed);
                return Ok(());
            }
            let idle = used == 0 && nodes == 0 && !packing;
            // What is being packed makes room, however long it takes.
            let late = Instant::now() > deadline && !packing && !crowded;
            if failed || (full && idle) || late {
                return Err(FsError::NoSpace);
            }
            let mut flags = self.signals.flags.lock();
            if flags.commits == commits {
                let _ = self.signals.room.wait_for(&mut flags, Duration::from_millis(500));
            }
        }
    }

    /// Bytes that are free for data on the disk of the store.
    pub(super) fn free(&self) -> u64 {
        statvfs(&self.live).map_or(u64::MAX / 4, |disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(margin(&disk))
        })
    }

    /// Removes the journal, if nothing is in it.
    fn leave(&self) {
        let state = self.state.read();
        if state.active.is_empty()
            && let Err(error) = state.active.remove(&self.live)
        {
            log::warn!("{}: journal {}: {error}", self.live.display(), state.active.number);
        }
    }
}

/// Bytes that were written and are not packed yet.
pub fn spooled(state: &super::State) -> u64 {
    let sealed: u64 = state.below.layers.iter().map(|layer| layer.spool.used()).sum();
    state.active.spool.used() + sealed
}

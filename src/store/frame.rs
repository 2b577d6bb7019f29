//! Inflated frames.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::buffers::Buffer;
use crate::format::Problem;
use crate::pack::Inflation;

/// The most that zstd inflates at a time, in bytes: how far beyond what is wanted a frame is
/// inflated at most.
pub const INFLATED: u32 = 128 * 1024;

/// A frame of the working set, inflated as far as it was wanted yet.
///
/// While it is not whole, its bytes move on under a lock, and are copied out. Once it is, they
/// stay as they are, and are handed out without either.
#[derive(Debug)]
pub struct Frame {
    length: usize,
    whole: OnceLock<Buffer>,
    growing: Mutex<Result<Option<Inflation>, Problem>>,
    /// Whether it was not inflated far enough once.
    gone_on: AtomicBool,
}

impl Frame {
    /// A frame being inflated, which comes to `length` bytes.
    pub(super) fn new(inflation: Inflation, length: usize) -> Self {
        let (growing, gone_on) = (Mutex::new(Ok(None)), AtomicBool::new(false));
        let frame = Self { length, whole: OnceLock::new(), growing, gone_on };
        frame.keep(&mut frame.growing.lock(), inflation);
        frame
    }

    fn keep(&self, growing: &mut Result<Option<Inflation>, Problem>, inflation: Inflation) {
        match inflation.is_whole() {
            true => {
                let _ = self.whole.set(inflation.into_bytes());
                *growing = Ok(None);
            }
            false => *growing = Ok(Some(inflation)),
        }
    }

    /// All its bytes, if it is whole.
    #[must_use]
    pub fn whole(&self) -> Option<&[u8]> {
        self.whole.get().map(|whole| whole.as_slice())
    }

    /// Whether it was not inflated far enough once, and is not whole yet.
    #[must_use]
    pub fn is_left_off(&self) -> bool {
        self.gone_on.load(Ordering::Relaxed) && self.whole().is_none()
    }

    /// Whether its first `wanted` bytes are there, and nobody inflates more of it just now.
    pub(super) fn has(&self, wanted: usize) -> bool {
        let so_far = |growing: &Result<Option<Inflation>, Problem>| match growing {
            Ok(Some(inflation)) => inflation.bytes().len(),
            _ => 0,
        };
        self.whole().is_some()
            || self.growing.try_lock().is_some_and(|growing| so_far(&growing) >= wanted)
    }

    /// Inflates at least its first `wanted` bytes, and then calls `with` with what there is.
    /// Returns, too, how many bytes were inflated for that.
    ///
    /// # Errors
    /// If it does not inflate to these.
    pub(super) fn reach<T>(
        &self,
        wanted: usize,
        with: impl FnOnce(&[u8]) -> T,
    ) -> Result<(T, usize), Problem> {
        if let Some(whole) = self.whole() {
            return Ok((with(whole), 0));
        }
        let mut growing = self.growing.lock();
        let mut new = 0;
        loop {
            let inflation = match growing.as_mut() {
                Ok(Some(inflation)) => inflation,
                Ok(None) => {
                    drop(growing);
                    let whole = self.whole().ok_or(Problem::Inflate)?;
                    return Ok((with(whole), new));
                }
                Err(problem) => return Err(problem.clone()),
            };
            let before = inflation.bytes().len();
            if before >= wanted.min(self.length) {
                return Ok((with(inflation.bytes()), new));
            }
            self.gone_on.store(true, Ordering::Relaxed);
            let done = inflation.go_on();
            new += inflation.bytes().len() - before;
            match done {
                Ok(()) => self.settle(&mut growing),
                Err(problem) => *growing = Err(problem),
            }
            // Whoever waits for what is there already shall not wait for all that is wanted here.
            MutexGuard::bump(&mut growing);
        }
    }

    /// Takes the bytes out of an inflation that has come to its end.
    fn settle(&self, growing: &mut Result<Option<Inflation>, Problem>) {
        let whole = matches!(growing, Ok(Some(inflation)) if inflation.is_whole());
        if whole && let Ok(Some(inflation)) = std::mem::replace(growing, Ok(None)) {
            self.keep(growing, inflation);
        }
    }
}

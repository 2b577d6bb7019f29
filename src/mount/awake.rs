//! Keeps idle processors awake while requests follow one another closely.
//!
//! Whoever walks a tree or unpacks one sleeps until each request is answered, and so does the event
//! loop until the next one comes. An idle processor that has gone to sleep takes far longer to wake
//! than an answer takes; a virtual machine even gives it back to its host. The kernel lets a
//! program say how long it may wait for one: as long as `/dev/cpu_dma_latency` is open, with that
//! time written to it, idle processors sleep no deeper, and with 0 they look for work (Linux,
//! `Documentation/power/pm_qos_interface.rst`). Only root may, as a rule.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Where the kernel is told.
const DEVICE: &str = "/dev/cpu_dma_latency";
/// So many requests must have followed closely.
const MANY: u64 = 64;
/// If none did for so long, processors may sleep again.
const WHILE: Duration = Duration::from_millis(50);

/// Keeps processors awake now and then.
#[derive(Debug)]
pub(super) struct Awake {
    state: Arc<State>,
    wake: Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests that followed closely, so far.
    close: AtomicU64,
    /// Whether they are kept awake.
    held: AtomicBool,
}

impl Awake {
    /// Starts the thread that does it; `None`: the kernel or its administrator does not let us.
    pub(super) fn start() -> Option<Self> {
        let device = File::options().write(true).open(DEVICE);
        if let Err(error) = device {
            log::debug!("{DEVICE}: {error}");
            return None;
        }
        let (wake, woken) = bounded(1);
        let state = Arc::new(State::default());
        let seen = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("awake".to_owned());
        let started = thread.spawn(move || {
            while woken.recv().is_ok() {
                if let Err(error) = seen.hold(&woken) {
                    return log::debug!("{DEVICE}: {error}");
                }
            }
        });
        started.ok().map(|_| Self { state, wake })
    }

    /// A request followed closely on the one before.
    pub(super) fn close(&self) {
        let count = self.state.close.fetch_add(1, Ordering::Relaxed);
        if !self.state.held.load(Ordering::Relaxed) && count.is_multiple_of(MANY) {
            // If the thread is gone, or is about to, nothing is to be done.
            let _ = self.wake.try_send(());
        }
    }
}

impl State {
    /// Keeps processors awake for as long as requests follow closely.
    fn hold(&self, woken: &Receiver<()>) -> io::Result<()> {
        let mut device = File::options().write(true).open(DEVICE)?;
        device.write_all(&0i32.to_ne_bytes())?;
        self.held.store(true, Ordering::Relaxed);
        let mut before = 0;
        loop {
            let now = self.close.load(Ordering::Relaxed);
            if now.wrapping_sub(before) < MANY {
                break;
            }
            before = now;
            if woken.recv_timeout(WHILE) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        self.held.store(false, Ordering::Relaxed);
        Ok(())
    }
}

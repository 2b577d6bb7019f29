//! SIGINT, SIGTERM and SIGHUP unmount.

use std::io;
use std::thread::{Builder, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

use super::{Detached, Detacher};

/// Watches for signals until it is dropped.
///
/// The first one takes the mount off its folder. If it is still in use it goes on being served, out
/// of sight; a second signal then ends the process as if nobody had watched.
#[derive(Debug)]
pub struct SignalWatch {
    handle: Handle,
    signals: Option<Signals>,
    thread: Option<JoinHandle<()>>,
}

impl SignalWatch {
    /// Holds signals back from now on, so that none comes between mounting and [`Self::start`].
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> io::Result<Self> {
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        Ok(Self { handle: signals.handle(), signals: Some(signals), thread: None })
    }

    /// Acts on signals, those that were held back included, by unmounting.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(&mut self, detacher: Detacher) -> io::Result<()> {
        if let Some(signals) = self.signals.take() {
            let watch = Builder::new().name("signals".to_owned());
            self.thread = Some(watch.spawn(move || unmount_on(signals, &detacher))?);
        }
        Ok(())
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that watched for signals died");
        }
    }
}

fn unmount_on(mut signals: Signals, detacher: &Detacher) {
    let mut off = false;
    for signal in &mut signals {
        if off {
            // Only fails for signals that do not exist.
            let _ = emulate_default_handler(signal);
        }
        match detacher.detach() {
            Ok(how) => {
                off = true;
                if how == Detached::InUse {
                    let dir = detacher.dir().display();
                    log::warn!("{dir}: in use; unmounted, but served until its last user is gone");
                }
            }
            Err(error) => log::error!("{error}"),
        }
    }
}

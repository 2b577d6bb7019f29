//! The archive that a read-only mount shows: one root for good, or, where it is to follow, each
//! newest one in turn.
//!
//! What the kernel was told of a root is true of the next one for the most part. A mount that
//! follows tells it little to keep: names and attributes for [`KEPT`], listings not at all; data
//! until it sees that a file has another length or time. What has another content but these, it is
//! told of.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use fuser::{INodeNo, Notifier};

use crate::diff::{Change, Field, diff};
use crate::fs::ArchiveFs;
use crate::store::{self, list_roots};

/// How long the kernel may keep names and attributes of a mount that follows.
pub(super) const KEPT: Duration = Duration::from_secs(1);
/// How often a newer root is looked for.
const EVERY: Duration = Duration::from_secs(1);

/// What a mount shows now.
#[derive(Debug)]
pub(super) struct Shown {
    fs: ArcSwap<ArchiveFs>,
    /// Whether that changes.
    pub(super) follows: bool,
    notifier: OnceLock<Notifier>,
}

impl Shown {
    pub(super) fn new(fs: Arc<ArchiveFs>, follows: bool) -> Self {
        Self { fs: ArcSwap::new(fs), follows, notifier: OnceLock::new() }
    }

    /// The root of this moment: an answer takes all of it from one.
    pub(super) fn fs(&self) -> Guard<Arc<ArchiveFs>> {
        self.fs.load()
    }

    /// Goes over to the newest root, if that is another one.
    fn follow(&self) -> Result<(), store::Error> {
        let old = self.fs.load_full();
        let newest = list_roots(&*old.store().shared_storage())?.pop().map(|(.., key)| key);
        if newest.is_none_or(|newest| newest == old.store().root().0) {
            return Ok(());
        }
        let new = Arc::new(old.newest()?);
        if new.store().root().0 == old.store().root().0 {
            return Ok(());
        }
        log::info!("{}: shows root {} now", new.store().name(), new.store().root().1.number);
        self.fs.store(Arc::clone(&new));
        self.tell(&old, &new);
        Ok(())
    }

    /// Tells the kernel which files have another content.
    fn tell(&self, old: &ArchiveFs, new: &ArchiveFs) {
        let Some(notifier) = self.notifier.get() else { return };
        let told = diff(old, new, &mut |path: &[u8], change: Change| {
            if let Change::Modified(_, fields) = change
                && fields.contains(&Field::Content)
                && let Ok(place) = new.resolve(path)
            {
                // It may know nothing of the file.
                let _ = notifier.inval_inode(INodeNo(place.attr.ino), 0, 0);
            }
            Ok::<(), Infallible>(())
        });
        let Ok(()) = told;
    }
}

/// The thread that looks for newer roots, while it runs.
#[derive(Debug)]
pub(super) struct Follower {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts it.
    ///
    /// # Errors
    /// If the system has no threads left.
    pub(super) fn start(shown: Arc<Shown>, notifier: Notifier) -> std::io::Result<Self> {
        let _ = shown.notifier.set(notifier);
        let (stop, stopped) = bounded::<()>(0);
        let body = move || {
            let mut failed = false;
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let followed = shown.follow();
                // Once, however long it lasts.
                if let Err(error) = &followed
                    && !failed
                {
                    log::warn!("{error}; the root before it is shown on");
                }
                failed = followed.is_err();
            }
        };
        let thread = std::thread::Builder::new().name("follow".to_owned()).spawn(body)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop = None;
        self.thread.take().map(JoinHandle::join);
    }
}

//! Names that were taken away, and that the kernel still counts.
//!
//! The kernel keeps the number of names of each file, and takes one off by itself when a name has
//! been removed, after it was told that this is done. Who asks for the file in between is told a
//! number from which one is taken off once more: the kernel comes to too few, at last to none, and
//! then refuses to link the file. So whoever asks for the file waits until the kernel has surely
//! counted, and it is to ask anew then. Whoever asks for a name in the same folder need not wait:
//! no name goes while the folder is looked at. Who has waited for long is told of one name more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::LiveFs;
use crate::fs::Attr;

/// How long the kernel is waited for at most.
const PATIENCE: Duration = Duration::from_millis(100);

/// By file: the folders of names that the kernel may still be about to take off.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Whether anybody says when they are gone.
    on: AtomicBool,
    names: Mutex<HashMap<u64, Vec<u64>>>,
    counted: Condvar,
    /// How many files there are in it: mostly none.
    count: AtomicUsize,
}

impl Leaving {
    /// A name in a folder is removed, of a file that has others.
    pub(super) fn add(&self, ino: u64, folder: u64) {
        if self.on.load(Ordering::Relaxed) {
            let mut names = self.names.lock();
            names.entry(ino).or_default().push(folder);
            self.count.store(names.len(), Ordering::SeqCst);
        }
    }

    fn remove(&self, ino: u64, folder: u64) {
        let mut names = self.names.lock();
        if let Some(folders) = names.get_mut(&ino) {
            folders.iter().position(|of| *of == folder).map(|at| folders.swap_remove(at));
            if folders.is_empty() {
                names.remove(&ino);
            }
            self.counted.notify_all();
        }
        self.count.store(names.len(), Ordering::SeqCst);
    }
}

impl LiveFs {
    /// From now on somebody [counts](Self::counted) for the kernel.
    pub fn count_names(&self) {
        self.leaving.on.store(true, Ordering::Relaxed);
    }

    /// The kernel has taken off a name that was removed from a folder.
    pub fn counted(&self, ino: u64, folder: u64) {
        self.leaving.remove(ino, folder);
    }

    /// Whether the kernel may be about to take off a name of a file.
    #[must_use]
    pub fn is_leaving(&self, ino: u64) -> bool {
        self.is_counting() && self.leaving.names.lock().contains_key(&ino)
    }

    /// Whether that is so of any file: who is [told](Self::told) may have to wait.
    #[must_use]
    pub fn is_counting(&self) -> bool {
        self.leaving.count.load(Ordering::SeqCst) > 0
    }

    /// What the kernel is to be told of a file, if not that it has it locked: of one that was
    /// found in a folder that it has locked, or by its number alone. What the file is was looked
    /// up before.
    ///
    /// Waits until the kernel has taken off names that are gone from other folders.
    #[must_use]
    pub fn told(&self, mut attr: Attr, folder: Option<u64>) -> Attr {
        if !self.is_counting() {
            return attr;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut names = self.leaving.names.lock();
            let folders = names.get(&attr.ino).into_iter().flatten();
            let more = folders.filter(|of| Some(**of) != folder).count();
            if more == 0 {
                return attr;
            }
            if self.leaving.counted.wait_until(&mut names, deadline).timed_out() {
                let more = u32::try_from(more).unwrap_or(u32::MAX);
                attr.nlink = attr.nlink.saturating_add(more);
                return attr;
            }
            drop(names);
            // Others may have come and gone meanwhile.
            attr = self.attr(attr.ino).unwrap_or(attr);
        }
    }
}

//! Names that were taken away, and that the kernel still counts.
//!
//! The kernel keeps the number of names of each file, and takes one off by itself when a name has
//! been removed, after it was told that this is done. Who asks for the file in between is told a
//! number from which one is taken off once more: the kernel comes to too few, at last to none, and
//! then refuses to link the file. So as long as that may be, all are told of one name more. When
//! the kernel has surely counted, it is to ask anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::LiveFs;
use crate::fs::Attr;

/// By file: how many of its names the kernel may still be about to take off.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Whether anybody says when they are gone.
    on: AtomicBool,
    names: Mutex<HashMap<u64, u32>>,
    /// How many files there are in it: mostly none.
    count: AtomicUsize,
}

impl Leaving {
    /// A name of a file that has others is removed.
    pub(super) fn add(&self, ino: u64) {
        if self.on.load(Ordering::Relaxed) {
            let mut names = self.names.lock();
            *names.entry(ino).or_default() += 1;
            self.count.store(names.len(), Ordering::SeqCst);
        }
    }

    fn remove(&self, ino: u64) {
        let mut names = self.names.lock();
        if let Some(count) = names.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                names.remove(&ino);
            }
        }
        self.count.store(names.len(), Ordering::SeqCst);
    }
}

impl LiveFs {
    /// From now on somebody [counts](Self::counted) for the kernel.
    pub fn count_names(&self) {
        self.leaving.on.store(true, Ordering::Relaxed);
    }

    /// The kernel has taken off a name that was removed.
    pub fn counted(&self, ino: u64) {
        self.leaving.remove(ino);
    }

    /// What the kernel is to be told of a file, unless it holds a lock that no name of the file
    /// goes without. What the file is was looked up before.
    #[must_use]
    pub fn told(&self, mut attr: Attr) -> Attr {
        if self.leaving.count.load(Ordering::SeqCst) > 0 {
            let more = self.leaving.names.lock().get(&attr.ino).copied();
            attr.nlink = attr.nlink.saturating_add(more.unwrap_or(0));
        }
        attr
    }
}

//! Awaits what another process does with a file.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

/// Sees who reads a file or lists a folder, from its making on.
pub struct Watch(OwnedFd);

impl Watch {
    pub fn new(path: &Path) -> Self {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        add_watch(&inotify, path, WatchFlags::ACCESS).unwrap();
        Self(inotify)
    }

    /// Waits for the first read.
    pub fn await_read(&self) {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap();
        assert_eq!(ready, 1, "nobody read it");
        let mut buffer = [MaybeUninit::uninit(); 4096];
        Reader::new(&self.0, &mut buffer).next().unwrap();
    }
}

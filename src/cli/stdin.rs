//! The standard input, which may have nothing to say for long.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Failure;
use super::progress::interrupted;

/// What stands for the standard input.
pub(super) const STDIN: &str = "-";
/// How long to wait for input before looking whether the command was interrupted.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Refuses to read a tar from a terminal.
pub(super) fn expect_tar() -> Result<(), Failure> {
    match io::stdin().is_terminal() {
        true => Err(Failure::Usage("SRC is - but no tar comes in; pipe one into it".to_owned())),
        false => Ok(()),
    }
}

/// The standard input; a read of it ends when the command is interrupted.
pub(super) struct Stdin(io::Stdin);

impl Stdin {
    pub(super) fn new() -> Self {
        Self(io::stdin())
    }

    fn wait(&self) -> io::Result<()> {
        loop {
            if interrupted() {
                return Err(io::Error::other("interrupted"));
            }
            match poll(&mut [PollFd::new(&self.0.as_fd(), PollFlags::IN)], Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => {}
                ready => return ready.map(drop).map_err(io::Error::from),
            }
        }
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        // Not through the buffer of std, which could hold what `poll` cannot see.
        Ok(rustix::io::read(self.0.as_fd(), buffer)?)
    }
}

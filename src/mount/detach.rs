//! Taking a mount off its folder: with umount2(2), or through fusermount3.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::attach::{find_helper, first_line};

/// A mount that could not be taken off.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// Files below are open, or folders below are somebody's working folder.
    #[error("{0}: in use")]
    Busy(PathBuf),
    /// Something else is mounted over it.
    #[error("{0}: something else is mounted over it; unmount that first")]
    Covered(PathBuf),
    /// Only root may unmount, and the program that lets others do so is missing.
    #[error(
        "fusermount3: not found, and only root can unmount without it; \
        install fuse3 or run as root"
    )]
    NoHelper,
    /// fusermount3 refused.
    #[error("{dir}: fusermount3 could not unmount: {message}")]
    Helper {
        /// The mount point.
        dir: PathBuf,
        /// What fusermount3 said.
        message: String,
    },
    /// The kernel refused.
    #[error("{dir}: could not unmount: {error}")]
    Refused {
        /// The mount point.
        dir: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Takes the topmost mount off `dir`, which must be free of symlinks. A `lazy` one goes even if it
/// is in use: it is out of sight at once, and ends when the last user is gone.
///
/// # Errors
/// If it is in use and not `lazy`, or the user may not do it.
pub fn unmount(dir: &Path, lazy: bool) -> Result<(), UnmountError> {
    let detach = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(dir, detach | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(UnmountError::Busy(dir.to_owned())),
        Err(Errno::PERM) => unmount_with_helper(dir, lazy),
        Err(error) => Err(UnmountError::Refused { dir: dir.to_owned(), error: error.into() }),
    }
}

fn unmount_with_helper(dir: &Path, lazy: bool) -> Result<(), UnmountError> {
    let program = find_helper().ok_or(UnmountError::NoHelper)?;
    let failed = |message| UnmountError::Helper { dir: dir.to_owned(), message };
    let output = Command::new(program)
        .arg(if lazy { "-uz" } else { "-u" })
        .arg("--")
        .arg(dir)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let message = first_line(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false if message.contains("busy") => Err(UnmountError::Busy(dir.to_owned())),
        false => Err(failed(message)),
    }
}

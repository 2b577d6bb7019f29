//! Why a mount could not be made.

use std::io;
use std::path::PathBuf;

/// A mount that could not be made or served.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mount point does not exist.
    #[error("{0}: no such folder; make it first: mkdir {0}")]
    Missing(PathBuf),
    /// The mount point is a file.
    #[error("{0}: not a folder, so nothing can be mounted on it")]
    NotFolder(PathBuf),
    /// The mount point has files in it, which the mount would hide.
    #[error("{0}: not empty; mount on an empty folder, or hide its files with -o nonempty")]
    NotEmpty(PathBuf),
    /// Something is mounted there already.
    #[error("{dir}: {source_name} is mounted there already; packfs umount {dir} first")]
    Busy {
        /// The mount point.
        dir: PathBuf,
        /// What is mounted there.
        source_name: String,
    },
    /// The process that served the mount is gone, the mount is not.
    #[error("{0}: a mount was left there by a process that is gone; packfs umount {0} first")]
    Stale(PathBuf),
    /// The mount point cannot be examined.
    #[error("{dir}: cannot use it as a mount point: {error}")]
    Folder {
        /// The mount point.
        dir: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The trace cannot be written.
    #[error("{path}: cannot write the trace: {error}")]
    Trace {
        /// The trace.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The kernel has no FUSE.
    #[error("/dev/fuse: not there, so nothing can be mounted; as root: modprobe fuse")]
    NoDevice,
    /// The FUSE device cannot be opened.
    #[error("/dev/fuse: {0}; run as root, or as root: chmod 666 /dev/fuse")]
    Device(io::Error),
    /// Only root may mount, and the program that lets others do so is missing.
    #[error(
        "fusermount3: not found, and only root can mount without it; \
        install fuse3 or run as root"
    )]
    NoHelper,
    /// The user is root, and yet may not mount.
    #[error(
        "mount: not permitted even to root; in a container, start it with the capability \
        CAP_SYS_ADMIN and the device /dev/fuse"
    )]
    NotPermitted,
    /// The machine does not let users share their mounts.
    #[error(
        "mount option `{0}`: users may not share their mounts; as root, add the line \
        user_allow_other to /etc/fuse.conf"
    )]
    AllowOther(&'static str),
    /// Only root may have this option.
    #[error("mount option `{0}`: only root may ask for it; leave it out or run as root")]
    RootOnly(&'static str),
    /// fusermount3 refused.
    #[error("{dir}: fusermount3 could not mount: {message}")]
    Helper {
        /// The mount point.
        dir: PathBuf,
        /// What fusermount3 said.
        message: String,
    },
    /// The kernel refused.
    #[error("{dir}: could not mount: {error}")]
    Refused {
        /// The mount point.
        dir: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The mount was made, and then failed.
    #[error("{dir}: the mount failed: {error}")]
    Session {
        /// The mount point.
        dir: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// The mount could not be taken off.
    #[error(transparent)]
    Unmount(#[from] super::UnmountError),
}

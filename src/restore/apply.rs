//! Gives a restored file all that it has but its data.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    lsetxattr, openat, utimensat,
};
use rustix::io::Errno;

use crate::format::{Kind, Time, XattrSet};
use crate::fs::Attr;

/// Sets owner, attributes, mode and times of `name` in `folder`, in the order in which the
/// system does not undo one by another: a change of owner clears setuid and capabilities, and
/// the mode may take away the right to set attributes.
///
/// Returns what could not be set; the rest is.
pub(super) fn apply(
    folder: BorrowedFd<'_>,
    name: &[u8],
    attr: &Attr,
    xattrs: &XattrSet,
) -> Vec<String> {
    let mut refused = Vec::new();
    let mut note = |what: &str, result: Result<(), Errno>| {
        if let Err(error) = result {
            refused.push(format!("{what}: {}", std::io::Error::from(error)));
        }
    };
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let owner = (Some(Uid::from_raw(attr.uid)), Some(Gid::from_raw(attr.gid)));
    let owned = chownat(folder, name, owner.0, owner.1, nofollow);
    let mut mode = attr.mode;
    match owned {
        // Files of others belong to whoever restores them, unless that is root; then bits that
        // lend the owner's rights must not lend those of someone else.
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => {
            let own = attr.uid == rustix::process::geteuid().as_raw();
            if !own || attr.gid != rustix::process::getegid().as_raw() {
                mode &= 0o1777;
            }
        }
        owned => note("owner", owned),
    }
    let path = named(folder, name);
    for (key, value) in xattrs {
        let set = lsetxattr(path.as_slice(), key.as_slice(), value, XattrFlags::empty());
        note(&String::from_utf8_lossy(key), set);
    }
    if attr.kind != Kind::Symlink {
        note("mode", set_mode(folder, name, mode));
    }
    let times =
        Timestamps { last_access: timespec(attr.atime), last_modification: timespec(attr.mtime) };
    note("times", utimensat(folder, name, &times, nofollow));
    refused
}

/// A path that names `name` in an open folder to calls that take no folder.
fn named(folder: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", folder.as_raw_fd()).as_bytes(), name].concat()
}

/// Sets a mode through the file itself, so that a symlink that takes its name is not followed.
fn set_mode(folder: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(folder, name, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd());
    chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
}

fn timespec(time: Time) -> Timespec {
    Timespec { tv_sec: time.sec, tv_nsec: i64::from(time.nsec) }
}

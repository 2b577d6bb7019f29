//! Opens paths below a folder: of any length, and never through a symlink.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, Result};

/// Longest path handed to the kernel at once; `PATH_MAX` is 4096 with its NUL.
const CHUNK: usize = 4000;

/// Opens `path`, relative to `folder` and of any length; an empty path is the folder itself.
///
/// # Errors
/// What the system says; `ELOOP` where a folder on the way, or the last name, is a symlink.
pub fn open(folder: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    let mut rest = path;
    loop {
        let (chunk, after) = split(rest);
        let last = after.is_empty();
        let flags = if last { flags } else { OFlags::PATH | OFlags::DIRECTORY };
        let chunk = if chunk.is_empty() { b"." } else { chunk };
        let from = at.as_ref().map_or(folder, AsFd::as_fd);
        let opened = open_chunk(from, chunk, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW)?;
        if last {
            return Ok(opened);
        }
        at = Some(opened);
        rest = after;
    }
}

/// As [`open`], for reading, and without a trace in the file's access time where the user may do
/// that (it takes the owner of the file, or root).
///
/// # Errors
/// As [`open`].
pub fn open_unseen(folder: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    match open(folder, path, flags | OFlags::RDONLY | OFlags::NOATIME) {
        Err(Errno::PERM) => open(folder, path, flags | OFlags::RDONLY),
        opened => opened,
    }
}

fn open_chunk(folder: BorrowedFd<'_>, chunk: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(folder, chunk, flags, Mode::empty(), resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            opened => return opened,
        }
    }
}

/// Splits a path into what the kernel takes at once, and the rest.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= CHUNK {
        return (path, b"");
    }
    match path[..CHUNK].iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_open_and_symlinks_do_not() {
        let temp = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(temp.path()).unwrap();
        let mut path = Vec::new();
        for _ in 0..40 {
            let folder = open(root.as_fd(), &path, OFlags::DIRECTORY).unwrap();
            let name = vec![b'n'; 200];
            rustix::fs::mkdirat(&folder, name.as_slice(), Mode::RWXU).unwrap();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name);
        }
        assert!(path.len() > 8000);
        open(root.as_fd(), &path, OFlags::DIRECTORY).unwrap();
        std::os::unix::fs::symlink(".", temp.path().join("link")).unwrap();
        assert_eq!(open(root.as_fd(), b"link/x", OFlags::empty()).unwrap_err(), Errno::LOOP);
        assert_eq!(open(root.as_fd(), b"link", OFlags::empty()).unwrap_err(), Errno::LOOP);
        assert!(open(root.as_fd(), b"..", OFlags::empty()).is_err());
        // What is left of it is too deep for a removal by path.
        std::process::Command::new("rm").arg("-rf").arg(temp.path()).status().unwrap();
    }
}

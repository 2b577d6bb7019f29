//! Looks at one name: all that a file has but its data.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, Stat, readlinkat, statat};
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use super::catalog::File;
use crate::format::{Kind, MAX_XATTR, MAX_XATTR_SET, Time, XattrSet};

/// Unit of `st_blocks`, in bytes.
const SECTOR: u64 = 512;

/// What a name was found to be.
pub struct Found {
    /// All that it has but its set of extended attributes.
    pub file: File,
    /// Its extended attributes.
    pub xattrs: XattrSet,
    /// Device and inode number, if it may have other names.
    pub shared: Option<(u64, u64)>,
}

/// Looks at names; one for each thread.
pub struct Inspector {
    all_times: bool,
    /// Whether this thread has a working folder that no other one shares.
    own_folder: bool,
    buffer: Vec<u8>,
}

/// An inspector in a folder.
pub struct Inside<'a> {
    folder: BorrowedFd<'a>,
    /// What makes a name in the folder a path for calls that take no folder.
    prefix: Vec<u8>,
    inspector: &'a mut Inspector,
}

impl Inspector {
    /// An inspector that keeps times of access and of change of the inode, if `all_times`.
    pub fn new(all_times: bool) -> Self {
        Self { all_times, own_folder: false, buffer: vec![0; MAX_XATTR] }
    }

    /// Gives the calling thread a working folder of its own, for good: calls for extended
    /// attributes take no folder, and a path through `/proc` costs several times what they do.
    pub fn own_folder(&mut self) {
        #[expect(unsafe_code, reason = "unsafe for `FILES` alone, which takes descriptors away")]
        // SAFETY: `FS` parts working folder, root and umask from those of other threads; all
        // descriptors stay as they are.
        let parted = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) };
        // Refused in some sandboxes: then it goes through /proc.
        self.own_folder = parted.is_ok();
    }

    /// Goes into an open folder.
    pub fn enter<'a>(&'a mut self, folder: BorrowedFd<'a>) -> Inside<'a> {
        let prefix = match self.own_folder && rustix::process::fchdir(folder).is_ok() {
            true => Vec::new(),
            false => format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes(),
        };
        Inside { folder, prefix, inspector: self }
    }
}

impl Inside<'_> {
    /// Looks at one name in the folder.
    ///
    /// # Errors
    /// What the system says; `E2BIG` for more extended attributes than an archive can have.
    pub fn look(&mut self, name: &[u8]) -> Result<Found, Errno> {
        let stat = statat(self.folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_folder = Kind::of_mode(stat.st_mode) == Some(Kind::Folder);
        let shared = stat.st_nlink > 1 && !is_folder;
        let xattrs = self.xattrs(name)?;
        let mut file = self.file(&stat);
        if file.kind() == Some(Kind::Symlink) {
            file.target = readlinkat(self.folder, name, Vec::new())?.into_bytes().into();
        }
        Ok(Found { file, xattrs, shared: shared.then_some((stat.st_dev, stat.st_ino)) })
    }

    fn file(&self, stat: &Stat) -> File {
        let kind = Kind::of_mode(stat.st_mode);
        let size = match kind {
            Some(Kind::File) => stat.st_size.cast_unsigned(),
            _ => 0,
        };
        let mtime = time(stat.st_mtime, stat.st_mtime_nsec);
        let times =
            || (time(stat.st_atime, stat.st_atime_nsec), time(stat.st_ctime, stat.st_ctime_nsec));
        File {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size,
            rdev: stat.st_rdev,
            mtime,
            times: self.inspector.all_times.then(times),
            sparse: stat.st_blocks.cast_unsigned().saturating_mul(SECTOR) < size,
            ..File::default()
        }
    }

    /// The extended attributes of a name, which need not be one that can be opened.
    fn xattrs(&mut self, name: &[u8]) -> Result<XattrSet, Errno> {
        let path = [&self.prefix, name].concat();
        let buffer = &mut self.inspector.buffer;
        let listed = match rustix::fs::llistxattr(path.as_slice(), buffer.as_mut_slice()) {
            Err(Errno::OPNOTSUPP) | Ok(0) => return Ok(XattrSet::new()),
            listed => listed?,
        };
        let names = buffer[..listed].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
        let mut set = XattrSet::new();
        let mut total = 0;
        for name in names {
            let value = buffer.as_mut_slice();
            match rustix::fs::lgetxattr(path.as_slice(), name.as_slice(), value) {
                // Taken away meanwhile, or listed though it cannot be had.
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                length => {
                    let value = buffer[..length?].to_vec();
                    total += name.len() + value.len();
                    set.push((name, value));
                }
            }
        }
        if total > MAX_XATTR_SET {
            return Err(Errno::TOOBIG);
        }
        set.sort();
        Ok(set)
    }
}

fn time(sec: i64, nsec: u64) -> Time {
    Time { sec, nsec: u32::try_from(nsec).unwrap_or(0) }
}

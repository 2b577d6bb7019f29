//! Makes entries of every kind in a folder, by descriptor, so that no path gets too long.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags, chmodat, chownat, linkat, lsetxattr, mkdirat, mknodat, openat, symlinkat,
    utimensat,
};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

/// A folder to put things in. Each thing's mtime follows from its name, so that two trees that
/// are made alike are alike.
pub struct Folder(OwnedFd);

impl Folder {
    /// An existing folder.
    pub fn open(path: &Path) -> Self {
        Self::open_at(CWD, path.as_os_str().as_encoded_bytes())
    }

    fn open_at(at: impl std::os::fd::AsFd, name: &[u8]) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self(openat(at, name, flags, Mode::empty()).unwrap())
    }

    /// A file of these bytes.
    pub fn file(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        let content = content.as_ref();
        self.sparse(name, content.len() as u64, &[(0, content)]);
    }

    /// A file that is a hole but for these pieces.
    pub fn sparse(&self, name: impl AsRef<[u8]>, size: u64, pieces: &[(u64, &[u8])]) {
        let name = name.as_ref();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(openat(&self.0, name, flags, Mode::from_raw_mode(0o644)).unwrap());
        file.set_len(size).unwrap();
        for (offset, bytes) in pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
        self.settle(name);
    }

    /// A folder, filled by `fill`.
    pub fn folder(&self, name: impl AsRef<[u8]>, fill: impl FnOnce(&Folder)) {
        fill(&self.enter(name.as_ref()));
        self.settle(name.as_ref());
    }

    /// A folder that stays open, and whose mtime is the caller's to settle.
    fn enter(&self, name: &[u8]) -> Self {
        mkdirat(&self.0, name, Mode::from_raw_mode(0o755)).unwrap();
        Self::open_at(&self.0, name)
    }

    /// Folders in each other, as deep as there are names; `fill` gets the innermost.
    pub fn nested(&self, names: impl IntoIterator<Item = Vec<u8>>, fill: impl FnOnce(&Folder)) {
        let mut at: Option<Folder> = None;
        for name in names {
            let below = at.as_ref().unwrap_or(self).enter(&name);
            // Nothing changes in the folder above any more.
            at.iter().for_each(|above| above.settle(b"."));
            at = Some(below);
        }
        let innermost = at.expect("a name at least");
        fill(&innermost);
        innermost.settle(b".");
    }

    /// A symlink.
    pub fn symlink(&self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) {
        symlinkat(target.as_ref(), &self.0, name.as_ref()).unwrap();
        self.settle(name.as_ref());
    }

    /// Another name for what `from` has under `old`.
    pub fn link(&self, name: impl AsRef<[u8]>, from: &Folder, old: impl AsRef<[u8]>) {
        linkat(&from.0, old.as_ref(), &self.0, name.as_ref(), AtFlags::empty()).unwrap();
    }

    /// A FIFO, a socket or a device.
    pub fn node(&self, name: impl AsRef<[u8]>, kind: FileType, device: Dev) {
        let mode = Mode::from_raw_mode(0o640);
        mknodat(&self.0, name.as_ref(), kind, mode, device).unwrap();
        self.settle(name.as_ref());
    }

    /// Sets a mode, set-id bits and all.
    pub fn mode(&self, name: impl AsRef<[u8]>, mode: u32) {
        chmodat(&self.0, name.as_ref(), Mode::from_raw_mode(mode), AtFlags::empty()).unwrap();
    }

    /// Sets owner and group, of a symlink itself.
    pub fn owner(&self, name: impl AsRef<[u8]>, uid: u32, gid: u32) {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        chownat(&self.0, name.as_ref(), uid, gid, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    /// Sets an mtime; atime is the same.
    pub fn mtime(&self, name: impl AsRef<[u8]>, tv_sec: i64, tv_nsec: i64) {
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(&self.0, name.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    /// Sets an access time alone.
    pub fn accessed(&self, name: impl AsRef<[u8]>, tv_sec: i64, tv_nsec: i64) {
        let last_access = Timespec { tv_sec, tv_nsec };
        let last_modification = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access, last_modification };
        utimensat(&self.0, name.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    /// Sets an extended attribute, of a symlink itself.
    pub fn xattr(&self, name: &str, attribute: &str, value: &[u8]) -> Result<(), Errno> {
        let path = format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd());
        lsetxattr(path, OsStr::new(attribute), value, XattrFlags::empty())
    }

    /// Gives a name an mtime that follows from it.
    pub fn settle(&self, name: &[u8]) {
        self.settle_as(name, name);
    }

    /// Gives a name the mtime that follows from another one.
    pub fn settle_as(&self, name: impl AsRef<[u8]>, other: impl AsRef<[u8]>) {
        let hash = xxh3_64(other.as_ref());
        let seconds = i64::from(u32::try_from(hash >> 34).unwrap());
        self.mtime(name, seconds, i64::from(u32::try_from(hash % 1_000_000_000).unwrap()));
    }
}

//! FUSE messages ↔ calls of [`crate::live`]: the adapter of a mount that can be written to. No
//! logic: what a file is and holds is decided there.
//!
//! The kernel is told to cache for ever: nobody else writes to the store, so what it changes
//! through us, it knows. It opens and closes by itself: files are packed when they are left alone,
//! and what has no name any more lives until the kernel forgets it. So the only messages for a file
//! are what it is made with, and its data.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::adapter::{FOREVER, GENERATION, MAX_BACKGROUND, MAX_REQUEST};
use super::answer::{
    Files, allocate, copy, disk, done, entry, errno, fill, fill_plus, find, replace, seek, synced,
    target, written, xattr, xattr_names,
};
use super::attributes::{bare_folder, device_of, file_attr, said, time};
use super::linger::Linger;
use super::links::Links;
use super::pool::Pool;
use super::snapdir::{APART, Shown};
use super::waiters::Waiters;
use crate::live::{Changes, LiveFs, Made};

/// A store that is written to, as FUSE asks for it.
pub(super) struct Writable {
    fs: Arc<LiveFs>,
    /// What it shows.
    shown: Arc<Shown>,
    /// Where what has to be inflated is read, and written data is synced.
    readers: Pool,
    waiters: Waiters,
    links: Arc<Links>,
    linger: Linger,
}

impl Writable {
    /// Starts so many threads that read and sync, besides others; `snapdir`: snapshots are shown.
    ///
    /// # Errors
    /// If the system has none left.
    pub(super) fn new(
        fs: Arc<LiveFs>,
        linger: Linger,
        snapdir: bool,
        threads: usize,
    ) -> io::Result<Self> {
        let shown = Arc::new(Shown::new(Arc::clone(&fs), snapdir)?);
        let (readers, waiters) = (Pool::start("read", threads)?, Waiters::start(Arc::clone(&fs))?);
        let links = Arc::new(Links::start(Arc::clone(&fs))?);
        Ok(Self { fs, shown, readers, waiters, links, linger })
    }

    /// What is to be told how to talk to the kernel, once that is possible.
    pub(super) fn links(&self) -> Arc<Links> {
        Arc::clone(&self.links)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, made: &Made<'_>, reply: ReplyEntry) {
        let Made { mode, umask, owner, rdev, target } = *made;
        let (name, target) = (name.as_bytes().to_vec(), target.to_vec());
        self.waiters.with_room(0, move |fs| {
            let made = Made { mode, umask, owner, rdev, target: &target };
            entry(fs, fs.make(parent.0, &name, &made), reply);
        });
    }

    /// Removes a name.
    fn remove(&self, by: u32, parent: INodeNo, name: &OsStr, is_folder: bool, reply: ReplyEmpty) {
        let (name, links) = (name.as_bytes().to_vec(), Arc::clone(&self.links));
        self.waiters.with_memory(move |fs| {
            links.removed(by, parent, fs.unlink(parent.0, &name, is_folder), reply);
        });
    }

    /// Does what may have to wait, which the event loop must not, in another thread.
    fn later(&self, may_wait: bool, job: impl FnOnce() + Send + 'static) {
        if may_wait { self.readers.run(job) } else { job() }
    }

    fn sync(&self, reply: ReplyEmpty) {
        let fs = Arc::clone(&self.fs);
        self.readers.run(move || synced(&fs, reply));
    }
}

impl Filesystem for Writable {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let offered = config.capabilities();
        let wanted = InitFlags::FUSE_NO_OPEN_SUPPORT
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_MAX_PAGES
            | InitFlags::FUSE_BIG_WRITES
            | InitFlags::FUSE_DONT_MASK
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            | InitFlags::FUSE_POSIX_ACL
            | InitFlags::FUSE_EXPORT_SUPPORT;
        let refused = |what: &str| io::Error::other(format!("cannot set {what}"));
        for need in [InitFlags::FUSE_NO_OPEN_SUPPORT, InitFlags::FUSE_NO_OPENDIR_SUPPORT] {
            if !offered.contains(need) {
                return Err(refused("silent opens, which Linux has since 5.1"));
            }
        }
        config.add_capabilities(wanted & offered).map_err(|_| refused("capabilities"))?;
        config.set_max_write(MAX_REQUEST).map_err(|_| refused("the request size"))?;
        config.set_max_background(MAX_BACKGROUND).map_err(|_| refused("requests in flight"))?;
        // Times of files are kept to the nanosecond.
        let _ = config.set_time_granularity(Duration::from_nanos(1));
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _next = self.linger.request();
        self.links.asked(request);
        let lifetime = Shown::lifetime(parent.0);
        match find(&*self.shown, parent.0, name.as_bytes()) {
            // Number 0: the kernel remembers that the name is not there.
            Ok(None) => reply.entry(&lifetime, &bare_folder(0), GENERATION),
            Ok(Some(attr)) if attr.ino >= APART => {
                reply.entry(&lifetime, &file_attr(&attr), GENERATION);
            }
            Ok(Some(attr)) => {
                let fs = Arc::clone(&self.fs);
                let told = move || entry(&fs, Ok(fs.told(attr, Some(parent.0))), reply);
                self.later(self.fs.is_leaving(attr.ino), told);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        self.fs.forget(ino.0, times);
    }

    fn getattr(&self, by: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let _next = self.linger.request();
        self.links.asked(by);
        let (fs, shown) = (Arc::clone(&self.fs), Arc::clone(&self.shown));
        self.later(fs.is_leaving(ino.0), move || match shown.attr(ino.0) {
            Ok(attr) => reply.attr(&FOREVER, &file_attr(&fs.told(attr, None))),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _next = self.linger.request();
        let (atime, mtime) = (atime.map(time), mtime.map(time));
        // Whoever is not root cannot keep them: the kernel says so, but fuser does not pass it on.
        let (ctime, kill) = (ctime.map(said), request.uid() != 0);
        let changes = Changes { mode, uid, gid, size, atime, mtime, ctime, kill };
        self.waiters.with_memory(move |fs| match fs.change(ino.0, &changes) {
            Ok(attr) => reply.attr(&FOREVER, &file_attr(&attr)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        target(&*self.shown, ino.0, reply);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let _next = self.linger.request();
        let owner = (request.uid(), request.gid());
        let made = Made { mode, umask, owner, rdev: device_of(rdev), target: b"" };
        self.make(parent, name, &made, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let _next = self.linger.request();
        let mode = crate::format::Kind::Folder.mode() | mode & 0o7777;
        let owner = (request.uid(), request.gid());
        self.make(parent, name, &Made { mode, umask, owner, rdev: 0, target: b"" }, reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let _next = self.linger.request();
        let mode = crate::format::Kind::Symlink.mode() | 0o777;
        let (owner, target) = ((request.uid(), request.gid()), target.as_os_str().as_bytes());
        self.make(parent, name, &Made { mode, umask: 0, owner, rdev: 0, target }, reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _next = self.linger.request();
        let name = name.as_bytes().to_vec();
        self.waiters.with_room(0, move |fs| entry(fs, fs.link(ino.0, parent.0, &name), reply));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _next = self.linger.request();
        self.remove(request.pid(), parent, name, false, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _next = self.linger.request();
        self.remove(request.pid(), parent, name, true, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _next = self.linger.request();
        let Some(replace) = replace(flags) else { return reply.error(Errno::EINVAL) };
        if self.shown.has_taken(to.0, new.as_bytes()) {
            return reply.error(Errno::EROFS);
        }
        let (name, new) = (name.as_bytes().to_vec(), new.as_bytes().to_vec());
        let (by, links) = (request.pid(), Arc::clone(&self.links));
        self.waiters.with_memory(move |fs| {
            links.removed(by, to, fs.rename((parent.0, &name), (to.0, &new), replace), reply);
        });
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _next = self.linger.request();
        match self.shown.open(ino.0, flags.acc_mode() == OpenAccMode::O_RDONLY) {
            // The kernel takes it to mean that there is no need to ask.
            None => reply.error(Errno::ENOSYS),
            Some(Ok(())) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Some(Err(error)) => reply.error(errno(&error)),
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    // The kernel then makes files with mknod.
    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(reply);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _next = self.linger.request();
        match self.shown.read_if_ready(ino.0, offset, size) {
            Ok(Some(data)) => return reply.data(&data),
            Ok(None) => {}
            Err(error) => return reply.error(errno(&error)),
        }
        let shown = Arc::clone(&self.shown);
        self.readers.run(move || match shown.read(ino.0, offset, size) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _next = self.linger.request();
        let kill = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        if self.fs.is_quick_to_write(ino.0, data.len() as u64) {
            return written(self.fs.write(ino.0, offset, data, kill).map(u64::from), reply);
        }
        let data = data.to_vec();
        self.waiters.wait(move |fs| {
            written(fs.write(ino.0, offset, &data, kill).map(u64::from), reply);
        });
    }

    fn fallocate(
        &self,
        by: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (ino, by) = (ino.0, by.uid());
        self.waiters
            .with_room(length, move |fs| done(allocate(fs, by, ino, offset, length, mode), reply));
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        seek(&*self.shown, ino.0, offset, whence, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match fill(&*self.shown, ino.0, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let _next = self.linger.request();
        self.links.asked(request);
        let (shown, lifetime) = (Arc::clone(&self.shown), Shown::lifetime(ino.0));
        self.later(self.fs.is_counting(), move || {
            let told = |ino| shown.remember(ino);
            match fill_plus(&*shown, ino.0, offset, &lifetime, &mut reply, told) {
                Ok(_) => reply.ok(),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        let _next = self.linger.request();
        match self.shown.xattr(ino.0, name.as_bytes()) {
            Ok(Some(value)) => xattr(&value, room, reply),
            Ok(None) => reply.error(Errno::NO_XATTR),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, room: u32, reply: ReplyXattr) {
        xattr_names(self.shown.xattrs(ino.0), room, reply);
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let (name, value) = (name.as_bytes().to_vec(), value.to_vec());
        self.waiters.with_room(value.len() as u64, move |fs| {
            done(fs.set_xattr(ino.0, &name, &value, flags), reply);
        });
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        self.waiters.with_memory(move |fs| done(fs.remove_xattr(ino.0, &name), reply));
    }

    fn copy_file_range(
        &self,
        by: &Request,
        from: INodeNo,
        _: FileHandle,
        offset: u64,
        to: INodeNo,
        _: FileHandle,
        at: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        if from.0 >= APART {
            // The kernel then reads and writes.
            return reply.error(Errno::EOPNOTSUPP);
        }
        let by = by.uid();
        self.waiters.wait(move |fs| {
            written(copy(fs, by, (from.0, offset), (to.0, at), length), reply);
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        disk(&self.fs, reply);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }
}

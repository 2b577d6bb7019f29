//! FUSE messages ↔ calls of [`crate::fs`]. No logic: what a file is and holds is decided there.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::Guard;
use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::ahead::{Ahead, SmallFiles};
use super::answer::{DOTS, errno, fill, fill_plus, find, seek, target, xattr, xattr_names};
use super::attributes::{bare_folder, file_attr};
use super::linger::Linger;
use super::live::{LIVE, Live};
use super::pool::Pool;
use super::shown::{KEPT, Shown};
use super::trace::Trace;
use crate::fs::{ArchiveFs, Data, FsError};
use crate::tree::ROOT;

/// Largest request, in bytes: what the kernel allows without its administrator's help.
pub(super) const MAX_REQUEST: u32 = 1 << 20;
/// Most requests of read-ahead that the kernel keeps in flight.
pub(super) const MAX_BACKGROUND: u16 = 64;
/// Requests of so many bytes are of a file that is read as a whole, or so the kernel guesses;
/// another thread than the event loop copies the answers.
const LARGE: u32 = 128 << 10;
/// Unit of the sizes that statfs reports, in bytes.
const STAT_UNIT: u32 = 4096;
/// Inodes never change hands: one generation of them.
pub(super) const GENERATION: Generation = Generation(0);

/// As long as the kernel likes: 68 years. Far longer times overflow in it.
pub(super) const FOREVER: Duration = Duration::from_secs(i32::MAX as u64);

/// How long the kernel may answer by itself what it was told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// As long as it likes: an archive does not change.
    Forever,
    /// Until the mount may show another root.
    Short,
    /// Not at all.
    Zero,
}

/// An archive, as FUSE asks for it.
pub(super) struct Adapter {
    shared: Arc<Shared>,
    lifetime: Duration,
    /// The kernel takes ENOSYS to an open of a file, and of a folder, to mean that there is no
    /// need to ask: it then opens, flushes and closes by itself.
    silent_open: bool,
    silent_opendir: bool,
    /// Where what has to be inflated is read, and files are handed over.
    readers: Pool,
    linger: Linger,
}

/// What the event loop and the readers have in common.
struct Shared {
    shown: Arc<Shown>,
    helpers: Helpers,
}

/// What goes on beside answering.
pub(super) struct Helpers {
    pub(super) ahead: Arc<Ahead>,
    pub(super) live: Arc<Live>,
    pub(super) trace: Option<Trace>,
}

/// Part of a file that a process asked for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    process: u32,
    file: u64,
    offset: u64,
    since: Instant,
}

impl Shared {
    fn fs(&self) -> Guard<Arc<ArchiveFs>> {
        self.shown.fs()
    }

    /// Whether a file has extended attributes, now or later.
    fn may_have_xattrs(&self) -> bool {
        self.shown.follows || self.fs().has_xattrs()
    }

    /// Replies with data.
    fn answer(&self, wanted: Wanted, data: &Data, reply: ReplyData) {
        let Wanted { file, offset, since, .. } = wanted;
        // Before its reader can go on, or reads would be out of order.
        if let Some(trace) = &self.helpers.trace {
            trace.read(file, offset, data.len());
        }
        reply.data(data);
        self.helpers.live.answered(data.len(), since.elapsed());
        self.helpers.ahead.read_on(offset, data);
    }

    /// The files to be handed over to who wants part of this one.
    fn due(&self, wanted: Wanted) -> SmallFiles {
        match wanted.offset {
            0 => self.helpers.ahead.read(wanted.process, wanted.file),
            _ => SmallFiles::new(),
        }
    }

    /// Reads, whatever it takes, and replies.
    fn read(&self, wanted: Wanted, size: u32, reply: ReplyData) {
        match self.fs().read(wanted.file, wanted.offset, size) {
            Ok(data) => {
                let files = self.due(wanted);
                self.helpers.ahead.hand_over(&files, || self.answer(wanted, &data, reply));
            }
            Err(error) => self.fail(wanted, &error, reply),
        }
    }

    /// Replies that it cannot be read.
    fn fail(&self, wanted: Wanted, error: &FsError, reply: ReplyData) {
        reply.error(errno(error));
        self.helpers.live.answered(0, wanted.since.elapsed());
    }
}

impl Adapter {
    /// Starts so many threads that read.
    ///
    /// # Errors
    /// If the system has none left.
    pub(super) fn new(
        shown: Arc<Shown>,
        lifetime: Lifetime,
        helpers: Helpers,
        linger: Linger,
        threads: usize,
    ) -> io::Result<Self> {
        let lifetime = match lifetime {
            Lifetime::Forever => FOREVER,
            Lifetime::Short => KEPT,
            Lifetime::Zero => Duration::ZERO,
        };
        let (shared, readers) =
            (Arc::new(Shared { shown, helpers }), Pool::start("read", threads)?);
        let (silent_open, silent_opendir) = (false, false);
        Ok(Self { shared, lifetime, silent_open, silent_opendir, readers, linger })
    }

    fn with_reader(&self, job: impl FnOnce(&Shared) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        self.readers.run(move || job(&shared));
    }
}

/// Methods that reply that the file system can only be read.
macro_rules! refuse {
    ($($method:ident($($argument:ty),*) -> $reply:ty;)*) => {
        $(fn $method(&self, _: &Request, $(_: $argument,)* reply: $reply) {
            reply.error(Errno::EROFS);
        })*
    };
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let offered = config.capabilities();
        let mut wanted = InitFlags::FUSE_NO_OPEN_SUPPORT
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_MAX_PAGES
            | InitFlags::FUSE_EXPORT_SUPPORT;
        if self.shared.may_have_xattrs() {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        let follows = self.shared.shown.follows;
        if follows {
            wanted |= InitFlags::FUSE_AUTO_INVAL_DATA;
        }
        // The largest read-ahead that the kernel offers is fuser's default.
        let refused = |what: &str| io::Error::other(format!("cannot set {what}"));
        config.add_capabilities(wanted & offered).map_err(|_| refused("capabilities"))?;
        config.set_max_write(MAX_REQUEST).map_err(|_| refused("the request size"))?;
        config.set_max_background(MAX_BACKGROUND).map_err(|_| refused("requests in flight"))?;
        self.silent_open = offered.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        self.silent_opendir = offered.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT) && !follows;
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _next = self.linger.request();
        self.shared.helpers.live.looked_up();
        match find(&**self.shared.fs(), parent.0, name.as_bytes()) {
            Ok(None) if parent.0 == ROOT && name == LIVE => {
                let attr = self.shared.helpers.live.make(&self.shared.fs());
                reply.entry(&Duration::ZERO, &file_attr(&attr), GENERATION);
            }
            Ok(Some(attr)) => reply.entry(&self.lifetime, &file_attr(&attr), GENERATION),
            // Number 0: the kernel remembers that the name is not there.
            Ok(None) => reply.entry(&self.lifetime, &bare_folder(0), GENERATION),
            Err(error) => reply.error(errno(&error)),
        }
    }

    // Inodes live as long as the archive: there is nothing to forget.
    fn forget(&self, _: &Request, _: INodeNo, _: u64) {}

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let _next = self.linger.request();
        if let Some((attr, _)) = self.shared.helpers.live.file(ino.0) {
            return reply.attr(&Duration::ZERO, &file_attr(&attr));
        }
        match self.shared.fs().attr(ino.0) {
            Ok(attr) => reply.attr(&self.lifetime, &file_attr(&attr)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let _next = self.linger.request();
        target(&**self.shared.fs(), ino.0, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.silent_open {
            true => reply.error(Errno::ENOSYS),
            false => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let cached = match self.shared.shown.follows {
            true => FopenFlags::empty(),
            false => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
        };
        match self.silent_opendir {
            true => reply.error(Errno::ENOSYS),
            false => reply.opened(FileHandle(0), cached),
        }
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _next = self.linger.request();
        if let Some((_, text)) = self.shared.helpers.live.file(ino.0) {
            let from = text.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
            let rest = &text[from..];
            return reply.data(&rest[..rest.len().min(size as usize)]);
        }
        let (process, file, since) = (request.pid(), ino.0, Instant::now());
        let wanted = Wanted { process, file, offset, since };
        let ready = match size {
            ..LARGE => self.shared.fs().read_if_ready(file, offset, size),
            _ => {
                self.shared.helpers.ahead.stream(file, offset, size);
                Ok(None)
            }
        };
        match ready {
            Ok(Some(data)) => {
                let files = self.shared.due(wanted);
                if files.is_empty() {
                    return self.shared.answer(wanted, &data, reply);
                }
                self.with_reader(move |shared| {
                    let answer = || shared.answer(wanted, &data, reply);
                    shared.helpers.ahead.hand_over(&files, answer);
                });
            }
            Ok(None) => self.with_reader(move |shared| shared.read(wanted, size, reply)),
            Err(error) => self.shared.fail(wanted, &error, reply),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match fill(&**self.shared.fs(), ino.0, offset, &mut reply) {
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
        self.shared.helpers.live.listed();
        let ahead = &self.shared.helpers.ahead;
        match fill_plus(&**self.shared.fs(), ino.0, offset, &self.lifetime, &mut reply, |_| ()) {
            Ok(true) => {
                ahead.lists(request.pid(), ino.0, offset.saturating_sub(DOTS));
                reply.ok();
            }
            Ok(false) => {
                let files = ahead.listed(request.pid(), ino.0);
                if files.is_empty() {
                    return reply.ok();
                }
                self.with_reader(move |shared| {
                    shared.helpers.ahead.hand_over(&files, || reply.ok());
                });
            }
            Err(error) => reply.error(errno(&error)),
        }
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
        seek(&**self.shared.fs(), ino.0, offset, whence, reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        let _next = self.linger.request();
        if !self.shared.may_have_xattrs() {
            // The kernel never asks again.
            return reply.error(Errno::ENOSYS);
        }
        if self.shared.helpers.live.file(ino.0).is_some() {
            return reply.error(Errno::NO_XATTR);
        }
        match self.shared.fs().xattr(ino.0, name.as_bytes()) {
            Ok(Some(value)) => xattr(&value, room, reply),
            Ok(None) => reply.error(Errno::NO_XATTR),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, room: u32, reply: ReplyXattr) {
        if !self.shared.may_have_xattrs() {
            return reply.error(Errno::ENOSYS);
        }
        if self.shared.helpers.live.file(ino.0).is_some() {
            return xattr(&[], room, reply);
        }
        xattr_names(self.shared.fs().xattrs(ino.0), room, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let stat = self.shared.fs().statfs();
        let blocks = stat.bytes.div_ceil(STAT_UNIT.into());
        reply.statfs(blocks, 0, 0, stat.inodes, 0, STAT_UNIT, 255, STAT_UNIT);
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

    // The kernel refuses these itself, until somebody remounts with `rw`.
    refuse! {
        setattr(INodeNo, Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<TimeOrNow>,
            Option<TimeOrNow>, Option<SystemTime>, Option<FileHandle>, Option<SystemTime>,
            Option<SystemTime>, Option<SystemTime>, Option<BsdFileFlags>) -> ReplyAttr;
        mknod(INodeNo, &OsStr, u32, u32, u32) -> ReplyEntry;
        mkdir(INodeNo, &OsStr, u32, u32) -> ReplyEntry;
        unlink(INodeNo, &OsStr) -> ReplyEmpty;
        rmdir(INodeNo, &OsStr) -> ReplyEmpty;
        symlink(INodeNo, &OsStr, &Path) -> ReplyEntry;
        rename(INodeNo, &OsStr, INodeNo, &OsStr, RenameFlags) -> ReplyEmpty;
        link(INodeNo, INodeNo, &OsStr) -> ReplyEntry;
        create(INodeNo, &OsStr, u32, u32, i32) -> ReplyCreate;
        write(INodeNo, FileHandle, u64, &[u8], WriteFlags, OpenFlags, Option<LockOwner>)
            -> ReplyWrite;
        fallocate(INodeNo, FileHandle, u64, u64, i32) -> ReplyEmpty;
        setxattr(INodeNo, &OsStr, &[u8], i32, u32) -> ReplyEmpty;
        removexattr(INodeNo, &OsStr) -> ReplyEmpty;
    }
}

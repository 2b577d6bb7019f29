//! What FUSE allows on this machine: a mount that serves the tree from memory, and nothing else.
//!
//! With a fault it is the peer that every reader fears; the harness is tested with that.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEntry, ReplyOpen, ReplyXattr, Request,
};
use std::os::unix::fs::MetadataExt;

use super::Peer;
use crate::mounted::How;
use crate::process::Stop;
use crate::workload::worker;

/// How long the kernel may answer by itself: for ever.
const FOREVER: Duration = Duration::from_secs(1 << 30);
/// How many reads a faulty mount answers rightly before it fails.
const GOOD_READS: u64 = 3;
/// As packfs sets it: how far the kernel reads ahead, in KiB.
const READ_AHEAD_KIB: &str = "1024";

/// The mount from memory.
#[derive(Debug)]
pub struct Ceiling {
    /// What is wrong with it, for tests.
    pub fault: Option<Fault>,
}

/// What a faulty mount does after a few good reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It returns other bytes.
    Wrong,
    /// Its process ends.
    Crash,
    /// It never answers.
    Hang,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Crash => "crash",
            Self::Hang => "hang",
        }
    }

    /// The fault of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Wrong, Self::Crash, Self::Hang].into_iter().find(|fault| fault.name() == name)
    }
}

impl Peer for Ceiling {
    fn name(&self) -> &'static str {
        self.fault.map_or("ceiling", Fault::name)
    }

    fn about(&self) -> &'static str {
        "a bare FUSE mount that serves the tree from memory: what FUSE allows here"
    }

    fn version(&self) -> Result<String, String> {
        Ok("fuser".to_owned())
    }

    fn build(&self, _: &Path, _: &Path) -> Vec<Command> {
        Vec::new()
    }

    fn mount(&self, tree: &Path, _: &Path, dir: &Path) -> Option<How> {
        let mut command = worker("ceiling").ok()?;
        command.arg(tree).arg(dir);
        command.args(self.fault.map(Fault::name));
        Some(How::Driver(command))
    }

    fn opens(&self) -> bool {
        self.fault.is_some()
    }
}

/// The worker: reads `tree` into memory and serves it on `dir` until it is unmounted.
pub fn serve(tree: &Path, dir: &Path, fault: Option<Fault>) -> Result<(), Stop> {
    let broken = |error| Stop::broken(tree.display(), error);
    let mut memory = Memory { nodes: Vec::new(), fault, reads: AtomicU64::new(0) };
    memory.take(tree, 1).map_err(broken)?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::FSName("ceiling".to_owned())];
    config.n_threads = Some(4);
    config.clone_fd = true;
    let session = fuser::spawn_mount(memory, dir, &config).map_err(broken)?;
    if let Ok(Some(entry)) = packfs::mount::mount_at(dir) {
        let file = format!("/sys/class/bdi/{}/read_ahead_kb", entry.device);
        fs::write(file, READ_AHEAD_KIB).map_err(broken)?;
    }
    session.join().map_err(broken)
}

/// A tree in memory. Node `n` has inode number `n + 1`.
#[derive(Debug)]
struct Memory {
    nodes: Vec<Node>,
    fault: Option<Fault>,
    reads: AtomicU64,
}

#[derive(Debug)]
struct Node {
    attr: FileAttr,
    parent: u64,
    /// Of a file its content, of a symlink its target.
    data: Vec<u8>,
    names: Vec<(OsString, u64)>,
    by_name: HashMap<OsString, u64>,
}

impl Memory {
    /// Takes in what is at `path`, and all below it; returns its number.
    fn take(&mut self, path: &Path, parent: u64) -> io::Result<u64> {
        let meta = fs::symlink_metadata(path)?;
        let number = self.nodes.len() as u64 + 1;
        let data = match meta.file_type() {
            kind if kind.is_file() => fs::read(path)?,
            kind if kind.is_symlink() => fs::read_link(path)?.into_os_string().into_encoded_bytes(),
            _ => Vec::new(),
        };
        self.nodes.push(Node {
            attr: attr(&meta, number),
            parent,
            data,
            names: Vec::new(),
            by_name: HashMap::new(),
        });
        if meta.is_dir() {
            let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            let mut names = Vec::with_capacity(entries.len());
            for entry in entries {
                names.push((entry.file_name(), self.take(&entry.path(), number)?));
            }
            if let Some(node) = usize::try_from(number - 1).ok().and_then(|n| self.nodes.get_mut(n))
            {
                node.by_name = names.iter().cloned().collect();
                node.names = names;
            }
        }
        Ok(number)
    }

    fn node(&self, ino: INodeNo) -> Result<&Node, Errno> {
        let at = usize::try_from(ino.0.wrapping_sub(1)).map_err(|_| Errno::ENOENT)?;
        self.nodes.get(at).ok_or(Errno::ENOENT)
    }

    /// A listing from an offset: number, offset of the next, name.
    fn listed(&self, ino: INodeNo, offset: u64) -> Result<Vec<(u64, u64, &OsStr)>, Errno> {
        let node = self.node(ino)?;
        let dots = [(OsStr::new("."), ino.0), (OsStr::new(".."), node.parent)];
        let names = node.names.iter().map(|(name, number)| (name.as_os_str(), *number));
        let all = dots.into_iter().chain(names).zip(1..);
        let after = all.skip(usize::try_from(offset).unwrap_or(usize::MAX));
        Ok(after.map(|((name, number), next)| (number, next, name)).collect())
    }

    /// Misbehaves, if it is to; returns whether to lie.
    fn misbehave(&self) -> bool {
        let Some(fault) = self.fault else { return false };
        if self.reads.fetch_add(1, Ordering::Relaxed) < GOOD_READS {
            return false;
        }
        match fault {
            Fault::Wrong => true,
            Fault::Crash => std::process::exit(3),
            Fault::Hang => loop {
                thread::park();
            },
        }
    }
}

fn attr(meta: &fs::Metadata, number: u64) -> FileAttr {
    let kind = match meta.file_type() {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_file() => FileType::RegularFile,
        _ => FileType::NamedPipe,
    };
    FileAttr {
        ino: INodeNo(number),
        size: meta.size(),
        blocks: meta.blocks(),
        atime: SystemTime::UNIX_EPOCH,
        mtime: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm: u16::try_from(meta.mode() & 0o7777).unwrap_or(0o444),
        nlink: 1,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
        blksize: 128 << 10,
        flags: 0,
    }
}

impl Filesystem for Memory {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_NO_OPEN_SUPPORT
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_MAX_PAGES;
        let offered = config.capabilities();
        config.add_capabilities(wanted & offered).map_err(|_| io::Error::other("capabilities"))?;
        config.set_max_write(1 << 20).map_err(|_| io::Error::other("request size"))?;
        config.set_max_background(64).map(drop).map_err(|_| io::Error::other("background"))
    }

    fn forget(&self, _: &Request, _: INodeNo, _: u64) {}

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.node(parent).and_then(|folder| {
            let number = folder.by_name.get(name).ok_or(Errno::ENOENT)?;
            self.node(INodeNo(*number))
        });
        match found {
            Ok(node) => reply.entry(&FOREVER, &node.attr, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.node(ino) {
            Ok(node) => reply.attr(&FOREVER, &node.attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.node(ino) {
            Ok(node) => reply.data(&node.data),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
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
        let node = match self.node(ino) {
            Ok(node) => node,
            Err(error) => return reply.error(error),
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(node.data.len());
        let end = start.saturating_add(size as usize).min(node.data.len());
        let data = &node.data[start..end];
        match self.misbehave() {
            true => reply.data(&data.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()),
            false => reply.data(data),
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
        let listed = match self.listed(ino, offset) {
            Ok(listed) => listed,
            Err(error) => return reply.error(error),
        };
        for (number, next, name) in listed {
            let kind = self.node(INodeNo(number)).map_or(FileType::Directory, |it| it.attr.kind);
            if reply.add(INodeNo(number), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = match self.listed(ino, offset) {
            Ok(listed) => listed,
            Err(error) => return reply.error(error),
        };
        for (number, next, name) in listed {
            let Ok(node) = self.node(INodeNo(number)) else { continue };
            if reply.add(node.attr.ino, next, name, &FOREVER, &node.attr, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }
}

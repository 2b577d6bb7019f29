//! The walk over both trees, level by level.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::entry::{Links, Stat, stat};
use super::{CompareError, CompareOptions, Compared, Difference, Side, What};

/// The two sides of something.
pub(super) type Pair<T> = [T; 2];
pub(super) const SIDES: Pair<Side> = [Side::Left, Side::Right];

/// A folder on the way down to where the walk is.
struct Level {
    /// Its inode on both sides, to know it again when the walk comes back up.
    inodes: Pair<(u64, u64)>,
    /// Length of its path.
    path_len: usize,
    /// Folders in it that are still to be walked; the next one last.
    folders: Vec<Vec<u8>>,
}

/// The state of one comparison.
pub(super) struct Walk<'a> {
    pub(super) options: &'a CompareOptions,
    pub(super) compared: Compared,
    pub(super) links: Links,
    /// Path of the entry that is being compared.
    pub(super) path: Vec<u8>,
    pub(super) buffers: Pair<Vec<u8>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(options: &'a CompareOptions) -> Self {
        Self {
            options,
            compared: Compared::default(),
            links: Links::default(),
            path: Vec::new(),
            buffers: [vec![0; 1 << 20], vec![0; 1 << 20]],
        }
    }

    pub(super) fn run(mut self, left: &Path, right: &Path) -> Result<Compared, CompareError> {
        let root = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(CWD, path, flags | OFlags::NOATIME, Mode::empty())
                .or_else(|_| openat(CWD, path, flags, Mode::empty()))
                .map_err(|error| CompareError::Open(path.to_owned(), error))
        };
        let mut at = [root(left)?, root(right)?];
        let mut levels = Vec::new();
        if let Some(stats) = self.stats(&at, b".") {
            self.compare_entry(&at, b".", &stats);
            levels.push(self.enter(&at, &stats));
        }
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.path_len);
            if let Some(name) = level.folders.pop() {
                if level.path_len > 0 {
                    self.path.push(b'/');
                }
                self.path.extend(&name);
                if let Some((folders, stats)) = self.open_both(&at, &name) {
                    at = folders;
                    levels.push(self.enter(&at, &stats));
                }
            } else {
                levels.pop();
                if let Some(above) = levels.last() {
                    at = self.up(&at, above)?;
                }
            }
        }
        Ok(self.compared)
    }

    /// Compares what two folders hold, but for what lies in the folders among it.
    fn enter(&mut self, at: &Pair<OwnedFd>, stats: &Pair<Stat>) -> Level {
        let mut level = Level {
            inodes: [stats[0].inode(), stats[1].inode()],
            path_len: self.path.len(),
            folders: Vec::new(),
        };
        let lists = [self.list(&at[0], Side::Left), self.list(&at[1], Side::Right)];
        let [Some(left), Some(right)] = lists else { return level };
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        loop {
            // The smaller name is next; `None` comes last.
            let key = |name: Option<&Vec<u8>>| name.map_or((true, vec![]), |n| (false, n.clone()));
            let order = key(left.peek()).cmp(&key(right.peek()));
            let from_left = if order.is_le() { left.next() } else { None };
            let from_right = if order.is_ge() { right.next() } else { None };
            let (name, only) = match (from_left, from_right) {
                (Some(name), Some(_)) => (name, None),
                (Some(name), None) => (name, Some(0)),
                (None, Some(name)) => (name, Some(1)),
                (None, None) => break,
            };
            if level.path_len > 0 {
                self.path.push(b'/');
            }
            self.path.extend(&name);
            if self.visit(at, &name, only) {
                level.folders.push(name);
            }
            self.path.truncate(level.path_len);
        }
        level.folders.reverse();
        level
    }

    /// Compares one name, which may be on one side only; whether it is a folder on both.
    fn visit(&mut self, at: &Pair<OwnedFd>, name: &[u8], only: Option<usize>) -> bool {
        if let Some(side) = only {
            let socket = stat(&at[side], name).is_ok_and(|stat| stat.is_socket());
            if self.options.sockets || !socket {
                self.differs(What::OnlyOn(SIDES[side]));
            }
            return false;
        }
        let Some(stats) = self.stats(at, name) else { return false };
        if !self.options.sockets && stats.iter().all(Stat::is_socket) {
            return false;
        }
        self.compare_entry(at, name, &stats);
        stats.iter().all(Stat::is_folder)
    }

    fn stats(&mut self, at: &Pair<OwnedFd>, name: &[u8]) -> Option<Pair<Stat>> {
        let left = self.readable(Side::Left, "stat", stat(&at[0], name));
        let right = self.readable(Side::Right, "stat", stat(&at[1], name));
        Some([left?, right?])
    }

    /// The names in a folder, in order; one that is listed twice is there twice.
    fn list(&mut self, folder: &OwnedFd, side: Side) -> Option<Vec<Vec<u8>>> {
        let list = || {
            let mut names = Vec::new();
            for entry in Dir::read_from(folder)? {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.push(name);
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        self.readable(side, "listing", list())
    }

    fn open_both(
        &mut self,
        at: &Pair<OwnedFd>,
        name: &[u8],
    ) -> Option<(Pair<OwnedFd>, Pair<Stat>)> {
        let left = self.readable(Side::Left, "opening", open(&at[0], name, OFlags::DIRECTORY));
        let right = self.readable(Side::Right, "opening", open(&at[1], name, OFlags::DIRECTORY));
        let folders = [left?, right?];
        let stats = self.stats(&folders, b".")?;
        Some((folders, stats))
    }

    /// Back to the folders above, which must be those the walk came through.
    fn up(&self, at: &Pair<OwnedFd>, above: &Level) -> Result<Pair<OwnedFd>, CompareError> {
        let moved = || CompareError::Moved(self.path[..above.path_len].to_vec());
        let parent = |side: usize| {
            let folder = open(&at[side], b"..", OFlags::DIRECTORY).map_err(|_| moved())?;
            let same = stat(&folder, b".").is_ok_and(|stat| stat.inode() == above.inodes[side]);
            if same { Ok(folder) } else { Err(moved()) }
        };
        Ok([parent(0)?, parent(1)?])
    }

    /// What was read, or a difference that says it could not be.
    pub(super) fn readable<T>(
        &mut self,
        side: Side,
        action: &'static str,
        result: Result<T, Errno>,
    ) -> Option<T> {
        result.map_err(|error| self.differs(What::Unreadable(side, action, error))).ok()
    }

    pub(super) fn differs(&mut self, what: What) {
        self.compared.found += 1;
        if self.compared.differences.len() < self.options.limit {
            self.compared.differences.push(Difference { path: self.path.clone(), what });
        }
    }
}

/// Opens a name in a folder to read it, without a trace in its access time where that is allowed.
pub(super) fn open(folder: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(folder, name, flags | OFlags::NOATIME, Mode::empty()).or_else(|error| match error {
        Errno::PERM => openat(folder, name, flags, Mode::empty()),
        error => Err(error),
    })
}

//! What a writable mount shows: its files, and with `-o snapdir` snapshots beside them, in
//! `.packfs/snapshots/NAME`. That folder is not listed: whoever walks the mount, to copy it, say,
//! comes to its files alone.
//!
//! Inodes of snapshots have numbers that a store has not: those from [`APART`] on. Each snapshot
//! that was entered has a range of them. A snapshot is open while it is in use, and for a moment
//! after: as long as that, nobody collects it. What the kernel knows of it is known by the name of
//! the snapshot and by its tree, which a collection leaves as it is.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{RecvTimeoutError, Sender, TrySendError, bounded};
use parking_lot::Mutex;

use super::adapter::FOREVER;
use super::answer::Files;
use crate::format::{Id, Kind, NUMBERS_END, Time, XattrSet};
use crate::fs::{ArchiveFs, Attr, Data, FsError, Listed, Owner, Seek};
use crate::live::LiveFs;
use crate::store::{self, At, parse_snapshot, read_root, root_key, snapshot_key, snapshots};
use crate::tree::ROOT;

/// The name of the folder in the root folder.
pub const NAME: &[u8] = b".packfs";
/// The name of the folder of snapshots in that.
const SNAPSHOTS: &[u8] = b"snapshots";
/// Numbers of inodes that are not the store's begin here.
pub(super) const APART: u64 = NUMBERS_END;
/// The folder.
const TOP: u64 = APART;
/// The folder of snapshots.
const FOLDER: u64 = APART + 1;
/// Each snapshot has so many numbers, as a power of two; the first of them are not given.
const BITS: u32 = 40;
/// A snapshot that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(5);

/// The files of a store that is written to, and its snapshots if they are shown.
pub(super) struct Shown {
    live: Arc<LiveFs>,
    entered: Option<Entered>,
}

/// The snapshots that were entered.
struct Entered {
    slots: Arc<Mutex<Vec<Slot>>>,
    /// Which there were when somebody looked, and since when: the kernel keeps a listing for as
    /// long as the folder's time stays.
    names: Mutex<(Vec<String>, Time)>,
    /// Tells that one was opened.
    opened: Sender<()>,
}

/// A snapshot that was entered.
struct Slot {
    name: String,
    tree: Id,
    /// Its files, while it is open.
    fs: Option<Arc<ArchiveFs>>,
    used: Instant,
}

/// Closes those that are idle; whether some are still open.
fn close_idle(slots: &Mutex<Vec<Slot>>) -> bool {
    let mut slots = slots.lock();
    for slot in slots.iter_mut().filter(|slot| slot.used.elapsed() > IDLE) {
        slot.fs = None;
    }
    slots.iter().any(|slot| slot.fs.is_some())
}

impl Entered {
    fn start() -> std::io::Result<Self> {
        let slots = Arc::new(Mutex::new(Vec::new()));
        let (opened, told) = bounded::<()>(1);
        let watched: Weak<Mutex<Vec<Slot>>> = Arc::downgrade(&slots);
        std::thread::Builder::new().name("snapdir".to_owned()).spawn(move || {
            while told.recv().is_ok() {
                while watched.upgrade().is_some_and(|slots| close_idle(&slots)) {
                    if told.recv_timeout(IDLE) == Err(RecvTimeoutError::Disconnected) {
                        return;
                    }
                }
            }
        })?;
        Ok(Self { slots, names: Mutex::default(), opened })
    }

    /// The place of the snapshot of that name, as it is now.
    fn place(&self, live: &LiveFs, name: &str) -> Result<usize, FsError> {
        let base = live.base();
        let tree = {
            let (storage, key) = (base.store().storage(), snapshot_key(name));
            let (snapshot, _) = snapshots::read(storage, &key.ok_or(FsError::NoEntry)?)?;
            let (root, _) = read_root(storage, &root_key(snapshot.number, &snapshot.root))?;
            root.tree.id
        };
        let mut slots = self.slots.lock();
        let known = slots.iter().position(|slot| slot.name == name && slot.tree == tree);
        Ok(known.unwrap_or_else(|| {
            slots.push(Slot { name: name.to_owned(), tree, fs: None, used: Instant::now() });
            slots.len() - 1
        }))
    }

    /// The files of the snapshot in that place.
    fn fs(&self, live: &LiveFs, at: usize) -> Result<Arc<ArchiveFs>, FsError> {
        let (name, tree) = {
            let mut slots = self.slots.lock();
            let slot = slots.get_mut(at).ok_or(FsError::NoEntry)?;
            slot.used = Instant::now();
            if let Some(fs) = &slot.fs {
                return Ok(Arc::clone(fs));
            }
            (slot.name.clone(), slot.tree)
        };
        let store = live.base().store().also(&At::Snapshot(name))?;
        if store.root().1.tree.id != tree {
            // Another one has that name now.
            return Err(FsError::NoEntry);
        }
        let fs = Arc::new(ArchiveFs::new(Arc::new(store), Owner::default()));
        if let Some(slot) = self.slots.lock().get_mut(at) {
            slot.fs = Some(Arc::clone(&fs));
        }
        if let Err(TrySendError::Disconnected(())) = self.opened.try_send(()) {
            log::debug!("snapshots stay open");
        }
        Ok(fs)
    }
}

/// The number of an inode of the snapshot in that place.
fn number(at: usize, ino: u64) -> Result<u64, FsError> {
    let place = (at as u64 + 1).checked_shl(BITS).filter(|place| *place < APART);
    let place = place.filter(|_| ino >> BITS == 0).ok_or(FsError::TooLarge)?;
    Ok(APART + place + ino)
}

impl Shown {
    /// Shows the files of a store, and its snapshots if `snapdir` says so.
    ///
    /// # Errors
    /// If the system has no threads left.
    pub(super) fn new(live: Arc<LiveFs>, snapdir: bool) -> std::io::Result<Self> {
        let entered = if snapdir { Some(Entered::start()?) } else { None };
        Ok(Self { live, entered })
    }

    /// Whether the name in a folder is that of the folder with the snapshots.
    pub(super) fn has_taken(&self, folder: u64, name: &[u8]) -> bool {
        self.entered.is_some() && (folder, name) == (ROOT, NAME)
    }

    /// Whether the kernel must ask before a file is opened, and what it is told then: else a file
    /// of a snapshot could be changed in its cache, through a mapping.
    pub(super) fn open(&self, ino: u64, to_read: bool) -> Option<Result<(), FsError>> {
        self.entered.as_ref()?;
        Some(if to_read || ino < APART { Ok(()) } else { Err(FsError::ReadOnly) })
    }

    /// How long the kernel may go by what it was told of a file in a folder.
    pub(super) fn lifetime(folder: u64) -> Duration {
        if [TOP, FOLDER].contains(&folder) { Duration::ZERO } else { FOREVER }
    }

    /// The kernel counts a file of the store once more: others it need not give back.
    pub(super) fn remember(&self, ino: u64) {
        if ino < APART {
            self.live.remember(ino);
        }
    }

    fn entered(&self) -> Result<&Entered, FsError> {
        self.entered.as_ref().ok_or(FsError::NoEntry)
    }

    /// Calls `live` with the files of the store, or `frozen` with those of a snapshot, its place
    /// and the number that the inode has there.
    fn split<T>(
        &self,
        ino: u64,
        live: impl FnOnce(&LiveFs) -> Result<T, FsError>,
        frozen: impl FnOnce(&ArchiveFs, usize, u64) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let Some(apart) = ino.checked_sub(APART) else { return live(&self.live) };
        let place = usize::try_from(apart >> BITS).ok().and_then(|place| place.checked_sub(1));
        let at = place.ok_or(FsError::NoEntry)?;
        let fs = self.entered()?.fs(&self.live, at)?;
        frozen(&fs, at, apart & ((1 << BITS) - 1))
    }

    /// Bytes of a file, if nothing of it has to be inflated.
    pub(super) fn read_if_ready(
        &self,
        ino: u64,
        offset: u64,
        length: u32,
    ) -> Result<Option<Data>, FsError> {
        self.split(
            ino,
            |live| live.read_if_ready(ino, offset, length),
            |fs, _, ino| fs.read_if_ready(ino, offset, length),
        )
    }

    /// Bytes of a file.
    pub(super) fn read(&self, ino: u64, offset: u64, length: u32) -> Result<Data, FsError> {
        self.split(
            ino,
            |live| live.read(ino, offset, length),
            |fs, _, ino| fs.read(ino, offset, length),
        )
    }

    /// The value of an extended attribute.
    pub(super) fn xattr(&self, ino: u64, name: &[u8]) -> Result<Option<Vec<u8>>, FsError> {
        if [TOP, FOLDER].contains(&ino) {
            return Ok(None);
        }
        self.split(ino, |live| live.xattr(ino, name), |fs, _, ino| fs.xattr(ino, name))
    }

    /// All extended attributes.
    pub(super) fn xattrs(&self, ino: u64) -> Result<XattrSet, FsError> {
        if [TOP, FOLDER].contains(&ino) {
            return Ok(Vec::new());
        }
        self.split(ino, |live| live.xattrs(ino), |fs, _, ino| fs.xattrs(ino))
    }

    /// One of the folders around snapshots, as the root folder is but for its mode.
    fn folder(&self, ino: u64) -> Result<Attr, FsError> {
        let root = self.live.attr(ROOT)?;
        let mut attr = Attr { ino, kind: Kind::Folder, mode: 0o555, nlink: 2, size: 0, ..root };
        if ino == FOLDER {
            let now = self.names()?;
            let mut names = self.entered()?.names.lock();
            if names.0 != now || names.1 == Time::default() {
                *names = (now, Time::from(SystemTime::now()));
            }
            (attr.mtime, attr.ctime) = (names.1, names.1);
        }
        Ok(attr)
    }

    fn snapshot(&self, name: &[u8]) -> Result<Option<Attr>, FsError> {
        let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
        if !self.names()?.iter().any(|known| known == name) {
            return Ok(None);
        }
        let entered = self.entered()?;
        let at = entered.place(&self.live, name)?;
        let attr = entered.fs(&self.live, at)?.attr(ROOT)?;
        Ok(Some(Attr { ino: number(at, ROOT)?, ..attr }))
    }

    fn names(&self) -> Result<Vec<String>, FsError> {
        let keys = self.live.base().store().storage().list(store::SNAPSHOTS)?;
        Ok(keys.iter().filter_map(|key| parse_snapshot(key)).map(str::to_owned).collect())
    }

    /// What there is in the folders around snapshots, each name with a number.
    fn around(&self, folder: u64) -> Result<Vec<(Vec<u8>, u64)>, FsError> {
        if folder == TOP {
            return Ok(vec![(SNAPSHOTS.to_vec(), FOLDER)]);
        }
        let numbered = |name: String| {
            let at = self.entered()?.place(&self.live, &name);
            // One that is damaged says so to who enters it.
            let ino = at.and_then(|at| number(at, ROOT)).unwrap_or(FOLDER + 1);
            Ok((name.into_bytes(), ino))
        };
        self.names()?.into_iter().map(numbered).collect()
    }
}

impl Files for Shown {
    fn attr(&self, ino: u64) -> Result<Attr, FsError> {
        if [TOP, FOLDER].contains(&ino) {
            return self.folder(ino);
        }
        let frozen = |fs: &ArchiveFs, _, own| Ok(Attr { ino, ..fs.attr(own)? });
        self.split(ino, |live| live.attr(ino), frozen)
    }

    fn lookup(&self, folder: u64, name: &[u8]) -> Result<Option<Attr>, FsError> {
        match folder {
            TOP if name == SNAPSHOTS => return self.folder(FOLDER).map(Some),
            TOP => return Ok(None),
            FOLDER => return self.snapshot(name),
            _ => {}
        }
        let found = self.split(
            folder,
            |live| live.lookup(folder, name),
            |fs, at, folder| {
                let found = fs.lookup(folder, name)?;
                found.map(|attr| Ok(Attr { ino: number(at, attr.ino)?, ..attr })).transpose()
            },
        )?;
        match found {
            None if self.has_taken(folder, name) => self.folder(TOP).map(Some),
            found => Ok(found),
        }
    }

    fn parent(&self, ino: u64) -> Result<u64, FsError> {
        match ino {
            TOP => Ok(ROOT),
            FOLDER => Ok(TOP),
            _ => self.split(
                ino,
                |live| live.parent(ino),
                |fs, at, ino| match ino {
                    ROOT => Ok(FOLDER),
                    _ => number(at, fs.parent(ino)?),
                },
            ),
        }
    }

    fn target(&self, ino: u64) -> Result<Vec<u8>, FsError> {
        self.split(ino, |live| live.target(ino), |fs, _, ino| fs.target(ino))
    }

    fn seek(&self, ino: u64, offset: u64, whence: Seek) -> Result<u64, FsError> {
        self.split(
            ino,
            |live| live.seek(ino, offset, whence),
            |fs, _, ino| fs.seek(ino, offset, whence),
        )
    }

    fn list(
        &self,
        folder: u64,
        offset: u64,
        each: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<(), FsError> {
        if ![TOP, FOLDER].contains(&folder) {
            let each = std::cell::RefCell::new(each);
            return self.split(
                folder,
                |live| live.list(folder, offset, &mut *each.borrow_mut()),
                |fs, at, folder| {
                    fs.list(folder, offset, &mut |listed| {
                        number(at, listed.ino)
                            .is_ok_and(|ino| each.borrow_mut()(Listed { ino, ..listed }))
                    })
                },
            );
        }
        let names = self.around(folder)?;
        let rest = names.iter().zip(1..).skip(usize::try_from(offset).unwrap_or(usize::MAX));
        for ((name, ino), next) in rest {
            if !each(Listed { name, ino: *ino, kind: Kind::Folder, next }) {
                break;
            }
        }
        Ok(())
    }

    fn list_with_attrs(
        &self,
        folder: u64,
        offset: u64,
        each: &mut dyn FnMut(Listed<'_>, &Attr) -> bool,
    ) -> Result<(), FsError> {
        if [TOP, FOLDER].contains(&folder) {
            // No snapshot is opened because it is listed: what it is, the kernel asks for then.
            let around = self.folder(FOLDER)?;
            return self.list(folder, offset, &mut |listed| {
                let attr = Attr { ino: listed.ino, ..around };
                each(listed, &attr)
            });
        }
        let each = std::cell::RefCell::new(each);
        self.split(
            folder,
            |live| live.list_with_attrs(folder, offset, &mut *each.borrow_mut()),
            |fs, at, folder| {
                fs.list_with_attrs(folder, offset, &mut |listed, attr| {
                    number(at, listed.ino).is_ok_and(|ino| {
                        let attr = Attr { ino, ..*attr };
                        each.borrow_mut()(Listed { ino, ..listed }, &attr)
                    })
                })
            },
        )
    }
}

//! A file system as plain as can be: what a live store is held to.

use std::collections::{BTreeMap, BTreeSet};

use packfs::format::{Kind, Time, XattrSet};
use packfs::fs::{ArchiveFs, Attr, FsError, Listed, Seek};
use packfs::live::LiveFs;
use packfs::tree::ROOT;

/// A file of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub kind: Kind,
    pub mode: u32,
    pub nlink: u32,
    pub data: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub target: Vec<u8>,
    pub names: BTreeMap<Vec<u8>, u64>,
    /// The folder around a folder; 0 for all else.
    pub around: u64,
}

/// All files, by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reference {
    pub files: BTreeMap<u64, File>,
    /// How often the kernel knows of them.
    pub known: BTreeMap<u64, u64>,
}

/// What is not held to the reference, but must not change by itself: owners, device, times.
pub type Rest = BTreeMap<u64, (u32, u32, u64, [Time; 3])>;

/// What can be read like a file system.
pub trait Reads {
    fn attr(&self, ino: u64) -> Result<Attr, FsError>;
    fn read(&self, ino: u64, offset: u64, length: u32) -> Result<Vec<u8>, FsError>;
    fn seek(&self, ino: u64, offset: u64, whence: Seek) -> Result<u64, FsError>;
    fn target(&self, ino: u64) -> Result<Vec<u8>, FsError>;
    fn xattrs(&self, ino: u64) -> Result<XattrSet, FsError>;
    fn lookup(&self, folder: u64, name: &[u8]) -> Result<Option<Attr>, FsError>;
    fn parent(&self, ino: u64) -> Result<u64, FsError>;
    fn list(&self, folder: u64, each: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), FsError>;
}

macro_rules! reads {
    ($type:ty) => {
        impl Reads for $type {
            fn attr(&self, ino: u64) -> Result<Attr, FsError> {
                <$type>::attr(self, ino)
            }
            fn read(&self, ino: u64, offset: u64, length: u32) -> Result<Vec<u8>, FsError> {
                <$type>::read(self, ino, offset, length).map(|data| data.to_vec())
            }
            fn seek(&self, ino: u64, offset: u64, whence: Seek) -> Result<u64, FsError> {
                <$type>::seek(self, ino, offset, whence)
            }
            fn target(&self, ino: u64) -> Result<Vec<u8>, FsError> {
                <$type>::target(self, ino)
            }
            fn xattrs(&self, ino: u64) -> Result<XattrSet, FsError> {
                <$type>::xattrs(self, ino)
            }
            fn lookup(&self, folder: u64, name: &[u8]) -> Result<Option<Attr>, FsError> {
                <$type>::lookup(self, folder, name)
            }
            fn parent(&self, ino: u64) -> Result<u64, FsError> {
                <$type>::parent(self, ino)
            }
            fn list(
                &self,
                folder: u64,
                each: &mut dyn FnMut(Listed<'_>) -> bool,
            ) -> Result<(), FsError> {
                <$type>::list(self, folder, 0, each)
            }
        }
    };
}
reads!(LiveFs);
reads!(ArchiveFs);

/// All that can be read of one file.
pub fn look(fs: &dyn Reads, ino: u64) -> File {
    let attr = fs.attr(ino).unwrap();
    assert_eq!(attr.ino, ino);
    let mut file = File {
        kind: attr.kind,
        mode: attr.mode,
        nlink: attr.nlink,
        data: Vec::new(),
        xattrs: fs.xattrs(ino).unwrap().into_iter().collect(),
        target: Vec::new(),
        names: BTreeMap::new(),
        around: 0,
    };
    match attr.kind {
        Kind::File => {
            file.data = fs.read(ino, 0, u32::MAX >> 1).unwrap();
            assert_eq!(file.data.len() as u64, attr.size);
        }
        Kind::Symlink => {
            file.target = fs.target(ino).unwrap();
            assert_eq!(file.target.len() as u64, attr.size);
        }
        Kind::Folder => {
            let names = &mut file.names;
            fs.list(ino, &mut |entry| {
                assert!(names.insert(entry.name.to_vec(), entry.ino).is_none());
                let found = fs.lookup(ino, entry.name).unwrap().unwrap();
                assert_eq!((found.ino, found.kind), (entry.ino, entry.kind));
                true
            })
            .unwrap();
            assert_eq!(attr.size, file.names.len() as u64, "entries of folder {ino}");
            file.around = fs.parent(ino).unwrap();
        }
        _ => {}
    }
    file
}

/// Checks the holes of a file: they are zeros, and each ends where data begins. Returns their
/// length.
pub fn check_holes(fs: &dyn Reads, ino: u64, data: &[u8]) -> u64 {
    let size = data.len() as u64;
    let (mut at, mut holes) = (0, 0);
    while at < size {
        let hole = fs.seek(ino, at, Seek::Hole).unwrap();
        assert!((at..=size).contains(&hole));
        let next = match fs.seek(ino, hole, Seek::Data) {
            Ok(next) => next,
            Err(FsError::NoData) => size,
            Err(error) => panic!("{error}"),
        };
        let range = usize::try_from(hole).unwrap()..usize::try_from(next).unwrap();
        assert!(data[range].iter().all(|byte| *byte == 0), "data in a hole of {ino}");
        assert!(next > at);
        holes += next - hole;
        at = next;
    }
    holes
}

impl Reference {
    /// All that can be reached in a file system.
    pub fn scan(fs: &dyn Reads) -> (Self, Rest) {
        let (mut found, mut rest, mut open) = (Self::default(), Rest::default(), vec![ROOT]);
        while let Some(ino) = open.pop() {
            if found.files.contains_key(&ino) {
                continue;
            }
            let file = look(fs, ino);
            open.extend(file.names.values());
            let Attr { uid, gid, rdev, mtime, atime, ctime, .. } = fs.attr(ino).unwrap();
            rest.insert(ino, (uid, gid, rdev, [mtime, atime, ctime]));
            found.files.insert(ino, file);
        }
        (found, rest)
    }

    /// Looks at what can be reached in a file system that may make no sense.
    pub fn peek(fs: &dyn Reads) {
        let (mut passed, mut open) = (BTreeSet::new(), vec![ROOT]);
        while let Some(ino) = open.pop() {
            if !passed.insert(ino) {
                continue;
            }
            let _ = (fs.attr(ino), fs.target(ino), fs.xattrs(ino), fs.parent(ino));
            for at in [0, 4090, 40_000, 1 << 40] {
                let _ = (fs.read(ino, at, 5000), fs.seek(ino, at, Seek::Data));
                let _ = fs.seek(ino, at, Seek::Hole);
            }
            let _ = fs.list(ino, &mut |entry| {
                open.push(entry.ino);
                let _ = fs.lookup(ino, entry.name);
                true
            });
        }
    }

    /// What is left of it once nobody has a file open any more.
    pub fn named(&self) -> Self {
        let mut named = self.clone();
        named.files.retain(|_, file| file.nlink > 0);
        named.known.clear();
        named
    }

    /// The folders that are there.
    pub fn folders(&self) -> Vec<u64> {
        let there = |(ino, file): (&u64, &File)| {
            (file.kind == Kind::Folder && file.nlink > 0).then_some(*ino)
        };
        self.files.iter().filter_map(there).collect()
    }

    pub fn file(&mut self, ino: u64) -> &mut File {
        self.files.get_mut(&ino).unwrap()
    }

    pub fn found(&self, folder: u64, name: &[u8]) -> Option<(u64, bool)> {
        let ino = *self.files[&folder].names.get(name)?;
        Some((ino, self.files[&ino].kind == Kind::Folder))
    }

    /// Whether a folder is `above`, or lies below it.
    pub fn is_below(&self, mut folder: u64, above: u64) -> bool {
        while folder != above && folder != ROOT {
            folder = self.files[&folder].around;
        }
        folder == above
    }

    /// A file loses a name.
    pub fn unname(&mut self, ino: u64) {
        let file = self.file(ino);
        let is_folder = file.kind == Kind::Folder;
        file.nlink = if is_folder { 0 } else { file.nlink - 1 };
        let around = file.around;
        if is_folder {
            self.file(around).nlink -= 1;
        }
        self.drop_if_gone(ino);
    }

    pub fn drop_if_gone(&mut self, ino: u64) {
        let nameless = self.files.get(&ino).is_some_and(|file| file.nlink == 0);
        if nameless && !self.known.contains_key(&ino) {
            self.files.remove(&ino);
        }
    }

    /// Moves a file; false if that cannot be.
    pub fn rename(&mut self, from: (u64, &[u8]), to: (u64, &[u8])) -> bool {
        let Some((moved, is_folder)) = self.found(from.0, from.1) else { return false };
        if let Some((there, other)) = self.found(to.0, to.1) {
            if is_folder != other || !self.files[&there].names.is_empty() {
                return false;
            }
            self.unname(there);
        }
        self.file(from.0).names.remove(from.1);
        self.file(to.0).names.insert(to.1.to_vec(), moved);
        if is_folder {
            self.move_folder(moved, from.0, to.0);
        }
        true
    }

    pub fn move_folder(&mut self, folder: u64, from: u64, to: u64) {
        self.file(from).nlink -= 1;
        self.file(to).nlink += 1;
        self.file(folder).around = to;
    }
}

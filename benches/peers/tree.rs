//! The source tree: what every peer has to give back.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::process::{Stop, interrupted};

/// Bytes of a random read.
pub const READ: usize = 4096;
/// How many of the largest files the reads inside large files go to.
const LARGEST: usize = 64;
/// Reads within as many bytes of a file may be answered by one request to its file system.
const NEAR: u64 = 128 << 10;
/// How often a read is chosen anew, on average, if it is near another.
const TRIES: usize = 4;

/// A source tree, and what is known of its content.
#[derive(Debug)]
pub struct Tree {
    /// Its name: the last part of its path.
    pub name: String,
    /// Its top folder.
    pub top: PathBuf,
    /// Entries of all kinds, the top folder included.
    pub entries: u64,
    /// Bytes in regular files.
    pub bytes: u64,
    /// Names in the top folder, sorted.
    pub names: Vec<Vec<u8>>,
    /// The regular files, by their paths from the top.
    pub files: HashMap<Vec<u8>, Content>,
    /// The largest file, if any.
    pub largest: Option<Vec<u8>>,
    /// Reads all over the tree: each byte is as likely as any other.
    pub anywhere: Vec<Pick>,
    /// Reads inside the largest files.
    pub in_large: Vec<Pick>,
}

/// The content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Its length, in bytes.
    pub size: u64,
    /// Its XXH3-64.
    pub hash: u64,
}

/// A random read.
#[derive(Debug, Clone)]
pub struct Pick {
    /// The file's path from the top.
    pub path: Vec<u8>,
    /// Where to read, in bytes.
    pub offset: u64,
    /// XXH3-64 of the (up to) [`READ`] bytes there.
    pub hash: u64,
}

impl Tree {
    /// Reads a tree, and chooses `picks` random reads of each sort.
    pub fn read(top: &Path, picks: usize) -> Result<Self, Stop> {
        let top = fs::canonicalize(top).map_err(|e| Stop::broken(top.display(), e))?;
        let name = top.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut tree = Self {
            name: name.unwrap_or_else(|| "root".to_owned()),
            entries: 0,
            bytes: 0,
            names: Vec::new(),
            files: HashMap::new(),
            largest: None,
            anywhere: Vec::new(),
            in_large: Vec::new(),
            top,
        };
        let top = tree.top.clone();
        tree.walk(&top, b"")?;
        let mut files: Vec<_> = tree.files.iter().map(|(path, it)| (path, it.size)).collect();
        files.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        tree.largest = files.first().map(|(path, _)| path.to_vec());
        let large = choose(&top, files.get(..LARGEST).unwrap_or(&files), picks)?;
        let all = choose(&top, &files, picks)?;
        (tree.anywhere, tree.in_large) = (all, large);
        Ok(tree)
    }

    /// Takes in a folder and what is below it.
    fn walk(&mut self, folder: &Path, path: &[u8]) -> Result<(), Stop> {
        let broken = |error| Stop::broken(folder.display(), error);
        self.entries += 1;
        if interrupted() {
            return Err(Stop::Interrupted);
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let name = entry.file_name().as_bytes().to_vec();
            let mut below = path.to_vec();
            if !path.is_empty() {
                below.push(b'/');
            }
            below.extend(&name);
            names.push(name);
            let kind = entry.file_type().map_err(broken)?;
            if kind.is_dir() {
                self.walk(&entry.path(), &below)?;
                continue;
            }
            self.entries += 1;
            if kind.is_file() {
                let content = content(&entry.path())?;
                self.bytes += content.size;
                self.files.insert(below, content);
            }
        }
        if path.is_empty() {
            names.sort();
            self.names = names;
        }
        Ok(())
    }

    /// Reads all of the source into memory again.
    pub fn recall(&self) -> Result<(), Stop> {
        for path in self.files.keys() {
            if interrupted() {
                return Err(Stop::Interrupted);
            }
            content(&self.top.join(OsStr::from_bytes(path)))?;
        }
        Ok(())
    }

    /// Compares a file that was read with the source.
    pub fn check(&self, path: &[u8], found: Content) -> Result<(), Stop> {
        let shown = String::from_utf8_lossy(path);
        match self.files.get(path) {
            None => Err(Stop::wrong(format!("{shown}: not in the source"))),
            Some(source) if source.size != found.size => {
                let (size, known) = (found.size, source.size);
                Err(Stop::wrong(format!("{shown}: {size} bytes, in the source {known}")))
            }
            Some(source) if source.hash != found.hash => {
                Err(Stop::wrong(format!("{shown}: other bytes than in the source")))
            }
            Some(_) => Ok(()),
        }
    }

    /// Compares how many files and bytes were read with the source.
    pub fn check_totals(&self, files: u64, bytes: u64) -> Result<(), Stop> {
        if (files, bytes) == (self.files.len() as u64, self.bytes) {
            return Ok(());
        }
        Err(Stop::wrong(format!(
            "{files} files with {bytes} bytes, in the source {} with {}",
            self.files.len(),
            self.bytes
        )))
    }
}

/// Reads a file for its length and hash.
pub fn content(path: &Path) -> Result<Content, Stop> {
    let read = || -> std::io::Result<Content> {
        let (mut file, mut hasher) = (File::open(path)?, Xxh3::new());
        let (mut size, mut room) = (0, vec![0; 1 << 17]);
        loop {
            match file.read(&mut room)? {
                0 => return Ok(Content { size, hash: hasher.digest() }),
                read => {
                    hasher.update(&room[..read]);
                    size += read as u64;
                }
            }
        }
    };
    read().map_err(|error| Stop::crashed(format!("{}: {error}", path.display())))
}

/// Chooses reads of these files, each byte as likely as any other: the same in every run.
///
/// No two are so near to each other that one finds in memory what the other has read: where there
/// is too little room for as many, there are fewer.
fn choose(top: &Path, files: &[(&Vec<u8>, u64)], picks: usize) -> Result<Vec<Pick>, Stop> {
    let total: u64 = files.iter().map(|(_, size)| size).sum();
    let ends: Vec<u64> = files
        .iter()
        .scan(0, |end, (_, size)| {
            *end += size;
            Some(*end)
        })
        .collect();
    let mut seed = 0x5eed_cafe_f00d_d00d_u64;
    let mut chosen = Vec::with_capacity(picks);
    let mut taken = HashSet::new();
    for _ in 0..if total == 0 { 0 } else { picks * TRIES } {
        if chosen.len() == picks {
            break;
        }
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let byte = seed % total;
        let at = ends.partition_point(|end| *end <= byte);
        let (path, size) = files[at];
        let within = byte + size - ends[at];
        let offset = within - within % READ as u64;
        if !taken.insert((at, offset / NEAR)) {
            continue;
        }
        let mut room = [0; READ];
        let file = top.join(OsStr::from_bytes(path));
        let read = File::open(&file).and_then(|file| read_at(&file, &mut room, offset));
        let read = read.map_err(|error| Stop::broken(file.display(), error))?;
        chosen.push(Pick { path: path.clone(), offset, hash: xxh3_64(&room[..read]) });
    }
    Ok(chosen)
}

/// Reads as much as there is at `offset`, up to the length of `room`.
pub fn read_at(file: &File, room: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < room.len() {
        match file.read_at(&mut room[done..], offset + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// Copies the start of a file, of at most so many bytes; returns how many.
fn copy_start(from: &Path, to: &Path, bytes: u64) -> std::io::Result<u64> {
    std::io::copy(&mut File::open(from)?.take(bytes), &mut File::create(to)?)
}

/// Copies the first part of a tree, in the order of names, until it has `bytes` in files; of the
/// last file only the start.
pub fn copy_part(from: &Path, to: &Path, bytes: &mut u64) -> Result<(), Stop> {
    let broken = |error| Stop::broken(from.display(), error);
    fs::create_dir_all(to).map_err(broken)?;
    let mut entries: Vec<_> = fs::read_dir(from).map_err(broken)?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if *bytes == 0 || interrupted() {
            break;
        }
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&path).map_err(broken)?;
        if meta.is_dir() {
            copy_part(&path, &copy, bytes)?;
        } else if meta.is_file() {
            let broken = |error| Stop::broken(path.display(), error);
            *bytes -= copy_start(&path, &copy, *bytes).map_err(broken)?;
            fs::set_permissions(&copy, meta.permissions()).map_err(broken)?;
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).map_err(broken)?;
            std::os::unix::fs::symlink(target, &copy).map_err(broken)?;
        }
    }
    Ok(())
}

//! An image: a store's objects one after another in one file. Layout: `format-spec.md`, "Image".

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::local::{map, read_at};
use super::{Bytes, ErrorKind, MAP_ABOVE, Storage, StorageError};
use crate::format::{
    Contents, ENVELOPE_LEN, MAX_SMALL_TABLE, Member, Section, TAIL_LEN, check, read_tail, seal,
    tail,
};

/// Most objects of an image: their table of contents stays well below what a reader takes.
const MAX_MEMBERS: usize = MAX_SMALL_TABLE / 128;

/// An image opened for reading.
#[derive(Debug)]
pub struct ImageStorage {
    path: PathBuf,
    file: File,
    contents: Contents,
}

impl ImageStorage {
    /// Opens the image at `path`: reads its head and its table of contents.
    ///
    /// # Errors
    /// If it cannot be read, is no image, or does not check out.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| StorageError::io(&name, error))?;
        let length = file.metadata().map_err(|error| StorageError::io(&name, error))?.len();
        let bad = |error| ErrorKind::Format(error).of(&name);
        let head = read_at(&file, 0, ENVELOPE_LEN, 0, &name)
            .map_err(|_| ErrorKind::NotArchive.of(&name))?;
        if !head.starts_with(&Section::ImageHead.magic()) {
            return Err(ErrorKind::NotArchive.of(&name));
        }
        check(Section::ImageHead, &head).map_err(bad)?;
        let read = |at: u64, length: usize| read_at(&file, at, length, at, &name);
        let tail_at = length.checked_sub((ENVELOPE_LEN + TAIL_LEN) as u64);
        let tail_at =
            tail_at.ok_or_else(|| ErrorKind::Short(length).of(&name))? + ENVELOPE_LEN as u64;
        let (at, table_len) = read_tail(&read(tail_at, TAIL_LEN)?, length).map_err(bad)?;
        let table = read(at, usize::try_from(table_len).unwrap_or(usize::MAX))?;
        let contents = Contents::decode(&table, length).map_err(bad)?;
        Ok(Self { path: path.to_owned(), file, contents })
    }

    /// The image at `path` with these contents, wherever they are from.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn with(path: &Path, contents: Contents) -> Result<Self, StorageError> {
        let file = File::open(path);
        let file = file.map_err(|error| StorageError::io(&path.display().to_string(), error))?;
        Ok(Self { path: path.to_owned(), file, contents })
    }

    fn member(&self, key: &str) -> Result<&Member, StorageError> {
        self.contents.find(key).ok_or_else(|| ErrorKind::NotFound.of(&self.locate(key)))
    }

    /// Where its objects lie.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }
}

impl Storage for ImageStorage {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        Ok(self.member(key)?.length)
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let member = self.member(key)?;
        let end = offset.saturating_add(length as u64);
        if end > member.length {
            return Err(ErrorKind::Short(end).of(&self.locate(key)));
        }
        read_at(&self.file, member.offset + offset, length, offset, &self.locate(key))
    }

    fn get(&self, key: &str, limit: u64) -> Result<Bytes, StorageError> {
        let member = self.member(key)?;
        if member.length > limit {
            return Err(ErrorKind::TooLong.of(&self.locate(key)));
        }
        if member.length <= MAP_ABOVE {
            let length = usize::try_from(member.length).unwrap_or(0);
            return self.get_range(key, 0, length).map(Bytes::Owned);
        }
        map(&self.file, member.offset, member.length)
            .map_err(|error| StorageError::io(&self.locate(key), error))
    }

    fn put(&self, key: &str, _bytes: &[u8]) -> Result<(), StorageError> {
        Err(ErrorKind::ReadOnly.of(&self.locate(key)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let keys = self.contents.members.iter().map(|member| &member.key);
        Ok(keys.filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        Err(ErrorKind::ReadOnly.of(&self.locate(key)))
    }
}

/// An image being written: objects are appended, and readable at once.
#[derive(Debug)]
pub struct ImageWriter {
    name: String,
    file: File,
    state: Mutex<(u64, Vec<Member>)>,
}

impl ImageWriter {
    /// Begins an image in an empty file, which messages call `name`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(mut file: File, name: &str) -> Result<Self, StorageError> {
        let (head, _) = seal(Section::ImageHead, &[], None);
        file.write_all(&head).map_err(|error| StorageError::io(name, error))?;
        let state = Mutex::new((head.len() as u64, Vec::new()));
        Ok(Self { name: name.to_owned(), file, state })
    }

    fn append(&self, at: u64, bytes: &[u8]) -> io::Result<u64> {
        self.file.write_all_at(bytes, at)?;
        Ok(at + bytes.len() as u64)
    }

    /// Ends the image: table of contents, tail, fsync. Returns its length in bytes.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(&self) -> Result<u64, StorageError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut members = state.1.clone();
        members.sort_by(|a, b| a.key.cmp(&b.key));
        let table = Contents { members }.encode();
        let finish = || {
            let end = self.append(state.0, &table)?;
            let end = self.append(end, &tail(state.0, table.len() as u64))?;
            self.file.sync_all()?;
            Ok(end)
        };
        finish().map_err(|error| StorageError::io(&self.name, error))
    }
}

impl Storage for ImageWriter {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let member = state.1.iter().find(|member| member.key == key);
        member.map(|member| member.length).ok_or_else(|| ErrorKind::NotFound.of(&self.locate(key)))
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let member = state.1.iter().find(|member| member.key == key).cloned();
        drop(state);
        let member = member.ok_or_else(|| ErrorKind::NotFound.of(&self.locate(key)))?;
        let end = offset.saturating_add(length as u64);
        if end > member.length {
            return Err(ErrorKind::Short(end).of(&self.locate(key)));
        }
        read_at(&self.file, member.offset + offset, length, offset, &self.locate(key))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1.iter().any(|member| member.key == key) {
            return Err(ErrorKind::Exists.of(&self.locate(key)));
        }
        if state.1.len() >= MAX_MEMBERS {
            return Err(ErrorKind::TooMany.of(&self.name));
        }
        let offset = state.0;
        let end =
            self.append(offset, bytes).map_err(|error| StorageError::io(&self.name, error))?;
        state.1.push(Member { key: key.to_owned(), offset, length: bytes.len() as u64 });
        state.0 = end;
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = state.1.iter().map(|member| &member.key);
        let mut keys: Vec<String> = keys.filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.sort();
        Ok(keys)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        Err(ErrorKind::ReadOnly.of(&self.locate(key)))
    }
}

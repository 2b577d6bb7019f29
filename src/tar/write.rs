//! Writing an archive.

use std::io::Write;

use super::header::{self, BLOCK, Header};
use super::{MAX_PATH, TarEntry, TarError, TarKind, pax, sparse};
use crate::format::{Kind, Time};

/// Writes an archive to a stream: for each member [`begin`](Self::begin), then
/// [`write_data`](Self::write_data) until all its data is written, then [`end`](Self::end).
///
/// What it writes depends on the members alone: no time, user or host.
pub struct TarWriter<W: Write> {
    output: W,
    /// Path of the current member.
    path: Vec<u8>,
    /// Bytes of data of the current member, and how many of them came.
    due: u64,
    came: u64,
}

impl<W: Write> TarWriter<W> {
    /// Begins an archive.
    pub fn new(output: W) -> Self {
        Self { output, path: Vec::new(), due: 0, came: 0 }
    }

    /// Begins a member.
    ///
    /// # Errors
    /// If the output cannot be written to, or (not fatal, and nothing was written) if an archive
    /// cannot hold the member: a socket, a path over 1 MiB or with a NUL, or holes out of order.
    pub fn begin(&mut self, entry: &TarEntry) -> Result<(), TarError> {
        let unfit = |why| TarError::Unfit { path: entry.path.clone(), why };
        let data = sparse::gaps(&entry.holes, entry.size).map_err(unfit)?;
        let mut header = Header::ustar(flag(&entry.kind).map_err(unfit)?);
        let mut records = Vec::new();
        let mut map = Vec::new();
        if entry.path.len() >= MAX_PATH {
            return Err(unfit("its path is over 1 MiB"));
        }
        if entry.path.contains(&0) || target(&entry.kind).contains(&0) {
            return Err(unfit("its path or target has a NUL"));
        }
        if entry.is_file() && !entry.holes.is_empty() {
            map = sparse::write_map(&data, entry.size);
            set_sparse_path(&mut header, &mut records, entry);
        } else {
            set_path(&mut header, &mut records, entry);
        }
        (self.due, self.came) = (if entry.is_file() { sparse::total(&data) } else { 0 }, 0);
        let size = self.due.checked_add(map.len() as u64);
        let size = size.and_then(|size| i64::try_from(size).ok());
        let size = size.ok_or_else(|| unfit("its size is over 8 EiB"))?;
        if !header.set_number(header::SIZE, size) {
            pax::put(&mut records, b"size", size.to_string().as_bytes());
        }
        set_attributes(&mut header, &mut records, entry);
        self.path.clone_from(&entry.path);
        if !records.is_empty() {
            self.put_records(&entry.path, &records)?;
        }
        header.seal();
        self.put(&header.0)?;
        self.put(&map)
    }

    /// Writes a piece of the current file's data: what lies between its holes, in order.
    ///
    /// # Errors
    /// If the output cannot be written to, or the data is more than the file's size and holes
    /// leave room for; then the archive cannot be finished.
    pub fn write_data(&mut self, data: &[u8]) -> Result<(), TarError> {
        self.came += data.len() as u64;
        if self.came > self.due {
            return Err(self.wrong_length());
        }
        self.put(data)
    }

    /// Ends the current member.
    ///
    /// # Errors
    /// If the output cannot be written to, or data is missing.
    pub fn end(&mut self) -> Result<(), TarError> {
        if self.came != self.due {
            return Err(self.wrong_length());
        }
        self.pad(self.due)?;
        (self.due, self.came) = (0, 0);
        Ok(())
    }

    /// Ends the archive, and gives the output back.
    ///
    /// # Errors
    /// If the output cannot be written to.
    pub fn finish(mut self) -> Result<W, TarError> {
        self.put(&[0; 2 * BLOCK])?;
        self.output.flush().map_err(TarError::Io)?;
        Ok(self.output)
    }

    fn put_records(&mut self, path: &[u8], records: &[u8]) -> Result<(), TarError> {
        let mut header = Header::ustar(b'x');
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        header.set_text(header::NAME, &[b"PaxHeaders/", name].concat());
        header.set_number(header::MODE, 0o644);
        header.set_number(header::UID, 0);
        header.set_number(header::GID, 0);
        header.set_number(header::MTIME, 0);
        // Never near the field's 8 GiB: attributes are limited by the kernel and the format.
        header.set_number(header::SIZE, i64::try_from(records.len()).unwrap_or(i64::MAX));
        header.seal();
        self.put(&header.0)?;
        self.put(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, written: u64) -> Result<(), TarError> {
        let over = usize::try_from(written % BLOCK as u64).unwrap_or(0);
        self.put(&[0; BLOCK][..(BLOCK - over) % BLOCK])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TarError> {
        self.output.write_all(bytes).map_err(TarError::Io)
    }

    fn wrong_length(&self) -> TarError {
        TarError::Length { path: self.path.clone(), expected: self.due, found: self.came }
    }
}

fn flag(kind: &TarKind) -> Result<u8, &'static str> {
    Ok(match kind {
        TarKind::Node(Kind::File) => b'0',
        TarKind::Hardlink(_) => b'1',
        TarKind::Symlink(_) => b'2',
        TarKind::Node(Kind::Char) => b'3',
        TarKind::Node(Kind::Block) => b'4',
        TarKind::Node(Kind::Folder) => b'5',
        TarKind::Node(Kind::Fifo) => b'6',
        TarKind::Node(Kind::Socket) => return Err("a tar archive cannot hold a socket"),
        TarKind::Node(Kind::Symlink) => return Err("a symlink without a target"),
    })
}

/// What a link leads to; empty for anything else.
fn target(kind: &TarKind) -> &[u8] {
    match kind {
        TarKind::Symlink(target) | TarKind::Hardlink(target) => target,
        TarKind::Node(_) => b"",
    }
}

/// Path and link, in records where the header has no room for them or they are not ASCII.
fn set_path(header: &mut Header, records: &mut Vec<u8>, entry: &TarEntry) {
    let mut path = entry.path.clone();
    if entry.kind == TarKind::Node(Kind::Folder) {
        path.extend(if path.is_empty() { &b"./"[..] } else { b"/" });
    }
    let link = target(&entry.kind);
    let path_fits = header.set_path(&path) && !is_foreign(&path);
    let link_fits = header.set_text(header::LINK, link) && !is_foreign(link);
    let texts = [(&b"path"[..], path.as_slice(), path_fits), (b"linkpath", link, link_fits)];
    let needed = || texts.iter().filter(|(.., fits)| !fits);
    if needed().any(|(_, text, _)| std::str::from_utf8(text).is_err()) {
        pax::put(records, b"hdrcharset", b"BINARY");
    }
    for (key, text, _) in needed() {
        pax::put(records, key, text);
    }
}

/// Text that a header holds as well, but of which only records say that it is UTF-8.
fn is_foreign(text: &[u8]) -> bool {
    !text.is_ascii() && std::str::from_utf8(text).is_ok()
}

/// Path and size of a sparse file. Programs that do not know of these unpack map and data under
/// another name, rather than a wrong file under this one.
fn set_sparse_path(header: &mut Header, records: &mut Vec<u8>, entry: &TarEntry) {
    let (folder, name) = match entry.path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&entry.path[..=slash], &entry.path[slash + 1..]),
        None => (&b""[..], entry.path.as_slice()),
    };
    header.set_path(&[folder, b"GNUSparseFile.0/", name].concat());
    if std::str::from_utf8(&entry.path).is_err() {
        pax::put(records, b"hdrcharset", b"BINARY");
    }
    pax::put(records, b"GNU.sparse.major", b"1");
    pax::put(records, b"GNU.sparse.minor", b"0");
    pax::put(records, b"GNU.sparse.name", &entry.path);
    pax::put(records, b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
}

fn set_attributes(header: &mut Header, records: &mut Vec<u8>, entry: &TarEntry) {
    header.set_number(header::MODE, i64::from(entry.mode & 0o7777));
    let (major, minor) = (rustix::fs::major(entry.rdev), rustix::fs::minor(entry.rdev));
    let numbers = [
        (header::UID, &b"uid"[..], entry.uid),
        (header::GID, b"gid", entry.gid),
        (header::MAJOR, b"SCHILY.devmajor", major),
        (header::MINOR, b"SCHILY.devminor", minor),
    ];
    for (field, key, value) in numbers {
        if !header.set_number(field, i64::from(value)) {
            pax::put(records, key, value.to_string().as_bytes());
        }
    }
    if !header.set_number(header::MTIME, entry.mtime.sec) || entry.mtime.nsec != 0 {
        put_time(records, b"mtime", Some(entry.mtime));
    }
    put_time(records, b"atime", entry.atime);
    put_time(records, b"ctime", entry.ctime);
    for (name, value) in &entry.xattrs {
        pax::put_xattr(records, name, value);
    }
}

fn put_time(records: &mut Vec<u8>, key: &[u8], time: Option<Time>) {
    if let Some(time) = time {
        pax::put(records, key, pax::time_text(time).as_bytes());
    }
}

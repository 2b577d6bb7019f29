//! Restores files as a tar stream.

use std::collections::HashMap;
use std::io::Write;

use super::RestoreError;
use super::walk::{Step, walk};
use crate::format::Kind;
use crate::fs::{ArchiveFs, Attr, FsError, Seek};
use crate::monitor::{Monitor, Phase, Problem};
use crate::tar::{TarEntry, TarError, TarKind, TarWriter};

/// Bytes that are read and written at once.
const CHUNK: u32 = 1 << 20;

/// Writes what `paths` lead to (all, where there are none) as a tar to `output`.
///
/// A tar states a file's length before its data: so the data is read once before, to leave out
/// what is damaged. Sockets, which a tar cannot have, are told to the monitor.
///
/// # Errors
/// If the output fails, a path leads nowhere, or the monitor says stop.
pub fn extract_tar<W: Write>(
    fs: &ArchiveFs,
    output: W,
    paths: &[Vec<u8>],
    monitor: &dyn Monitor,
) -> Result<W, RestoreError> {
    monitor.phase(Phase::Extract);
    if paths.is_empty() {
        let totals = fs.store().root().1.totals;
        monitor.total(totals.files, totals.bytes);
    }
    let mut writer = TarWriter::new(output);
    let mut firsts: HashMap<u64, Vec<u8>> = HashMap::new();
    walk(fs, paths, monitor, |Step { path, attr }| {
        let problem = |what: String| monitor.problem(Problem { path: path.to_vec(), what });
        let first = firsts.get(&attr.ino);
        let entry = match entry(fs, path, attr, first.map(Vec::as_slice)) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                problem("a tar cannot have sockets; left out".to_owned());
                return Ok(());
            }
            Err(error) => {
                problem(format!("left out: {error}"));
                return Ok(());
            }
        };
        if attr.nlink > 1 && attr.kind != Kind::Folder && first.is_none() {
            firsts.insert(attr.ino, path.to_vec());
        }
        let written = write(fs, &mut writer, &entry, attr, monitor);
        monitor.advance(u64::from(entry.is_file()), 0);
        written
    })?;
    writer.finish().map_err(output_error)
}

fn output_error(error: TarError) -> RestoreError {
    let source = match error {
        TarError::Io(source) => source,
        other => std::io::Error::other(other.to_string()),
    };
    RestoreError::Output { object: "output".to_owned(), source }
}

/// The member for a file; `None` if a tar cannot have it.
fn entry(
    fs: &ArchiveFs,
    path: &[u8],
    attr: &Attr,
    first: Option<&[u8]>,
) -> Result<Option<TarEntry>, FsError> {
    let kind = match (attr.kind, first) {
        (Kind::Socket, _) => return Ok(None),
        (_, Some(first)) => TarKind::Hardlink(first.to_vec()),
        (Kind::Symlink, None) => TarKind::Symlink(fs.target(attr.ino)?),
        (kind, None) => TarKind::Node(kind),
    };
    let mut entry = TarEntry::new(path.to_vec(), kind);
    entry.mode = attr.mode;
    entry.uid = attr.uid;
    entry.gid = attr.gid;
    entry.mtime = attr.mtime;
    if fs.keeps_times(attr.ino)? {
        (entry.atime, entry.ctime) = (Some(attr.atime), Some(attr.ctime));
    }
    if first.is_some() {
        return Ok(Some(entry));
    }
    entry.rdev = attr.rdev;
    entry.xattrs = fs.xattrs(attr.ino)?;
    if attr.kind == Kind::File {
        entry.size = attr.size;
        let mut at = 0;
        while at < attr.size {
            let hole = fs.seek(attr.ino, at, Seek::Hole)?;
            fs.check(attr.ino, at, hole)?;
            if hole == attr.size {
                break;
            }
            at = match fs.seek(attr.ino, hole, Seek::Data) {
                Err(FsError::NoData) => attr.size,
                data => data?,
            };
            entry.holes.push((hole, at - hole));
        }
    }
    Ok(Some(entry))
}

fn write<W: Write>(
    fs: &ArchiveFs,
    writer: &mut TarWriter<W>,
    entry: &TarEntry,
    attr: &Attr,
    monitor: &dyn Monitor,
) -> Result<(), RestoreError> {
    writer.begin(entry).map_err(output_error)?;
    let ends = entry.holes.iter().map(|(offset, length)| (*offset, offset + length));
    let mut at = 0;
    for (end, next) in ends.chain([(entry.size, entry.size)]) {
        while at < end {
            if monitor.cancelled() {
                return Err(RestoreError::Cancelled);
            }
            let want = u32::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let damaged = |error| RestoreError::Path { path: entry.path.clone(), error };
            let bytes = fs.read(attr.ino, at, want).map_err(damaged)?;
            writer.write_data(&bytes).map_err(output_error)?;
            at += bytes.len() as u64;
            monitor.advance(0, bytes.len() as u64);
        }
        monitor.advance(0, next - at);
        at = next;
    }
    writer.end().map_err(output_error)
}

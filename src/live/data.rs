//! File data: read, write, punch, seek.

use std::sync::Arc;

use rustix::fs::{StatVfs, statvfs};

use super::extents::whole_hole;
use super::names::touch;
use super::packer::{margin, spooled};
use super::pieces::Piece;
use super::state::{Source, Span, State};
use super::{LiveFs, now};
use crate::format::{DataAt, Kind};
use crate::fs::{ArchiveFs, Data, FsError, Seek};
use crate::storage::StorageError;

/// Longest piece that is read in one go, in bytes.
const CHUNK: u64 = 1 << 20;

/// A write to the spool: from that place on in the data, so many bytes, to there.
struct Put {
    from: usize,
    length: usize,
    at: u64,
}

impl LiveFs {
    /// Up to `length` bytes of a file from `offset` on; fewer only at the end of the file.
    ///
    /// # Errors
    /// If it is not a regular file, or what holds any of these bytes is damaged.
    pub fn read(&self, ino: u64, offset: u64, length: u32) -> Result<Data, FsError> {
        self.read_through(ino, offset, length, false)?.ok_or(FsError::NoData)
    }

    /// The same, if nothing of it has to be inflated; else `None`.
    ///
    /// # Errors
    /// As [`LiveFs::read`].
    pub fn read_if_ready(
        &self,
        ino: u64,
        offset: u64,
        length: u32,
    ) -> Result<Option<Data>, FsError> {
        self.read_through(ino, offset, length, true)
    }

    fn read_through(
        &self,
        ino: u64,
        offset: u64,
        length: u32,
        only_ready: bool,
    ) -> Result<Option<Data>, FsError> {
        let state = self.state.read();
        let base = Arc::clone(&state.under(ino).base);
        let frozen = |length| match only_ready {
            true => base.read_if_ready(ino, offset, length),
            false => base.read(ino, offset, length).map(Some),
        };
        if !state.is_changed(ino) {
            drop(state);
            return frozen(length);
        }
        let size = size_of(&state, ino)?;
        let end = size.min(offset.saturating_add(length.into()));
        if offset >= end {
            return Ok(Some(Data::from(Vec::new())));
        }
        let spans = state.spans(ino, offset, end);
        drop(state);
        if let [Span { source: Source::Base, .. }] = spans.as_slice() {
            return frozen(u32::try_from(end - offset).unwrap_or(length));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(end - offset).unwrap_or(0));
        for span in &spans {
            if !read_span(&base, ino, span, &mut bytes, only_ready)? {
                return Ok(None);
            }
        }
        Ok(Some(Data::from(bytes)))
    }

    /// Whether a write of so many bytes to a file need not wait: there is room, and nothing of the
    /// archive is to be looked at.
    #[must_use]
    pub fn is_quick_to_write(&self, ino: u64, bytes: u64) -> bool {
        let fresh = |node: &super::layer::Node| node.inherited == 0;
        self.has_room(bytes) && self.state.read().active.nodes.get(&ino).is_some_and(fresh)
    }

    /// Writes to a file; returns how many bytes were written: all of them.
    ///
    /// What was written before and is not packed yet is overwritten where it is; the rest goes to
    /// the end of the spool. What it is then part of, is in the state after it is there. `kill`: it
    /// takes away what the file may do more than who runs it.
    ///
    /// # Errors
    /// If there is no space left, or it would be too long.
    pub fn write(&self, ino: u64, offset: u64, data: &[u8], kill: bool) -> Result<u32, FsError> {
        let length = data.len() as u64;
        let end = offset.checked_add(length).filter(|end| *end <= i64::MAX.cast_unsigned());
        let end = end.ok_or(FsError::TooLarge)?;
        self.room(length)?;
        self.check_edges(ino, &[offset, end])?;
        let gate = self.gate.read();
        let (spool, puts, fresh) = {
            let mut state = self.state.write();
            let node = state.node_mut(ino)?;
            if !node.is_file() {
                return Err(FsError::NotFile);
            }
            let (mut puts, mut fresh) = (Vec::new(), Vec::new());
            let spool = Arc::clone(&state.active.spool);
            let Some(node) = state.active.nodes.get(&ino) else { return Err(FsError::NoEntry) };
            node.pieces.walk(offset, end, |from, to, piece| {
                let length = to - from;
                let at = match piece {
                    Some(Piece { at: DataAt::Spool(at), .. }) => at,
                    _ => {
                        let at = spool.allocate(length);
                        fresh.push((from, Piece { length, at: DataAt::Spool(at) }));
                        at
                    }
                };
                let within = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
                puts.push(Put { from: within(from - offset), length: within(length), at });
            });
            (spool, puts, fresh)
        };
        for put in &puts {
            let bytes = &data[put.from..put.from + put.length];
            spool.write(put.at, bytes).map_err(|error| StorageError::io("spool", error))?;
        }
        self.changed(|state| {
            for (from, piece) in fresh {
                state.active.set_data(ino, from, piece);
            }
            let (at, node) = (now(), state.node_mut(ino)?);
            node.inode.size = node.inode.size.max(end);
            node.inode.mtime = at;
            node.kill_privileges(kill);
            touch(&mut node.inode, at);
            Ok(())
        })?;
        drop(gate);
        Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
    }

    /// What is changed from one of these offsets on, or up to it, is cut anew together with the
    /// rest of the block of the archive that it lies in. If that is damaged, it can neither be kept
    /// nor made anew: better the write fails than the commit.
    pub(super) fn check_edges(&self, ino: u64, edges: &[u64]) -> Result<(), FsError> {
        for edge in edges {
            let (from, to) = (edge.saturating_sub(1), edge.saturating_add(1));
            let (spans, base) = {
                let state = self.state.read();
                let size = state.inode(ino, |inode, _, _| inode.size)?;
                if *edge == 0 || *edge >= size {
                    continue;
                }
                (state.spans(ino, from, to), Arc::clone(&state.under(ino).base))
            };
            for Span { from, to, source } in spans {
                let length = to - from;
                match source {
                    Source::Base => {
                        drop(base.read(ino, from, u32::try_from(length).unwrap_or(1))?)
                    }
                    Source::Blocks(blocks) => drop(base.read_blocks(&blocks, length, false)?),
                    Source::Hole | Source::Spool(..) => {}
                }
            }
        }
        Ok(())
    }

    /// Makes `offset..offset + length` of a file zeros that take no space, as far as it reaches.
    ///
    /// # Errors
    /// If it is not a regular file.
    pub fn punch(&self, ino: u64, offset: u64, length: u64) -> Result<(), FsError> {
        self.check_edges(ino, &[offset, offset.saturating_add(length)])?;
        self.changed(|state| {
            let size = size_of(state, ino)?;
            let end = offset.saturating_add(length).min(size);
            let at = now();
            let node = state.node_mut(ino)?;
            node.inode.mtime = at;
            touch(&mut node.inode, at);
            if offset < end {
                state.active.set_data(
                    ino,
                    offset,
                    Piece { length: end - offset, at: DataAt::Hole },
                );
            }
            Ok(())
        })
    }

    /// Makes a file at least so long.
    ///
    /// # Errors
    /// If it is not a regular file, or there is no space for what is added.
    pub fn extend(&self, ino: u64, offset: u64, length: u64) -> Result<(), FsError> {
        let end = offset.checked_add(length).filter(|end| *end <= i64::MAX.cast_unsigned());
        let end = end.ok_or(FsError::TooLarge)?;
        self.room(length)?;
        self.changed(|state| {
            let size = size_of(state, ino)?;
            state.resize(ino, size.max(end), now())?;
            touch(&mut state.node_mut(ino)?.inode, now());
            Ok(())
        })
    }

    /// The offset of the next data or hole at or after `offset`.
    ///
    /// # Errors
    /// [`FsError::NoData`] if there is none up to the end; if it is not a regular file, or a page
    /// is damaged.
    pub fn seek(&self, ino: u64, offset: u64, whence: Seek) -> Result<u64, FsError> {
        let state = self.state.read();
        if !state.is_changed(ino) {
            let base = Arc::clone(&state.under(ino).base);
            drop(state);
            return base.seek(ino, offset, whence);
        }
        let size = size_of(&state, ino)?;
        if offset >= size {
            return Err(FsError::NoData);
        }
        let spans = state.spans(ino, offset, size);
        let base = Arc::clone(&state.under(ino).base);
        drop(state);
        for Span { from, to, source } in spans {
            let found = match (source, whence) {
                (Source::Hole, _) => match (whole_hole(from, to, size), whence) {
                    (hole, Seek::Hole) => hole.map(|(first, _)| first),
                    (None, Seek::Data) => Some(from),
                    (Some((first, _)), Seek::Data) if first > from => Some(from),
                    (Some((_, last)), Seek::Data) => Some(last).filter(|last| *last < to),
                },
                (Source::Spool(..) | Source::Blocks(_), Seek::Data) => Some(from),
                (Source::Spool(..) | Source::Blocks(_), Seek::Hole) => None,
                (Source::Base, _) => match base.seek(ino, from, whence) {
                    Ok(found) => Some(found).filter(|found| *found < to),
                    Err(FsError::NoData) => None,
                    Err(error) => return Err(error),
                },
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        match whence {
            Seek::Hole => Ok(size),
            Seek::Data => Err(FsError::NoData),
        }
    }

    /// What the system says of the disk of the store, and how many inodes there are. Available is
    /// what can be written in any case: for each byte there must be room in the spool, as far as
    /// that may grow, and in a pack, and the room that commits are left.
    ///
    /// # Errors
    /// If it says nothing.
    pub fn disk(&self) -> Result<(StatVfs, u64), FsError> {
        let disk = statvfs(&self.live);
        let mut disk = disk.map_err(|error| StorageError::io("statfs", error.into()))?;
        let state = self.state.read();
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(margin(&disk));
        let free = free.saturating_sub(spooled(&state));
        let available = (free / 2).max(free.saturating_sub(self.options.spool));
        disk.f_bavail = available / disk.f_frsize.max(1);
        Ok((disk, state.next.saturating_sub(crate::tree::ROOT)))
    }
}

/// The size of a regular file.
fn size_of(state: &State, ino: u64) -> Result<u64, FsError> {
    let (kind, size) = state.inode(ino, |inode, _, _| (inode.kind(), inode.size))?;
    match kind {
        Some(Kind::File) => Ok(size),
        Some(Kind::Folder) => Err(FsError::IsFolder),
        _ => Err(FsError::NotFile),
    }
}

/// Appends the bytes of a span of a file; false: something has to be inflated for it, and only what
/// is ready was wanted.
pub fn read_span(
    base: &ArchiveFs,
    ino: u64,
    span: &Span,
    bytes: &mut Vec<u8>,
    only_ready: bool,
) -> Result<bool, FsError> {
    let length = usize::try_from(span.to - span.from).map_err(|_| FsError::TooLarge)?;
    let start = bytes.len();
    match &span.source {
        Source::Hole => bytes.resize(start + length, 0),
        Source::Spool(spool, at) => {
            bytes.resize(start + length, 0);
            spool.read(*at, &mut bytes[start..])?;
        }
        Source::Blocks(blocks) => {
            let Some(data) = base.read_blocks(blocks, span.to - span.from, only_ready)? else {
                return Ok(false);
            };
            bytes.extend_from_slice(&data);
        }
        Source::Base => {
            let mut at = span.from;
            while at < span.to {
                let want = u32::try_from((span.to - at).min(CHUNK)).unwrap_or(0);
                let data = match only_ready {
                    true => base.read_if_ready(ino, at, want)?,
                    false => Some(base.read(ino, at, want)?),
                };
                let Some(data) = data else { return Ok(false) };
                if data.is_empty() {
                    return Err(FsError::NoData);
                }
                bytes.extend_from_slice(&data);
                at += data.len() as u64;
            }
        }
    }
    Ok(true)
}

//! The read path: a range of a file → extents → pieces of frames.

use std::ops::{Deref, Range};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{ArchiveFs, Attr, FsError, Seek};
use crate::buffers::{Buffer, Buffers};
use crate::format::{Blocks, Extent, Kind};
use crate::index::{FrameId, Missing, Piece, Run};
use crate::storage::StorageError;
use crate::store::{self, Cause, Frame};

/// Bytes that are read at once to check them.
const CHUNK: u32 = 1 << 20;

/// Bytes of a file, and where they are from.
#[derive(Debug)]
pub struct Data {
    bytes: Bytes,
    /// The last of the frames that they are from.
    pub frame: Option<FrameId>,
    /// Whether that had to be gone on with, and is not whole.
    pub left_off: bool,
}

#[derive(Debug)]
enum Bytes {
    /// All in one frame of the working set: nothing is copied.
    Frame(Arc<Frame>, Range<usize>),
    /// From several frames or holes, or from a frame that is not whole.
    Joined(Buffer),
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: Bytes::Joined(bytes.into()), frame: None, left_off: false }
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Frame(frame, range) => frame.whole().map_or(&[], |whole| &whole[range.clone()]),
            Bytes::Joined(bytes) => bytes,
        }
    }
}

/// Puts the answer to a read together, without a copy while it is one piece.
struct Gather<'a> {
    /// The only piece so far, if it is part of a frame.
    only: Option<(Arc<Frame>, Range<usize>)>,
    joined: Option<Buffer>,
    buffers: &'a Buffers,
    want: usize,
    last: Option<FrameId>,
    left_off: bool,
    /// Take only what is inflated already.
    only_ready: bool,
}

impl<'a> Gather<'a> {
    fn new(want: usize, only_ready: bool, buffers: &'a Buffers) -> Self {
        let (only, joined, last, left_off) = (None, None, None, false);
        Self { only, joined, buffers, want, last, left_off, only_ready }
    }

    fn joined(&mut self) -> &mut Buffer {
        let joined = self.joined.get_or_insert_with(|| self.buffers.take(self.want));
        if let Some((frame, range)) = self.only.take()
            && let Some(whole) = frame.whole()
        {
            joined.extend_from_slice(&whole[range]);
        }
        joined
    }

    /// Takes a range of a frame that is whole.
    fn frame(&mut self, frame: Arc<Frame>, range: Range<usize>) {
        if self.only.is_none() && self.joined.is_none() {
            self.only = Some((frame, range));
        } else if let Some(whole) = frame.whole() {
            self.joined().extend_from_slice(&whole[range]);
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.joined().extend_from_slice(bytes);
    }

    fn hole(&mut self, length: usize) {
        let bytes = self.joined();
        let end = bytes.len() + length;
        bytes.resize(end, 0);
    }

    fn data(self) -> Data {
        let bytes = match (self.only, self.joined) {
            (Some((frame, range)), _) => Bytes::Frame(frame, range),
            (None, Some(joined)) => Bytes::Joined(joined),
            (None, None) => Bytes::Joined(Vec::new().into()),
        };
        Data { bytes, frame: self.last, left_off: self.left_off }
    }
}

/// Why a read failed inside; the file it hurts is added outside.
enum Failure {
    Tree(StorageError),
    Store(store::Error),
    Missing,
    /// It would have to be inflated.
    Unready,
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Tree(error)
    }
}

impl From<Missing> for Failure {
    fn from(_: Missing) -> Self {
        Self::Missing
    }
}

impl ArchiveFs {
    /// Up to `length` bytes of a file from `offset` on; fewer only at the end of the file.
    ///
    /// # Errors
    /// If it is not a regular file, or what holds any of these bytes is damaged; then the path is
    /// in the log.
    pub fn read(&self, ino: u64, offset: u64, length: u32) -> Result<Data, FsError> {
        self.read_through(ino, offset, length, false)?.ok_or(FsError::NoData)
    }

    /// The same, if all of it is inflated; else `None`.
    ///
    /// # Errors
    /// As [`ArchiveFs::read`].
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
        let attr = self.attr(ino)?;
        match attr.kind {
            Kind::File => {}
            Kind::Folder => return Err(FsError::IsFolder),
            _ => return Err(FsError::NotFile),
        }
        let end = attr.size.min(offset.saturating_add(u64::from(length)));
        let want = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
        let mut gather = Gather::new(want, only_ready, self.store.buffers());
        let read = self.extents(&attr, offset, end, |extent, from, to| {
            self.read_extent(extent, from, to, &mut gather)
        });
        match read {
            Ok(()) => Ok(Some(gather.data())),
            Err(Failure::Unready) => Ok(None),
            Err(failure) => Err(self.hurt(ino, offset, end, failure)),
        }
    }

    /// Inflates frames as far as they hold bytes of a file, up to `length` from `offset` on: these
    /// are about to be read. Whoever does so gets the error, if there is one.
    pub fn inflate(&self, ino: u64, offset: u64, length: u32) {
        let Ok(attr) = self.attr(ino) else { return };
        let end = attr.size.min(offset.saturating_add(u64::from(length)));
        let _ = self.extents(&attr, offset, end, |extent, from, to| {
            self.pieces(extent, from, to, |piece| {
                self.store.prefetch(piece.frame, piece.end()).map_err(Failure::Store)
            })
        });
    }

    /// Calls `each` with the extents that hold bytes `from..to` of a file, and which of these.
    fn extents(
        &self,
        attr: &Attr,
        from: u64,
        to: u64,
        mut each: impl FnMut(&Extent, u64, u64) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut at = from;
        self.store.tree().extents(attr.ino, attr.size, from, |extent| {
            if at >= to || extent.offset > at {
                return Ok(false);
            }
            let upto = to.min(extent.end());
            each(extent, at, upto)?;
            at = upto;
            Ok::<_, Failure>(at < to)
        })?;
        // Extents that stop before the file does are as good as missing.
        if at >= to { Ok(()) } else { Err(Failure::Missing) }
    }

    /// Calls `each` with the pieces of frames that hold bytes `from..to` of a file, which are in
    /// that extent; those of a hole are in none.
    fn pieces(
        &self,
        extent: &Extent,
        from: u64,
        to: u64,
        each: impl FnMut(Piece) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if extent.origin == 0 {
            return Ok(());
        }
        let origin = self.store.origin(extent.origin)?;
        let run = Run { first: extent.first, count: extent.count, bytes: extent.bytes };
        let (from, to) = (from - extent.offset, to - extent.offset);
        self.store.index().pieces(origin, run, from, to, each)
    }

    /// Reads bytes `from..to` of a file, to see whether they can be.
    ///
    /// # Errors
    /// As [`ArchiveFs::read`].
    pub fn check(&self, ino: u64, from: u64, to: u64) -> Result<(), FsError> {
        let mut at = from;
        while at < to {
            let want = u32::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
            let read = self.read(ino, at, want)?.len() as u64;
            if read == 0 {
                return Err(FsError::NoData);
            }
            at += read;
        }
        Ok(())
    }

    /// So many bytes of a run of blocks, if all of that is inflated or does not have to be.
    ///
    /// # Errors
    /// If what holds any of these bytes is damaged or not there.
    pub fn read_blocks(
        &self,
        blocks: &Blocks,
        length: u64,
        only_ready: bool,
    ) -> Result<Option<Data>, FsError> {
        let Blocks { origin, first, count, bytes, skip } = *blocks;
        let extent = Extent { inode: 0, offset: 0, bytes, origin, first, count };
        let want = usize::try_from(length).map_err(|_| FsError::TooLarge)?;
        let mut gather = Gather::new(want, only_ready, self.store.buffers());
        match self.read_extent(&extent, skip, skip.saturating_add(length), &mut gather) {
            Ok(()) => Ok(Some(gather.data()).filter(|data| data.len() == want)),
            Err(Failure::Unready) => Ok(None),
            Err(failure) => {
                let error = self.cause(failure);
                log::error!("{count} blocks from {first} on cannot be read: {error}");
                Err(FsError::Damaged(Arc::new(error)))
            }
        }
    }

    fn read_extent(
        &self,
        extent: &Extent,
        from: u64,
        to: u64,
        gather: &mut Gather<'_>,
    ) -> Result<(), Failure> {
        if extent.origin == 0 {
            gather.hole(usize::try_from(to - from).unwrap_or(0));
        }
        self.pieces(extent, from, to, |piece| {
            let wanted = piece.end();
            let frame = match gather.only_ready {
                true => self.store.ready(piece.frame, wanted).ok_or(Failure::Unready)?,
                false => {
                    let frame = self.store.frame(piece.frame, piece.inflated, wanted);
                    frame.map_err(Failure::Store)?
                }
            };
            let range = piece.offset as usize..wanted as usize;
            (gather.last, gather.left_off) = (Some(piece.frame), false);
            if let Some(whole) = frame.whole() {
                whole.get(range.clone()).ok_or(Failure::Missing)?;
                gather.frame(frame, range);
                return Ok(());
            }
            let copy = |bytes: &[u8]| bytes.get(range).map(|bytes| gather.copy(bytes));
            let copied = self.store.reach(piece.frame, &frame, wanted, copy);
            copied.map_err(Failure::Store)?.ok_or(Failure::Missing)?;
            gather.left_off = !gather.only_ready && frame.is_left_off();
            Ok(())
        })
    }

    fn cause(&self, failure: Failure) -> store::Error {
        match failure {
            Failure::Tree(error) => error.into(),
            Failure::Store(error) => error,
            Failure::Missing | Failure::Unready => {
                store::Error::new(&self.store.name(), Cause::Missing(Missing))
            }
        }
    }

    /// Logs which bytes of which file cannot be read, and why; once for each frame.
    fn hurt(&self, ino: u64, from: u64, to: u64, failure: Failure) -> FsError {
        let error = self.cause(failure);
        let what = (ino, xxh3_64(error.to_string().as_bytes()));
        if self.told.lock().put(what, ()).is_none() {
            let path = crate::monitor::show(&self.path_of(ino));
            log::error!("{path}: bytes {from} to {to} cannot be read: {error}");
        }
        FsError::Damaged(Arc::new(error))
    }

    /// The offset of the next data or hole at or after `offset`.
    ///
    /// # Errors
    /// [`FsError::NoData`] if there is none up to the end; if it is not a regular file, or a page
    /// is damaged.
    pub fn seek(&self, ino: u64, offset: u64, whence: Seek) -> Result<u64, FsError> {
        let attr = self.attr(ino)?;
        if attr.kind != Kind::File {
            return Err(FsError::NotFile);
        }
        if offset >= attr.size {
            return Err(FsError::NoData);
        }
        let mut at = offset;
        let mut found = None;
        let sought = self.store.tree().extents(ino, attr.size, offset, |extent| {
            if at >= attr.size || extent.offset > at {
                return Ok(false);
            }
            if (extent.origin == 0) == (whence == Seek::Hole) {
                found = Some(at);
                return Ok(false);
            }
            at = extent.end();
            Ok(true)
        });
        // As for a read: extents must reach to the end of the file.
        let whole = found.is_some() || at >= attr.size;
        let sought = sought.and(if whole { Ok(()) } else { Err(Failure::Missing) });
        sought.map_err(|failure| self.hurt(ino, offset, attr.size, failure))?;
        match whence {
            // The end of a file is a hole.
            Seek::Hole => Ok(found.unwrap_or(attr.size)),
            Seek::Data => found.ok_or(FsError::NoData),
        }
    }
}

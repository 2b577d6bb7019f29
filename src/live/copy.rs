//! copy_file_range(2): what the archive has is referred to, the rest is copied.
//!
//! A file that is written to may refer to blocks only if the root below has them, and the next root
//! will. So it is with all that a file has of the root, unless a sealed layer changes that file:
//! the next root is what the sealed layers come to, and the one after that refers to the blocks.

use std::sync::Arc;

use super::extents::missing;
use super::names::touch;
use super::pieces::Piece;
use super::state::{Source, Span};
use super::{LiveFs, now};
use crate::format::{Blocks, DataAt, Kind};
use crate::fs::{ArchiveFs, FsError};

/// Bytes that are copied at a time, and ranges that are referred to.
const BITE: (u64, usize) = (1 << 20, 1024);
/// Bites of one call: a caller who gets less than it asked for goes on.
const BITES: usize = 16;

/// Ranges that follow one another from a place in a file on, and what they rest on.
struct Plan {
    pieces: Vec<Piece>,
    layer: u64,
    base: Arc<ArchiveFs>,
}

impl LiveFs {
    /// Makes up to `length` bytes of the file `to.0`, from `to.1` on, those that `from.0` has from
    /// `from.1` on, as far as that reaches; returns how many. If it is one file, they must not
    /// overlap.
    ///
    /// # Errors
    /// If one is not a regular file, would be too long, or has bytes that cannot be read; or there
    /// is no space left.
    pub fn copy_range(
        &self,
        from: (u64, u64),
        to: (u64, u64),
        length: u64,
    ) -> Result<u64, FsError> {
        let size = match self.attr(from.0)? {
            attr if attr.kind == Kind::File => attr.size,
            _ => return Err(FsError::NotFile),
        };
        let length = length.min(size.saturating_sub(from.1));
        to.1.checked_add(length)
            .filter(|end| *end <= i64::MAX.cast_unsigned())
            .ok_or(FsError::TooLarge)?;
        let mut done = 0;
        for _ in 0..BITES {
            if done == length {
                break;
            }
            let (from, to) = ((from.0, from.1 + done), (to.0, to.1 + done));
            match self.copy_bite(from, to, length - done) {
                Ok(0) => break,
                Ok(copied) => done += copied,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn copy_bite(&self, from: (u64, u64), to: (u64, u64), length: u64) -> Result<u64, FsError> {
        let plan = self.plan(from, to.0, from.1 + length)?;
        if let Some(referred) = self.refer(&plan, to)? {
            return Ok(referred);
        }
        // What is not in the archive; or a layer was sealed, or committed, just now.
        let bite = u32::try_from(length.min(BITE.0)).unwrap_or(0);
        let data = self.read(from.0, from.1, bite)?;
        self.write(to.0, to.1, &data, false).map(u64::from)
    }

    /// What can be referred to of bytes `from.1..end` of a file, up to the first that cannot.
    fn plan(&self, from: (u64, u64), to: u64, end: u64) -> Result<Plan, FsError> {
        let (ino, at) = from;
        let (spans, stays, layer, base) = {
            let state = self.state.read();
            let is_open = [ino, to].iter().any(|ino| state.orphans.contains_key(ino));
            let mut sealed = state.below.layers.iter();
            let stays = !is_open && !sealed.any(|layer| layer.nodes.contains_key(&ino));
            let base = Arc::clone(&state.below.base);
            (state.spans(ino, at, end), stays, state.active.number, base)
        };
        let mut pieces = Vec::new();
        for Span { from, to, source } in spans {
            let length = to - from;
            match source {
                Source::Hole => pieces.push(Piece { length, at: DataAt::Hole }),
                Source::Blocks(blocks) if stays => {
                    pieces.push(Piece { length, at: DataAt::Blocks(blocks) });
                }
                Source::Base if stays => refer_to(&base, ino, from, to, &mut pieces)?,
                _ => break,
            }
            if pieces.len() >= BITE.1 {
                break;
            }
        }
        // Of blocks at the ends only a part may be meant, which is to be cut anew.
        for piece in pieces.first().into_iter().chain(pieces.last()) {
            if let DataAt::Blocks(blocks) = piece.at {
                let last = Blocks { skip: blocks.skip + piece.length - 1, ..blocks };
                base.read_blocks(&blocks, 1, false)?;
                base.read_blocks(&last, 1, false)?;
            }
        }
        Ok(Plan { pieces, layer, base })
    }

    /// Makes a file what is planned, from `to.1` on; `None` if nothing is, or it does not hold any
    /// more.
    fn refer(&self, plan: &Plan, to: (u64, u64)) -> Result<Option<u64>, FsError> {
        let (ino, offset) = to;
        let length: u64 = plan.pieces.iter().map(|piece| piece.length).sum();
        if length == 0 {
            return Ok(None);
        }
        self.room(0)?;
        self.check_edges(ino, &[offset, offset + length])?;
        self.changed(|state| {
            if state.active.number != plan.layer || !Arc::ptr_eq(&state.below.base, &plan.base) {
                return Ok(None);
            }
            let (at, node) = (now(), state.node_mut(ino)?);
            if !node.is_file() {
                return Err(FsError::NotFile);
            }
            node.inode.size = node.inode.size.max(offset + length);
            node.inode.mtime = at;
            touch(&mut node.inode, at);
            let mut offset = offset;
            for piece in &plan.pieces {
                state.active.set_data(ino, offset, *piece);
                offset += piece.length;
            }
            Ok(Some(length))
        })
    }
}

/// Adds what a file of the archive has in `from..to` to `pieces`, up to some number of them.
fn refer_to(
    base: &ArchiveFs,
    ino: u64,
    from: u64,
    to: u64,
    pieces: &mut Vec<Piece>,
) -> Result<(), FsError> {
    let size = base.attr(ino)?.size;
    let mut at = from;
    base.store().tree().extents::<FsError>(ino, size, from, |extent| {
        if at >= to || extent.offset > at {
            return Ok(false);
        }
        let end = extent.end().min(to);
        let (origin, first, count) = (extent.origin, extent.first, extent.count);
        let (bytes, skip) = (extent.bytes, at - extent.offset);
        let place = match origin {
            0 => DataAt::Hole,
            _ => DataAt::Blocks(Blocks { origin, first, count, bytes, skip }),
        };
        pieces.push(Piece { length: end - at, at: place });
        at = end;
        Ok(at < to && pieces.len() < BITE.1)
    })?;
    match at >= to || pieces.len() >= BITE.1 {
        true => Ok(()),
        false => Err(missing(base.store())),
    }
}

//! Which blocks of a changed file stay, and which of its bytes are cut anew.

use std::ops::Range;

use super::state::{Source, Span};
use crate::format::Extent;
use crate::fs::{ArchiveFs, FsError};
use crate::index::Run;
use crate::ingest::Stretch;
use crate::store::{Cause, Store};

/// Holes are of whole units of so many bytes, as on other file systems; what is left of one is
/// zeros, like any data.
const UNIT: u64 = 4096;

/// The hole that `from..to` of a file of `size` bytes comes to; `None` if it is too short.
pub fn whole_hole(from: u64, to: u64, size: u64) -> Option<(u64, u64)> {
    let first = from.checked_next_multiple_of(UNIT)?;
    let last = if to == size { to } else { to / UNIT * UNIT };
    (first < last).then_some((first, last))
}

/// A part of a changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Blocks that the archive has, or a hole.
    Kept(Stretch),
    /// Bytes `from..to` of the file, to be cut into blocks.
    Cut {
        /// The first byte.
        from: u64,
        /// The byte after the last one.
        to: u64,
    },
}

/// The parts of a file of which all bytes are those of `spans`, over those that `base` has of it.
///
/// # Errors
/// If a page or the index of the archive is damaged.
pub fn parts(base: &ArchiveFs, ino: u64, spans: &[Span]) -> Result<Vec<Part>, FsError> {
    let mut parts = Vec::new();
    let size = spans.last().map_or(0, |span| span.to);
    for Span { from, to, source } in spans {
        let (from, to) = (*from, *to);
        match source {
            Source::Hole => {
                let (first, last) = whole_hole(from, to, size).unwrap_or((to, to));
                cut(&mut parts, from, first);
                if first < last {
                    parts.push(Part::Kept(hole(last - first)));
                }
                cut(&mut parts, last, to);
            }
            Source::Spool(..) => cut(&mut parts, from, to),
            Source::Base => keep(base, ino, from, to, &mut parts)?,
            // Where its run begins may lie before the file does, so it counts from there.
            Source::Blocks(blocks) => {
                let (start, end) = (blocks.skip, blocks.skip + (to - from));
                let run = Run { first: blocks.first, count: blocks.count, bytes: blocks.bytes };
                keep_some(base.store(), blocks.origin, run, start..end, from, &mut parts)?;
            }
        }
    }
    Ok(parts)
}

fn hole(bytes: u64) -> Stretch {
    Stretch { bytes, origin: 0, first: 0, count: 0 }
}

fn cut(parts: &mut Vec<Part>, from: u64, to: u64) {
    match parts.last_mut() {
        _ if from == to => {}
        Some(Part::Cut { to: end, .. }) if *end == from => *end = to,
        _ => parts.push(Part::Cut { from, to }),
    }
}

/// Keeps all blocks that lie in `from..to` of a file of the archive; what is left at both ends is
/// cut.
fn keep(
    base: &ArchiveFs,
    ino: u64,
    from: u64,
    to: u64,
    parts: &mut Vec<Part>,
) -> Result<(), FsError> {
    let store = base.store();
    let size = base.attr(ino)?.size;
    let mut at = from;
    store.tree().extents::<FsError>(ino, size, from, |extent| {
        if at >= to || extent.offset > at {
            return Ok(false);
        }
        let end = extent.end().min(to);
        if extent.origin == 0 {
            parts.push(Part::Kept(hole(end - at)));
        } else if extent.offset >= from && extent.end() <= to {
            let Extent { bytes, origin, first, count, .. } = *extent;
            parts.push(Part::Kept(Stretch { bytes, origin, first, count }));
        } else {
            let Extent { offset, bytes, origin, first, count, .. } = *extent;
            let range = from.saturating_sub(offset)..to.min(extent.end()) - offset;
            let run = Run { first, count, bytes };
            keep_some(store, origin, run, range, at, parts)?;
        }
        at = end;
        Ok(at < to)
    })?;
    match at >= to {
        true => Ok(()),
        false => Err(missing(store)),
    }
}

/// Keeps the blocks of a run that lie whole in that `range` of it, which is from `at` on in the
/// file; the rest of the range is cut.
fn keep_some(
    store: &Store,
    origin: u32,
    run: Run,
    range: Range<u64>,
    at: u64,
    parts: &mut Vec<Part>,
) -> Result<(), FsError> {
    let lost = |_| missing(store);
    let lengths = store.index().lengths(store.origin(origin).map_err(lost)?, run).map_err(lost)?;
    let mut start = 0;
    for (number, length) in (run.first..).zip(lengths) {
        let bytes = u64::from(length);
        let (first, last) = (range.start.max(start), range.end.min(start + bytes));
        start += bytes;
        if first >= last {
            continue;
        }
        if last - first < bytes {
            let in_file = |byte: u64| at + (byte - range.start);
            cut(parts, in_file(first), in_file(last));
            continue;
        }
        match parts.last_mut() {
            Some(Part::Kept(last))
                if last.origin == origin
                    && u64::from(last.first) + u64::from(last.count) == u64::from(number)
                    && number != run.first =>
            {
                last.count += 1;
                last.bytes += bytes;
            }
            _ => parts.push(Part::Kept(Stretch { bytes, origin, first: number, count: 1 })),
        }
    }
    Ok(())
}

/// The error that the index of the archive does not have what a file needs.
pub fn missing(store: &Store) -> FsError {
    let error = crate::store::Error::new(&store.name(), Cause::Missing(crate::index::Missing));
    FsError::Damaged(std::sync::Arc::new(error))
}

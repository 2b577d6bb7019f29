//! Which blocks of a changed file stay, and which of its bytes are cut anew.

use super::state::{Source, Span};
use crate::format::Extent;
use crate::fs::{ArchiveFs, FsError};
use crate::index::Run;
use crate::ingest::Stretch;
use crate::store::{Cause, Store};

/// Shorter holes are kept as zeros, in bytes: an extent of their own would be longer.
const SHORTEST_HOLE: u64 = 4096;

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

/// The parts of a file whose bytes are those of `spans`, over those that `base` has of it.
///
/// # Errors
/// If a page or the index of the archive is damaged.
pub fn parts(base: &ArchiveFs, ino: u64, spans: &[Span]) -> Result<Vec<Part>, FsError> {
    let mut parts = Vec::new();
    for span in spans {
        match span.source {
            Source::Hole if span.to - span.from >= SHORTEST_HOLE => {
                parts.push(Part::Kept(hole(span.to - span.from)));
            }
            Source::Hole | Source::Spool(..) => cut(&mut parts, span.from, span.to),
            Source::Base => keep(base, ino, span.from, span.to, &mut parts)?,
        }
    }
    Ok(parts)
}

fn hole(bytes: u64) -> Stretch {
    Stretch { bytes, origin: 0, first: 0, count: 0 }
}

fn cut(parts: &mut Vec<Part>, from: u64, to: u64) {
    match parts.last_mut() {
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
            keep_some(store, extent, from, to, parts)?;
        }
        at = end;
        Ok(at < to)
    })?;
    match at >= to {
        true => Ok(()),
        false => Err(missing(store)),
    }
}

/// The blocks of an extent that lie in `from..to`, which not all do.
fn keep_some(
    store: &Store,
    extent: &Extent,
    from: u64,
    to: u64,
    parts: &mut Vec<Part>,
) -> Result<(), FsError> {
    let lost = |_| missing(store);
    let origin = store.origin(extent.origin).map_err(lost)?;
    let run = Run { first: extent.first, count: extent.count, bytes: extent.bytes };
    let mut start = extent.offset;
    for (number, length) in (extent.first..).zip(store.index().lengths(origin, run).map_err(lost)?)
    {
        let end = start + u64::from(length);
        if start >= from && end <= to {
            let bytes = u64::from(length);
            match parts.last_mut() {
                Some(Part::Kept(last))
                    if last.origin == extent.origin
                        && u64::from(last.first) + u64::from(last.count) == u64::from(number)
                        && number != extent.first =>
                {
                    last.count += 1;
                    last.bytes += bytes;
                }
                _ => {
                    let origin = extent.origin;
                    parts.push(Part::Kept(Stretch { bytes, origin, first: number, count: 1 }));
                }
            }
        } else if start.max(from) < end.min(to) {
            cut(parts, start.max(from), end.min(to));
        }
        start = end;
    }
    Ok(())
}

fn missing(store: &Store) -> FsError {
    let error = crate::store::Error::new(&store.name(), Cause::Missing(crate::index::Missing));
    FsError::Damaged(std::sync::Arc::new(error))
}

//! Files that have no name any more, and are open. A commit leaves them out: what was written to
//! them stays in the spools of the layers that it came with, together with all that is packed by
//! now. So that this does not grow on and on, what is left of them is carried over to a spool of
//! their own, now and then. It has no name either, since a crash ends them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::LiveFs;
use super::layer::{Layer, Node};
use super::pieces::{Piece, Pieces};
use super::spool::Spool;
use super::state::{Below, Source, State};
use crate::format::DataAt;
use crate::fs::FsError;

/// Layers that are kept for such files alone, at most, and what these take, in bytes: of the disk
/// above twice of what is needed, and of memory.
const KEPT: (usize, u64, usize) = (8, 16 << 20, 32 << 20);
/// Bytes that are carried over at a time.
const BITE: u64 = 1 << 20;

/// What layers are kept for orphans alone.
#[derive(Debug, Default)]
struct Kept {
    layers: HashMap<*const Layer, Arc<Layer>>,
    /// Bytes of them that are still some orphan's.
    needed: u64,
}

impl Kept {
    fn of(state: &State) -> Self {
        let mut kept = Self::default();
        for (ino, below) in &state.orphans {
            let alone = |layer: &&Arc<Layer>| {
                !state.below.layers.iter().any(|other| Arc::ptr_eq(other, layer))
            };
            let before = kept.layers.len();
            for layer in below.layers.iter().filter(alone) {
                kept.layers.insert(Arc::as_ptr(layer), Arc::clone(layer));
            }
            let some = kept.layers.len() > before || below.layers.iter().any(|it| alone(&it));
            if let Some(node) = below.layers.first().and_then(|layer| layer.nodes.get(ino))
                && some
            {
                let mut spans = Vec::new();
                below.spans(*ino, 0, node.inode.size, &mut spans);
                let data = spans.iter().filter(|span| matches!(span.source, Source::Spool(..)));
                kept.needed += data.map(|span| span.to - span.from).sum::<u64>();
            }
        }
        kept
    }

    fn is_too_much(&self) -> bool {
        let (layers, bytes, memory) = KEPT;
        let layer = || self.layers.values();
        let spools: u64 = layer().map(|layer| layer.spool.length()).sum();
        let held: usize = layer().map(|layer| layer.held()).sum();
        self.layers.len() > layers
            || spools > self.needed.saturating_mul(2).saturating_add(bytes)
            || (self.layers.len() > 1 && held > memory)
    }
}

impl LiveFs {
    /// Carries files without a name over to a spool of their own, if the layers that are kept for
    /// them take too much. No layer must be sealed meanwhile.
    pub(super) fn carry_orphans(&self) {
        let (kept, orphans) = {
            let state = self.state.read();
            if state.orphans.is_empty() {
                return;
            }
            (Kept::of(&state), state.orphans.clone())
        };
        if !kept.is_too_much() || self.free() < kept.needed {
            return;
        }
        let carried = match carry(&self.live, &orphans) {
            Ok(carried) => Arc::new(carried),
            Err(error) => return log::warn!("{error}; files without a name stay where they are"),
        };
        let mut state = self.state.write();
        let newest = Arc::clone(&state.below.base);
        for (ino, node) in &carried.nodes {
            // Some may have been closed.
            if let Some(below) = state.orphans.get_mut(ino) {
                below.layers = vec![Arc::clone(&carried)];
                if node.inherited == 0 && node.pieces.spooled() == node.pieces.bytes() {
                    // Nothing of it is in a root: none has to be kept for it.
                    below.base = Arc::clone(&newest);
                }
            }
        }
    }
}

/// A layer that has all changes of these files.
fn carry(live: &Path, orphans: &HashMap<u64, Below>) -> Result<Layer, FsError> {
    let mut layer = Layer::nameless(live)?;
    for (ino, below) in orphans {
        let (Some(first), Some(last)) = (below.layers.first(), below.layers.last()) else {
            continue;
        };
        let (Some(node), Some(lowest)) = (first.nodes.get(ino), last.nodes.get(ino)) else {
            continue;
        };
        let mut carried = Node { pieces: Pieces::default(), inherited: 0, ..node.clone() };
        carried.inode.holes = lowest.inode.holes;
        let mut spans = Vec::new();
        below.spans(*ino, 0, node.inode.size, &mut spans);
        for span in spans {
            let length = span.to - span.from;
            let at = match &span.source {
                Source::Spool(spool, at) => DataAt::Spool(copy(spool, *at, length, &layer.spool)?),
                Source::Hole => DataAt::Hole,
                Source::Blocks(blocks) => DataAt::Blocks(*blocks),
                Source::Base => {
                    carried.inherited = span.to;
                    continue;
                }
            };
            carried.pieces.set(span.from, Piece { length, at });
        }
        layer.keep(*ino, carried);
    }
    Ok(layer)
}

/// Appends a range of a spool to another; returns where it begins there.
fn copy(from: &Spool, at: u64, length: u64, to: &Spool) -> Result<u64, FsError> {
    let place = to.allocate(length);
    let mut buffer = Vec::new();
    let mut done = 0;
    while done < length {
        let bite = BITE.min(length - done);
        buffer.resize(usize::try_from(bite).map_err(|_| FsError::TooLarge)?, 0);
        from.read(at + done, &mut buffer)?;
        to.write(place + done, &buffer).map_err(|error| to.fail(error))?;
        done += bite;
    }
    Ok(place)
}

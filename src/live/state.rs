//! What there is now: the active layer over the sealed one over the root.

use std::collections::HashMap;
use std::sync::Arc;

use super::layer::{Layer, Node};
use super::pieces::Piece;
use crate::format::{Blocks, DataAt, Inode, Kind, NUMBERS_END, XattrSet};
use crate::fs::{ArchiveFs, FsError};
use crate::tree::Found;

/// The layers below the active one, newest first, and the root below them.
#[derive(Debug, Clone)]
pub struct Below {
    /// The layers, none of which changes any more.
    pub layers: Vec<Arc<Layer>>,
    /// The root.
    pub base: Arc<ArchiveFs>,
}

/// A part of a file: where its bytes come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Zeros that no data was written to.
    Hole,
    /// A range of the spool of a layer, from there on.
    Spool(Arc<super::spool::Spool>, u64),
    /// The same bytes of the same file of the root.
    Base,
    /// Blocks that the root has.
    Blocks(Blocks),
}

/// Bytes `from..to` of a file, and where they come from.
#[derive(Debug, Clone)]
pub struct Span {
    /// The first byte.
    pub from: u64,
    /// The byte after the last one.
    pub to: u64,
    /// Where they are.
    pub source: Source,
}

impl Below {
    fn node(&self, number: u64) -> Option<&Node> {
        self.layers.iter().find_map(|layer| layer.nodes.get(&number))
    }

    /// Calls `with` with an inode, the target of a symlink, and extended attributes.
    ///
    /// # Errors
    /// If its page is damaged.
    pub fn inode<T>(
        &self,
        number: u64,
        with: impl FnOnce(&Inode, &[u8], &XattrSet) -> T,
    ) -> Result<Option<T>, FsError> {
        match self.node(number) {
            Some(node) if node.is_there() => {
                Ok(Some(with(&node.inode, &node.target, &node.xattrs)))
            }
            Some(_) => Ok(None),
            None => {
                let row = self.base.row(number)?;
                Ok(row.map(|(inode, target, xattrs)| with(&inode, &target, &xattrs)))
            }
        }
    }

    /// What a name names.
    ///
    /// # Errors
    /// If a page is damaged.
    pub fn entry(&self, folder: u64, name: &[u8]) -> Result<Option<Found>, FsError> {
        match self.layers.iter().find_map(|layer| layer.entry(folder, name)) {
            Some(known) => Ok(known),
            None => self.base.entry(folder, name),
        }
    }

    /// Adds the spans of `from..to` of a file to `spans`.
    pub fn spans(&self, number: u64, from: u64, to: u64, spans: &mut Vec<Span>) {
        below(&self.layers, number, from, to, spans);
    }
}

/// The spans of a file in layers over a root.
fn below(layers: &[Arc<Layer>], number: u64, from: u64, to: u64, spans: &mut Vec<Span>) {
    let Some((layer, rest)) = layers.split_first() else {
        return push(spans, Span { from, to, source: Source::Base });
    };
    match layer.nodes.get(&number) {
        None => below(rest, number, from, to, spans),
        Some(node) => over(node, layer, from, to, spans, |from, to, spans| {
            below(rest, number, from, to, spans);
        }),
    }
}

/// The spans of a file that `layer` has as `node`, over what is below.
fn over(
    node: &Node,
    layer: &Layer,
    from: u64,
    to: u64,
    spans: &mut Vec<Span>,
    mut below: impl FnMut(u64, u64, &mut Vec<Span>),
) {
    node.pieces.walk(from, to, |from, to, piece| {
        let source = match piece {
            Some(Piece { at: DataAt::Spool(at), .. }) => {
                Source::Spool(Arc::clone(&layer.spool), at)
            }
            Some(Piece { at: DataAt::Blocks(blocks), .. }) => Source::Blocks(blocks),
            Some(Piece { at: DataAt::Hole, .. }) => Source::Hole,
            None => {
                let split = node.inherited.clamp(from, to);
                if from < split {
                    below(from, split, spans);
                }
                if split < to {
                    push(spans, Span { from: split, to, source: Source::Hole });
                }
                return;
            }
        };
        push(spans, Span { from, to, source });
    });
}

fn push(spans: &mut Vec<Span>, span: Span) {
    match (spans.last_mut(), &span.source) {
        (Some(Span { to, source: Source::Hole, .. }), Source::Hole)
        | (Some(Span { to, source: Source::Base, .. }), Source::Base)
            if *to == span.from =>
        {
            *to = span.to;
        }
        _ => spans.push(span),
    }
}

/// What there is now.
#[derive(Debug)]
pub struct State {
    /// What changes.
    pub active: Layer,
    /// What does not.
    pub below: Below,
    /// Inodes without a name that somebody still has open, and that a commit left out: what they
    /// are below the active layer.
    pub orphans: HashMap<u64, Below>,
    /// The number of the next new inode.
    pub next: u64,
}

impl State {
    /// What an inode is below the active layer.
    pub fn under(&self, number: u64) -> &Below {
        if self.orphans.is_empty() {
            return &self.below;
        }
        self.orphans.get(&number).unwrap_or(&self.below)
    }

    /// Memory that all changes take, about, in bytes.
    pub fn held(&self) -> usize {
        self.active.held() + self.below.layers.iter().map(|layer| layer.held()).sum::<usize>()
    }

    /// Whether a layer has anything of an inode: else it is as the root has it.
    pub fn is_changed(&self, number: u64) -> bool {
        self.active.nodes.contains_key(&number) || self.under(number).node(number).is_some()
    }

    /// Calls `with` with an inode, the target of a symlink, and extended attributes.
    ///
    /// # Errors
    /// [`FsError::NoEntry`] if there is none; [`FsError::ReadOnly`] if it is of no store that is
    /// written to; if its page is damaged.
    pub fn inode<T>(
        &self,
        number: u64,
        with: impl FnOnce(&Inode, &[u8], &XattrSet) -> T,
    ) -> Result<T, FsError> {
        if number >= NUMBERS_END {
            return Err(FsError::ReadOnly);
        }
        let found = match self.active.nodes.get(&number) {
            Some(node) if node.is_there() => Some(with(&node.inode, &node.target, &node.xattrs)),
            Some(_) => None,
            None => self.under(number).inode(number, with)?,
        };
        found.ok_or(FsError::NoEntry)
    }

    /// The same of a folder.
    ///
    /// # Errors
    /// As [`State::inode`]; [`FsError::NotFolder`].
    pub fn folder(&self, number: u64) -> Result<Inode, FsError> {
        let inode = self.inode(number, |inode, _, _| inode.clone())?;
        match inode.kind() {
            Some(Kind::Folder) if inode.nlink > 0 => Ok(inode),
            Some(Kind::Folder) => Err(FsError::NoEntry),
            _ => Err(FsError::NotFolder),
        }
    }

    /// What a name names.
    ///
    /// # Errors
    /// If a page is damaged; [`FsError::ReadOnly`] as [`State::inode`].
    pub fn entry(&self, folder: u64, name: &[u8]) -> Result<Option<Found>, FsError> {
        if folder >= NUMBERS_END {
            return Err(FsError::ReadOnly);
        }
        match self.active.entry(folder, name) {
            Some(known) => Ok(known),
            None => self.below.entry(folder, name),
        }
    }

    /// The inode in the active layer, to be changed.
    ///
    /// # Errors
    /// [`FsError::NoEntry`] if there is none; if its page is damaged.
    pub fn node_mut(&mut self, number: u64) -> Result<&mut Node, FsError> {
        if !self.active.nodes.contains_key(&number) {
            let up = |inode: &Inode, target: &[u8], xattrs: &XattrSet| Node {
                inode: inode.clone(),
                target: target.into(),
                xattrs: xattrs.clone(),
                inherited: if inode.kind() == Some(Kind::File) { inode.size } else { 0 },
                ..Node::default()
            };
            let mut node = self.inode(number, up)?;
            // Of a root, its inode says how much is holes.
            if let Some(below) = self.under(number).node(number) {
                node.inode.holes = below.holes();
            }
            let times = node.inode.times.unwrap_or((node.inode.mtime, node.inode.mtime));
            node.inode.times = Some(times);
            self.active.set_node(number, node);
        }
        self.active.node_mut(number).filter(|node| node.is_there()).ok_or(FsError::NoEntry)
    }

    /// Where bytes `from..to` of a file are; they must be within its size.
    #[must_use]
    pub fn spans(&self, number: u64, from: u64, to: u64) -> Vec<Span> {
        let mut spans = Vec::new();
        let under = self.under(number);
        match self.active.nodes.get(&number) {
            None => under.spans(number, from, to, &mut spans),
            Some(node) => over(node, &self.active, from, to, &mut spans, |from, to, spans| {
                under.spans(number, from, to, spans);
            }),
        }
        spans
    }
}

//! Blocks on their way from one place to another.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::super::numbers::{Numbers, Stretch};
use crate::format::Id;
use crate::index::{FrameId, Missing};
use crate::ingest::Homes;
use crate::store::{self, Store};

/// A block, by its place in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block {
    /// The segment's place in the index.
    pub segment: u32,
    /// Ordinal of the block there.
    pub local: u32,
}

/// A block of a file, and whether it is the first time that it comes.
pub type Coming = (Block, bool);

/// Where blocks come from, and what those that were read are called.
pub struct Moving<'a> {
    store: &'a Store,
    homes: Vec<Id>,
    /// Of each segment, which numbers lead to it: in the order of its blocks.
    stretches: Vec<Vec<Stretch>>,
    /// The longest of these.
    longest: u32,
    names: Mutex<Names>,
}

/// What blocks are called, and which are called so.
#[derive(Default)]
struct Names {
    blocks: HashMap<Id, Vec<Block>>,
    names: HashMap<Block, Id>,
}

impl<'a> Moving<'a> {
    /// Out of that store.
    pub fn new(store: &'a Store) -> Self {
        let numbers = Numbers::of(store.index());
        let mut stretches = vec![Vec::new(); store.index().segments().len()];
        let longest = numbers.stretches.iter().map(|it| it.count).max().unwrap_or(0);
        for stretch in numbers.stretches {
            stretches[stretch.segment as usize].push(stretch);
        }
        stretches.iter_mut().for_each(|all| all.sort_by_key(|it| (it.local, it.home, it.first)));
        Self { store, homes: numbers.homes, stretches, longest, names: Mutex::default() }
    }

    /// Appends the bytes of a block.
    ///
    /// # Errors
    /// If its frame cannot be read.
    pub fn read(&self, block: Block, bytes: &mut Vec<u8>) -> Result<(), store::Error> {
        let missing = || store::Error::new(&self.store.name(), Missing);
        let segment = self.store.index().segments().get(block.segment as usize);
        let segment = segment.ok_or_else(missing)?;
        let (frame, offset) = segment.locate(block.local).ok_or_else(missing)?;
        let length = segment.length(block.local as usize);
        let frame = u32::try_from(frame).map_err(|_| missing())?;
        let id = FrameId { segment: block.segment, frame };
        let (record, _) = self.store.index().frame(id).ok_or_else(missing)?;
        let end = offset.checked_add(length).ok_or_else(missing)?;
        let frame = self.store.frame(id, record.inflated, end)?;
        let range = offset as usize..end as usize;
        let copied = self.store.reach(id, &frame, end, |inflated| {
            inflated.get(range).map(|block| bytes.extend_from_slice(block))
        })?;
        copied.ok_or_else(missing)
    }

    /// What the block that was read is called.
    pub fn named(&self, name: Id, block: Block) {
        let mut names = self.names.lock();
        names.blocks.entry(name).or_default().push(block);
        names.names.insert(block, name);
    }

    /// Tells each block that was read.
    pub fn each_read(&self, each: impl FnMut(Block)) {
        self.names.lock().names.keys().copied().for_each(each);
    }

    /// What a block is called, if it was read.
    pub fn name(&self, block: Block) -> Option<Id> {
        self.names.lock().names.get(&block).copied()
    }

    /// How long a block is, in bytes.
    pub fn length(&self, block: Block) -> u32 {
        let segment = &self.store.index().segments()[block.segment as usize];
        segment.length(block.local as usize)
    }
}

impl Homes for Moving<'_> {
    fn numbers(&self, name: &Id, each: &mut dyn FnMut(Id, u32)) {
        let blocks = self.names.lock().blocks.get(name).cloned().unwrap_or_default();
        for Block { segment, local } in blocks {
            let stretches = &self.stretches[segment as usize];
            let end = stretches.partition_point(|stretch| stretch.local <= local);
            for stretch in stretches[..end].iter().rev() {
                let Some(into) = local.checked_sub(stretch.local) else { continue };
                // Those before begin even earlier, and none is longer than that.
                if into >= self.longest {
                    break;
                }
                if into < stretch.count {
                    each(self.homes[stretch.home as usize], stretch.first + into);
                }
            }
        }
    }
}

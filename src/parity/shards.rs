//! Objects as one row of shards.

use std::ops::Range;

use crate::format::Protected;
use crate::storage::{Storage, StorageError};

/// The data shards of some objects: each begins with a shard of its own, and the last one of each
/// goes on with zeros.
#[derive(Debug)]
pub(super) struct Shards<'a> {
    storage: &'a dyn Storage,
    members: &'a [Protected],
    /// Length of a shard, in bytes.
    pub(super) length: usize,
    /// The first shard of each member, and their count.
    starts: Vec<usize>,
}

impl<'a> Shards<'a> {
    pub(super) fn new(storage: &'a dyn Storage, members: &'a [Protected], length: usize) -> Self {
        let mut starts = Vec::with_capacity(members.len() + 1);
        let mut at = 0;
        starts.push(at);
        for member in members {
            at += member.shards(length);
            starts.push(at);
        }
        Self { storage, members, length, starts }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Those of a member.
    pub(super) fn of(&self, member: usize) -> Range<usize> {
        self.starts[member]..self.starts[member + 1]
    }

    /// The member that a shard is of.
    pub(super) fn member(&self, shard: usize) -> usize {
        // Members of no bytes have no shards: the last that begins there is it.
        self.starts.partition_point(|start| *start <= shard).saturating_sub(1)
    }

    /// The bytes of a shard in `part` of it; where its object has ended, zeros.
    ///
    /// # Errors
    /// If the object is missing, shorter than it should be, or cannot be read.
    pub(super) fn read(&self, shard: usize, part: Range<usize>) -> Result<Vec<u8>, StorageError> {
        let at = self.member(shard);
        let member = &self.members[at];
        let begin = (shard - self.starts[at]) as u64 * self.length as u64 + part.start as u64;
        let there = member.length.saturating_sub(begin);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(part.len());
        let mut bytes = match there {
            0 => Vec::new(),
            _ => self.storage.get_range(&member.key, begin, there)?,
        };
        bytes.resize(part.len(), 0);
        Ok(bytes)
    }
}

//! Drops blocks that are known, and gathers new ones into frames; one thread, in source order.

use std::collections::HashMap;

use super::CreateError;
use super::catalog::Stretch;
use super::feed::{Batch, End, Item};
use super::known::Known;
use crate::format::{Id, MAX_FRAME_BLOCKS, MAX_RUN};
use crate::monitor::Monitor;

/// A frame's worth of new blocks.
#[derive(Debug)]
pub struct RawFrame {
    /// Their bytes, one after another.
    pub bytes: Vec<u8>,
    /// Their lengths and names.
    pub blocks: Vec<(u32, Id)>,
}

/// How a file came out.
#[derive(Debug)]
pub struct Outcome {
    /// How its reading ended.
    pub end: End,
    /// Where its data lies.
    pub stretches: Vec<Stretch>,
}

/// What was dropped because it was known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Savings {
    /// Files that are the same as an earlier one all through.
    pub files: u64,
    /// Bytes of blocks that were known, those of such files included.
    pub bytes: u64,
    /// Bytes of blocks that were new.
    pub unique: u64,
}

/// Takes batches in source order, and puts out frames in the order of their blocks.
pub struct Filler<'a, F> {
    monitor: &'a dyn Monitor,
    frame_size: usize,
    put: F,
    known: Known,
    digests: HashMap<Id, Vec<Stretch>>,
    frame: RawFrame,
    stretches: Vec<Stretch>,
    fresh: bool,
    /// How the files came out, in order.
    pub outcomes: Vec<Outcome>,
    /// What was dropped.
    pub savings: Savings,
}

impl<'a, F: FnMut(RawFrame) -> Result<(), CreateError>> Filler<'a, F> {
    /// A filler that hands frames of about `frame_size` bytes to `put`.
    pub fn new(monitor: &'a dyn Monitor, frame_size: usize, put: F) -> Self {
        Self {
            monitor,
            frame_size,
            put,
            known: Known::default(),
            digests: HashMap::new(),
            frame: RawFrame { bytes: Vec::new(), blocks: Vec::new() },
            stretches: Vec::new(),
            fresh: false,
            outcomes: Vec::new(),
            savings: Savings::default(),
        }
    }

    /// Takes the next batch.
    ///
    /// # Errors
    /// If there are too many blocks, the monitor says stop, or what `put` fails with.
    pub fn take(&mut self, batch: Batch) -> Result<(), CreateError> {
        if self.monitor.cancelled() {
            return Err(CreateError::Cancelled);
        }
        let mut at = 0;
        let (mut files, mut bytes) = (0, 0);
        for item in batch.items {
            match item {
                Item::Block(length, name) => {
                    let next = at + length as usize;
                    self.block(&batch.data[at..next], length, name)?;
                    bytes += u64::from(length);
                    at = next;
                }
                Item::Hole(length) => {
                    self.stretches.push(Stretch { bytes: length, first: 0, count: 0 });
                    bytes += length;
                }
                Item::Same(digest) => {
                    // Its first reader is earlier in the source, so it is here by now.
                    self.stretches = self.digests.get(&digest).cloned().unwrap_or_default();
                    let same: u64 = self.stretches.iter().map(|stretch| stretch.bytes).sum();
                    self.savings.bytes += same;
                    bytes += same;
                }
                Item::End(end) => {
                    files += 1;
                    self.end(end);
                }
            }
        }
        self.monitor.advance(files, bytes);
        Ok(())
    }

    fn block(&mut self, data: &[u8], length: u32, name: Id) -> Result<(), CreateError> {
        let (number, new) = self.known.number(name).ok_or(CreateError::TooManyBlocks)?;
        if new {
            self.savings.unique += u64::from(length);
            self.fresh = true;
            self.add(data, length, name)?;
        } else {
            self.savings.bytes += u64::from(length);
        }
        match self.stretches.last_mut() {
            Some(last)
                if last.count > 0 && last.count < MAX_RUN && last.first + last.count == number =>
            {
                last.count += 1;
                last.bytes += u64::from(length);
            }
            _ => self.stretches.push(Stretch { bytes: u64::from(length), first: number, count: 1 }),
        }
        Ok(())
    }

    fn add(&mut self, data: &[u8], length: u32, name: Id) -> Result<(), CreateError> {
        let blocks = self.frame.blocks.len();
        let full = self.frame.bytes.len() + data.len() > self.frame_size;
        if blocks > 0 && (full || blocks == MAX_FRAME_BLOCKS as usize) {
            self.end_frame()?;
        }
        self.frame.bytes.extend_from_slice(data);
        self.frame.blocks.push((length, name));
        Ok(())
    }

    fn end_frame(&mut self) -> Result<(), CreateError> {
        let bytes = Vec::with_capacity(self.frame_size);
        let next = RawFrame { bytes, blocks: Vec::new() };
        (self.put)(std::mem::replace(&mut self.frame, next))
    }

    fn end(&mut self, end: End) {
        let stretches = std::mem::take(&mut self.stretches);
        let has_data = stretches.iter().any(|stretch| stretch.count > 0);
        if !std::mem::take(&mut self.fresh) && has_data {
            self.savings.files += 1;
        }
        if let Some(digest) = end.digest {
            self.digests.insert(digest, stretches.clone());
        }
        self.outcomes.push(Outcome { end, stretches });
    }

    /// Puts out the last frame.
    ///
    /// # Errors
    /// What `put` fails with.
    pub fn finish(&mut self) -> Result<(), CreateError> {
        if self.frame.blocks.is_empty() { Ok(()) } else { self.end_frame() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Quiet;

    fn end(file: u32) -> Item {
        Item::End(End { file, digest: None, trouble: None })
    }

    #[test]
    fn known_blocks_are_dropped_and_runs_join() {
        let monitor = Quiet::default();
        let mut frames = Vec::new();
        let mut filler = Filler::new(&monitor, 8, |frame| {
            frames.push(frame.bytes);
            Ok(())
        });
        let block = |name| Item::Block(4, [name; 32]);
        let items =
            vec![block(1), block(2), block(3), end(5), block(2), block(3), block(1), end(6)];
        filler.take(Batch { items, data: b"aaaabbbbccccbbbbccccaaaa".to_vec() }).unwrap();
        filler.finish().unwrap();
        let stretch = |bytes, first, count| Stretch { bytes, first, count };
        assert_eq!(filler.outcomes[0].stretches, [stretch(12, 0, 3)]);
        assert_eq!(filler.outcomes[1].stretches, [stretch(8, 1, 2), stretch(4, 0, 1)]);
        assert_eq!(filler.savings, Savings { files: 1, bytes: 12, unique: 12 });
        drop(filler);
        assert_eq!(frames, [b"aaaabbbb".to_vec(), b"cccc".to_vec()]);
    }
}

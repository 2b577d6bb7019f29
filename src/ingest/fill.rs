//! Drops blocks that are known, and gathers new ones into frames; one thread, in source order.

use std::collections::HashMap;

use super::CreateError;
use super::catalog::Stretch;
use super::feed::{Batch, End, Item};
use super::known::{Known, Place};
use super::window::Window;
use crate::format::{Id, MAX_FRAME_BLOCKS, MAX_RUN};
use crate::monitor::Monitor;

/// So many known bytes for each new one make what is new rare: it is worth more time.
const DENSE: u64 = 2;

/// A frame's worth of new blocks.
#[derive(Debug, Default)]
pub struct RawFrame {
    /// Their bytes, one after another.
    pub bytes: Vec<u8>,
    /// Their lengths and names.
    pub blocks: Vec<(u32, Id)>,
    /// Whether most of the source was known so far.
    pub dense: bool,
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
    /// Where new blocks wait for those that are like them, if they do.
    window: Option<Window>,
    /// Of each new block, in the order they came: its number in the order of packing, and its
    /// length. Empty if the order is the same.
    places: Vec<(u32, u32)>,
    /// How many blocks were packed.
    packed: u32,
    stretches: Vec<Stretch>,
    fresh: bool,
    /// How the files came out, in order.
    outcomes: Vec<Outcome>,
    /// What was dropped.
    savings: Savings,
}

impl<'a, F: FnMut(RawFrame) -> Result<(), CreateError>> Filler<'a, F> {
    /// A filler that drops what is `known`, hands frames of about `frame_size` bytes to `put`, and
    /// gathers what is alike within `window`, if there is one.
    pub fn new(
        monitor: &'a dyn Monitor,
        known: Known,
        frame_size: usize,
        window: Option<Window>,
        put: F,
    ) -> Self {
        Self {
            monitor,
            frame_size,
            put,
            known,
            digests: HashMap::new(),
            frame: RawFrame::default(),
            window,
            places: Vec::new(),
            packed: 0,
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
                Item::Again(length, name) => {
                    let place = self.known.find(name).ok_or(CreateError::Thread)?;
                    self.again(place);
                    extend(&mut self.stretches, place, length);
                }
                Item::Hole(length) => {
                    self.stretches.push(hole(length));
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
        let (place, new) = self.known.place(name).ok_or(CreateError::TooManyBlocks)?;
        if new {
            self.savings.unique += u64::from(length);
            self.fresh = true;
            self.add(data, name)?;
        } else {
            self.savings.bytes += u64::from(length);
            self.again(place);
        }
        extend(&mut self.stretches, place, length);
        Ok(())
    }

    /// A block came that is known: what comes next belongs near to it.
    fn again(&mut self, place: Place) {
        if self.known.came_in(place) {
            self.window.iter_mut().for_each(|window| window.passed(place.number));
        }
    }

    fn add(&mut self, data: &[u8], name: Id) -> Result<(), CreateError> {
        match &self.window {
            None => return self.pack(data, name),
            Some(window) if window.is_full(data.len()) => self.drain()?,
            Some(_) => {}
        }
        self.window.iter_mut().for_each(|window| window.add(data, name));
        Ok(())
    }

    /// Packs what the window holds.
    fn drain(&mut self) -> Result<(), CreateError> {
        let Some(mut window) = self.window.take() else { return Ok(()) };
        let room = self.frame_size.saturating_sub(self.frame.bytes.len());
        window.drain(self.frame_size, room, |number, data, name, ends| {
            let number = number as usize;
            if self.places.len() <= number {
                self.places.resize(number + 1, (0, 0));
            }
            self.places[number] = (self.packed, block_length(data));
            self.pack(data, name)?;
            if ends { self.end_frame() } else { Ok(()) }
        })?;
        self.window = Some(window);
        Ok(())
    }

    fn pack(&mut self, data: &[u8], name: Id) -> Result<(), CreateError> {
        let blocks = self.frame.blocks.len();
        let full = self.frame.bytes.len() + data.len() > self.frame_size;
        if blocks > 0 && (full || blocks == MAX_FRAME_BLOCKS as usize) {
            self.end_frame()?;
        }
        self.frame.bytes.extend_from_slice(data);
        self.frame.blocks.push((block_length(data), name));
        self.known.packed(&name, self.packed);
        self.packed += 1;
        Ok(())
    }

    fn end_frame(&mut self) -> Result<(), CreateError> {
        let bytes = Vec::with_capacity(self.frame_size);
        let next = RawFrame { bytes, ..RawFrame::default() };
        let mut frame = std::mem::replace(&mut self.frame, next);
        frame.dense = self.savings.bytes >= self.savings.unique * DENSE;
        (self.put)(frame)
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
        self.window.iter_mut().for_each(Window::end_file);
        self.outcomes.push(Outcome { end, stretches });
    }

    /// Puts out what is left; how the files came out, and what was dropped.
    ///
    /// # Errors
    /// What `put` fails with.
    pub fn finish(mut self) -> Result<(Vec<Outcome>, Savings, Known), CreateError> {
        self.drain()?;
        if !self.frame.blocks.is_empty() {
            self.end_frame()?;
        }
        if !self.places.is_empty() {
            for outcome in &mut self.outcomes {
                outcome.stretches = placed(&outcome.stretches, &self.known, &self.places);
            }
        }
        Ok((self.outcomes, self.savings, self.known))
    }
}

/// Stretches of new blocks numbered in the order they came, as stretches of the order of packing.
fn placed(stretches: &[Stretch], known: &Known, places: &[(u32, u32)]) -> Vec<Stretch> {
    let mut packed = Vec::with_capacity(stretches.len());
    for stretch in stretches {
        let Stretch { origin, first, count, .. } = *stretch;
        if !known.came_in(Place { origin, number: first }) {
            packed.push(*stretch);
            continue;
        }
        let first = first as usize;
        for (number, length) in &places[first..first + count as usize] {
            extend(&mut packed, Place { origin, number: *number }, *length);
        }
    }
    packed
}

/// A stretch without data.
fn hole(bytes: u64) -> Stretch {
    Stretch { bytes, origin: 0, first: 0, count: 0 }
}

/// Adds a block to stretches: to the last one, if it goes on from there.
fn extend(stretches: &mut Vec<Stretch>, place: Place, length: u32) {
    let bytes = u64::from(length);
    let Place { origin, number } = place;
    let goes_on = |last: &Stretch| {
        last.origin == origin && last.count < MAX_RUN && last.first + last.count == number
    };
    match stretches.last_mut().filter(|last| goes_on(last)) {
        Some(last) => {
            last.count += 1;
            last.bytes += bytes;
        }
        None => stretches.push(Stretch { bytes, origin, first: number, count: 1 }),
    }
}

fn block_length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
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
        let mut filler = Filler::new(&monitor, Known::default(), 8, None, |frame| {
            frames.push(frame.bytes);
            Ok(())
        });
        let block = |name| Item::Block(4, [name; 32]);
        let items =
            vec![block(1), block(2), block(3), end(5), block(2), block(3), block(1), end(6)];
        filler.take(Batch { items, data: b"aaaabbbbccccbbbbccccaaaa".to_vec() }).unwrap();
        let (outcomes, savings, _) = filler.finish().unwrap();
        let stretch = |bytes, first, count| Stretch { bytes, origin: 1, first, count };
        assert_eq!(outcomes[0].stretches, [stretch(12, 0, 3)]);
        assert_eq!(outcomes[1].stretches, [stretch(8, 1, 2), stretch(4, 0, 1)]);
        assert_eq!(savings, Savings { files: 1, bytes: 12, unique: 12 });
        assert_eq!(frames, [b"aaaabbbb".to_vec(), b"cccc".to_vec()]);
    }

    #[test]
    fn stretches_follow_their_blocks() {
        let stretch = |bytes, first, count| Stretch { bytes, origin: 2, first, count };
        let places = [(0, 10), (3, 11), (1, 12), (2, 13)];
        let (hole, old) = (hole(5), Stretch { bytes: 7, origin: 1, first: 0, count: 1 });
        let came = [stretch(33, 0, 3), hole, old, stretch(13, 3, 1)];
        let packed = [stretch(10, 0, 1), stretch(11, 3, 1), stretch(12, 1, 1), hole, old];
        let known = Known::new(2);
        assert_eq!(placed(&came, &known, &places), [&packed[..], &[stretch(13, 2, 1)]].concat());
        assert_eq!(placed(&[stretch(25, 2, 2)], &known, &places), [stretch(25, 1, 2)]);
    }

    #[test]
    fn files_whose_blocks_leave_the_window_at_different_times_keep_them() {
        let monitor = Quiet::default();
        let mut packed: Vec<u8> = Vec::new();
        let mut filler =
            Filler::new(&monitor, Known::default(), 8, Some(Window::new(10, true)), |frame| {
                packed.extend(frame.blocks.iter().map(|(_, name)| name[0]));
                Ok(())
            });
        let block = |name| Item::Block(4, [name; 32]);
        let digest = Some([99; 32]);
        // The window is drained after two blocks, and after four.
        let mut items: Vec<Item> = (1..=5).map(block).collect();
        items.push(Item::End(End { file: 0, digest, trouble: None }));
        items.extend([block(4), Item::Hole(7), block(1), block(6), block(5), end(1)]);
        items.extend([Item::Same([99; 32]), end(2)]);
        let data = [1, 2, 3, 4, 5, 4, 1, 6, 5].into_iter().flat_map(|n| [n; 4]).collect();
        filler.take(Batch { items, data }).unwrap();
        let (outcomes, ..) = filler.finish().unwrap();
        let names = |outcome: &Outcome| -> Vec<u8> {
            let of = |stretch: &Stretch| match stretch.count {
                0 => vec![0],
                count => packed[stretch.first as usize..(stretch.first + count) as usize].to_vec(),
            };
            outcome.stretches.iter().flat_map(of).collect()
        };
        let all: Vec<_> = outcomes.iter().map(names).collect();
        assert_eq!(all, [vec![1, 2, 3, 4, 5], vec![4, 0, 1, 6, 5], vec![1, 2, 3, 4, 5]]);
    }
}

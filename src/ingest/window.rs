//! Holds new blocks back, many packs' worth at a time, and puts those side by side that are alike:
//! what is alike shrinks only within a frame.
//!
//! Versions of a large file lie far apart however files are ordered. So blocks gather in segments:
//! each goes to the segment that most samples of its bytes were seen in before, and one that is
//! like nothing goes where the block before it went, until that segment is full. Samples are taken
//! where a rolling hash says so, and thus move along with what is inserted or removed.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::format::{Id, MAX_FRAME_BLOCKS};

/// Bytes that are like nothing before and yet go into one segment.
const SEGMENT: u64 = 64 << 10;
/// One position in so many, on average, is sampled.
const SAMPLED: u64 = 256;
/// A block is like a segment that has seen so many of its samples, at least,
const VOTES: usize = 2;
/// and one part in so many of them.
const SHARE: usize = 8;

/// A new block that is held back.
#[derive(Debug)]
struct Held {
    at: usize,
    length: u32,
    name: Id,
    segment: u32,
    file: u32,
}

/// New blocks on their way to a frame.
#[derive(Debug)]
pub struct Window {
    /// Bytes that it holds at most.
    room: usize,
    by_file: bool,
    bytes: Vec<u8>,
    held: Vec<Held>,
    segments: Segments,
    /// How many blocks went through before those that are held.
    before: u32,
    /// How many files came to their end.
    files: u32,
}

impl Window {
    /// A window for so many bytes; `by_file` is how blocks lie in a frame: else next to those that
    /// are like them, which is smaller in long frames.
    pub fn new(room: usize, by_file: bool) -> Self {
        let segments = Segments::default();
        let (bytes, held) = (Vec::new(), Vec::new());
        Self { room, by_file, bytes, held, segments, before: 0, files: 0 }
    }

    /// Whether a block of that length must wait until the window is drained.
    pub fn is_full(&self, length: usize) -> bool {
        !self.held.is_empty() && self.bytes.len() + length > self.room
    }

    /// Takes a new block in.
    pub fn add(&mut self, data: &[u8], name: Id) {
        let at = self.bytes.len();
        if at == 0 {
            self.bytes.reserve_exact(self.room.max(data.len()));
        }
        self.bytes.extend_from_slice(data);
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let segment = self.segments.choose(data);
        self.held.push(Held { at, length, name, segment, file: self.files });
    }

    /// A block came that is known; `number` is its place among all new blocks.
    pub fn passed(&mut self, number: u32) {
        let held = number.checked_sub(self.before).and_then(|at| self.held.get(at as usize));
        if let Some(held) = held {
            self.segments.current = Some(held.segment);
        }
    }

    /// The file ended: what comes next has nothing to do with it.
    pub fn end_file(&mut self) {
        self.segments.current = None;
        self.files = self.files.wrapping_add(1);
    }

    /// Gives up what it holds, in the order to pack it: the place of each among all new blocks, its
    /// bytes and its name, and whether a frame ends with it. Frames are of `frame_size` bytes, and
    /// have room for so many more in the first.
    ///
    /// File by file, the last file comes first: who reads one of many versions has to inflate a
    /// frame only up to where that version ends, and the newest are read most.
    ///
    /// # Errors
    /// What `each` fails with.
    pub fn drain<E>(
        &mut self,
        frame_size: usize,
        room: usize,
        mut each: impl FnMut(u32, &[u8], Id, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        let ranks = std::mem::take(&mut self.segments).ranks();
        let mut order: Vec<u32> = (0..u32::try_from(self.held.len()).unwrap_or(u32::MAX)).collect();
        order.sort_by_key(|at| ranks[self.held[*at as usize].segment as usize]);
        let mut left = order.as_mut_slice();
        // A block that does not fit is the first of the next frame.
        let first = left.first().map_or(0, |at| self.held[*at as usize].length as usize);
        let mut room = if first > room { frame_size } else { room };
        while !left.is_empty() {
            let fits = self.fits(left, room);
            let (frame, rest) = left.split_at_mut(fits);
            if self.by_file {
                frame.sort_by_key(|at| (Reverse(self.held[*at as usize].file), *at));
            }
            for (place, at) in frame.iter().enumerate() {
                let held = &self.held[*at as usize];
                let data = &self.bytes[held.at..held.at + held.length as usize];
                let ends = !rest.is_empty() && place + 1 == fits;
                each(self.before + at, data, held.name, ends)?;
            }
            (left, room) = (rest, frame_size);
        }
        self.before += u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        self.bytes.clear();
        self.held.clear();
        Ok(())
    }

    /// How many of these blocks go into so many bytes, but one at least.
    fn fits(&self, order: &[u32], room: usize) -> usize {
        let mut bytes = 0;
        let over = order.iter().position(|at| {
            bytes += self.held[*at as usize].length as usize;
            bytes > room
        });
        over.unwrap_or(order.len()).clamp(1, MAX_FRAME_BLOCKS as usize)
    }
}

/// Segments, in a list: one that begins next to another is packed next to it.
#[derive(Debug, Default)]
struct Segments {
    /// Of each, the bytes that came to it unlike anything before, and which comes after it.
    all: Vec<(u64, Option<u32>)>,
    /// The one at the end of the list.
    last: Option<u32>,
    /// The one that the block before went to, unless a file began since.
    current: Option<u32>,
    /// Which segment has seen a sample, most recently.
    seen: HashMap<u32, u32, BuildHasherDefault<Mixed>>,
    samples: Vec<u32>,
    votes: Vec<u32>,
}

impl Segments {
    /// The segment for a block.
    fn choose(&mut self, data: &[u8]) -> u32 {
        sample(data, &mut self.samples);
        let segment = match (self.most_alike(), self.current) {
            (Some(alike), _) => alike,
            (None, Some(current)) if self.all[current as usize].0 < SEGMENT => {
                self.all[current as usize].0 += data.len() as u64;
                current
            }
            (None, after) => self.begin(after, data.len() as u64),
        };
        self.seen.extend(self.samples.drain(..).map(|sample| (sample, segment)));
        self.current = Some(segment);
        segment
    }

    /// The segment that has seen most of the samples, the first of several; `None` if none has seen
    /// enough.
    fn most_alike(&mut self) -> Option<u32> {
        self.votes.clear();
        self.votes.extend(self.samples.iter().filter_map(|sample| self.seen.get(sample)));
        self.votes.sort_unstable();
        let most = self.votes.chunk_by(|a, b| a == b).rev().max_by_key(|votes| votes.len())?;
        let enough = most.len() >= VOTES && most.len() * SHARE >= self.samples.len();
        enough.then_some(most[0])
    }

    /// A new segment, next to another or at the end.
    fn begin(&mut self, after: Option<u32>, bytes: u64) -> u32 {
        let new = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let after = after.or(self.last);
        let next = after.and_then(|after| self.all[after as usize].1.replace(new));
        if next.is_none() {
            self.last = Some(new);
        }
        self.all.push((bytes, next));
        new
    }

    /// The place of each in the list.
    fn ranks(self) -> Vec<u32> {
        let mut ranks = vec![0; self.all.len()];
        // The first to begin stays the first: others begin after one.
        let mut at = if self.all.is_empty() { None } else { Some(0) };
        let mut rank = 0;
        while let Some(segment) = at {
            ranks[segment as usize] = rank;
            rank += 1;
            at = self.all[segment as usize].1;
        }
        ranks
    }
}

/// Collects samples of a block: a hash of the bytes before each position that the hash chooses.
///
/// The hash is the gear hash of W. Xia et al., "Ddelta: A deduplication-inspired fast delta
/// compression approach" (2014): each byte shifts out what lies 64 bytes back.
fn sample(data: &[u8], samples: &mut Vec<u32>) {
    samples.clear();
    let mut hash = 0u64;
    for byte in data {
        hash = (hash << 1).wrapping_add(GEAR[*byte as usize]);
        if (hash >> 40).is_multiple_of(SAMPLED) {
            // Not those bits that are 0 in all samples.
            let [_, a, b, c, d, ..] = hash.to_le_bytes();
            samples.push(u32::from_le_bytes([a, b, c, d]));
        }
    }
}

/// A random number for each byte: the same ones in every build of packfs.
static GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut at = 0;
    while at < table.len() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        table[at] = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        at += 1;
    }
    table
};

/// Hashes what is a hash already.
#[derive(Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look random, the same for the same seed.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[7]
        };
        (0..length).map(|_| next()).collect()
    }

    /// Drains a window into frames of that size; the places in the order of packing.
    fn drained(window: &mut Window, frame_size: usize) -> Vec<u32> {
        let (mut places, mut bytes) = (Vec::new(), 0);
        let each = |place, data: &[u8], _, ends| {
            places.push(place);
            bytes += data.len();
            assert!(bytes <= frame_size.max(data.len()), "more than fits into a frame");
            if ends {
                bytes = 0;
            }
            Ok::<(), ()>(())
        };
        window.drain(frame_size, frame_size, each).unwrap();
        places
    }

    /// Of three versions of twenty blocks, the places in the order of packing.
    fn three_versions(by_file: bool) -> Vec<u32> {
        let mut window = Window::new(1 << 24, by_file);
        for version in 0..3u8 {
            for block in 0..20 {
                let mut data = noise(block, 16 << 10);
                data[100] = version;
                data.insert(9000, version);
                window.add(&data, [version; 32]);
            }
            window.end_file();
        }
        drained(&mut window, 12 * ((16 << 10) + 1))
    }

    #[test]
    fn versions_of_a_block_come_side_by_side() {
        // Segments hold four blocks, and a frame what three versions have in one of them.
        let expected = |versions: [u32; 3]| -> Vec<u32> {
            let segment = |segment: u32| versions.map(|version| version * 20 + segment * 4);
            let blocks = (0..5).flat_map(segment).flat_map(|first| first..first + 4);
            blocks.collect()
        };
        assert_eq!(three_versions(false), expected([0, 1, 2]), "in the order in which they came");
        assert_eq!(three_versions(true), expected([2, 1, 0]), "the newest first");
    }

    #[test]
    fn what_is_like_nothing_keeps_its_order() {
        let mut window = Window::new(1 << 24, true);
        for block in 0..50 {
            window.add(&noise(block, 10 << 10), [0; 32]);
            if block % 7 == 0 {
                window.end_file();
            }
        }
        assert_eq!(drained(&mut window, 1), (0..50).collect::<Vec<u32>>());
    }

    #[test]
    fn what_is_inserted_comes_next_to_its_neighbour() {
        let mut window = Window::new(1 << 24, true);
        for block in 0..10 {
            window.add(&noise(block, 64 << 10), [0; 32]);
        }
        window.end_file();
        // The second version: two known blocks, and between them a new one.
        window.passed(3);
        window.add(&noise(99, 64 << 10), [0; 32]);
        window.passed(4);
        assert_eq!(drained(&mut window, 1), [0, 1, 2, 3, 10, 4, 5, 6, 7, 8, 9]);
        // Places go on, and what was drained is forgotten.
        window.passed(3);
        window.add(&noise(3, 100), [0; 32]);
        assert_eq!(drained(&mut window, 1), [11]);
    }

    #[test]
    fn a_window_is_full_when_the_next_block_does_not_fit() {
        let mut window = Window::new(1000, true);
        assert!(!window.is_full(5000), "one block always fits");
        window.add(&[0; 600], [0; 32]);
        assert!(!window.is_full(400));
        assert!(window.is_full(401));
    }
}

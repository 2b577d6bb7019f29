//! Puts a pack together: frames one after another, then the footer that lists them.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::format::{BlockHash, Codec, FrameRecord, Id, PackFooter, Range, Section, seal, tail};

/// A pack being filled, in memory.
#[derive(Debug)]
pub struct PackWriter {
    bytes: Vec<u8>,
    inflated: u64,
    footer: PackFooter,
}

/// A pack that is whole.
#[derive(Debug)]
pub struct SealedPack {
    /// BLAKE3 of its bytes.
    pub id: Id,
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// What it says of itself.
    pub footer: PackFooter,
}

impl PackWriter {
    /// Begins the pack that follows `previous` in its chain (zeros: the first), whose first block
    /// is number `first_number` there.
    #[must_use]
    pub fn new(previous: Id, first_number: u32, hash: BlockHash, hash_len: usize) -> Self {
        let footer = PackFooter {
            previous,
            first_number,
            frames: Vec::new(),
            lengths: Vec::new(),
            hash,
            hashes: Vec::new(),
            hash_len,
            homes: Vec::new(),
            moved: Vec::new(),
        };
        Self { bytes: seal(Section::PackHead, &[], None).0, inflated: 0, footer }
    }

    /// Adds a frame: its stored bytes, and the lengths and full hashes of its blocks.
    pub fn add_frame(&mut self, codec: Codec, stored: &[u8], blocks: &[(u32, Id)]) {
        let inflated = blocks.iter().map(|(length, _)| length).sum();
        self.inflated += u64::from(inflated);
        self.footer.frames.push(FrameRecord {
            offset: self.bytes.len() as u64,
            stored: u32::try_from(stored.len()).unwrap_or(u32::MAX),
            inflated,
            first_block: u32::try_from(self.footer.lengths.len()).unwrap_or(u32::MAX),
            codec,
            checksum: xxh3_64(stored),
        });
        self.bytes.extend(stored);
        for (length, hash) in blocks {
            self.footer.lengths.push(*length);
            self.footer.hashes.extend(&hash[..self.footer.hash_len]);
        }
    }

    /// Bytes of its frames once inflated.
    #[must_use]
    pub fn inflated(&self) -> u64 {
        self.inflated
    }

    /// Whether no frame was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.footer.frames.is_empty()
    }

    /// How many blocks were added.
    #[must_use]
    pub fn block_count(&self) -> u32 {
        u32::try_from(self.footer.lengths.len()).unwrap_or(u32::MAX)
    }

    /// Says under which numbers of other chains its blocks are known: origin, number, and ordinal
    /// of the block here. A pack of which that is said belongs to no chain itself.
    pub fn moved(&mut self, mut numbers: Vec<(Id, u32, u32)>) {
        numbers.sort_unstable();
        let mut slots: HashMap<Id, u32> = HashMap::new();
        let PackFooter { homes, moved, .. } = &mut self.footer;
        for (home, first, local) in numbers {
            let home = *slots.entry(home).or_insert_with(|| {
                homes.push(home);
                u32::try_from(homes.len() - 1).unwrap_or(u32::MAX)
            });
            match moved.last_mut() {
                Some(last)
                    if last.home == home
                        && last.first + last.count == first
                        && last.local + last.count == local =>
                {
                    last.count += 1;
                }
                _ => moved.push(Range { home, first, count: 1, local }),
            }
        }
        (self.footer.previous, self.footer.first_number) = (Id::default(), 0);
    }

    /// A pack without blocks which says that the packs of the chain up to `previous` have numbers
    /// of these origins: the packs that would say so are gone. `first_number` is the number that a
    /// block after `previous` would have.
    #[must_use]
    pub fn link(
        previous: Id,
        first_number: u32,
        homes: Vec<Id>,
        (hash, hash_len): (BlockHash, usize),
    ) -> SealedPack {
        let mut link = Self::new(previous, first_number, hash, hash_len);
        link.footer.homes = homes;
        link.seal()
    }

    /// Ends the pack.
    #[must_use]
    pub fn seal(mut self) -> SealedPack {
        let footer = self.footer.encode();
        let at = self.bytes.len() as u64;
        self.bytes.extend(&footer);
        self.bytes.extend(tail(at, footer.len() as u64));
        let id = *blake3::hash(&self.bytes).as_bytes();
        SealedPack { id, bytes: self.bytes, footer: self.footer }
    }
}

//! Packs of blocks that were lost and found again, under the numbers that they had.

use xxhash_rust::xxh3::xxh3_64;

use crate::format::{Codec, Config, FrameRecord, Id, IndexBuilder, NO_PACK};
use crate::maintain::Error;
use crate::pack::{self, Compressor, Level, PackWriter};
use crate::storage::Storage;

/// Bytes of a frame, and of a pack, before compression.
const FRAME: usize = 1 << 20;
const PACK: u64 = 16 << 20;
/// Most blocks of a frame.
const BLOCKS: usize = crate::format::MAX_FRAME_BLOCKS as usize;

/// A number that a block has: its origin, and its place there.
pub(super) type Number = (Id, u32);

/// Packs being filled.
pub(super) struct Remade<'a> {
    storage: &'a dyn Storage,
    config: &'a Config,
    compressor: Compressor,
    index: IndexBuilder,
    pack: PackWriter,
    /// Of the pack: the numbers of its blocks, with their ordinals.
    numbers: Vec<(Id, u32, u32)>,
    /// Of the pack: other numbers that its blocks have.
    also: Vec<(Id, u32, u32)>,
    count: u32,
    bytes: Vec<u8>,
    blocks: Vec<(u32, Id)>,
}

impl<'a> Remade<'a> {
    pub(super) fn new(storage: &'a dyn Storage, config: &'a Config) -> Result<Self, Error> {
        let compressor = Compressor::new(Codec::Zstd, Level::default());
        let compressor =
            compressor.map_err(|error| Error::Pack(crate::ingest::CreateError::Memory(error)))?;
        let pack = new_pack(config);
        let (index, numbers, also, count, bytes, blocks) = Default::default();
        Ok(Self { storage, config, compressor, index, pack, numbers, also, count, bytes, blocks })
    }

    /// Adds a block under all numbers that it is to have.
    pub(super) fn add(&mut self, data: &[u8], name: Id, numbers: &[Number]) -> Result<(), Error> {
        let Some(((home, number), also)) = numbers.split_first() else { return Ok(()) };
        if self.bytes.len() + data.len() > FRAME || self.blocks.len() == BLOCKS {
            self.end_frame();
            if self.pack.inflated() >= PACK {
                self.end_pack()?;
            }
        }
        self.numbers.push((*home, *number, self.count));
        self.also.extend(also.iter().map(|(home, number)| (*home, *number, self.count)));
        self.count += 1;
        self.blocks.push((u32::try_from(data.len()).unwrap_or(u32::MAX), name));
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn end_frame(&mut self) {
        if self.blocks.is_empty() {
            return;
        }
        let (codec, stored) = self.compressor.compress(std::mem::take(&mut self.bytes), false);
        self.pack.add_frame(codec, &stored, &self.blocks);
        self.blocks.clear();
    }

    fn end_pack(&mut self) -> Result<(), Error> {
        self.end_frame();
        if self.pack.is_empty() {
            return Ok(());
        }
        let mut pack = std::mem::replace(&mut self.pack, new_pack(self.config));
        pack.moved(std::mem::take(&mut self.numbers));
        let sealed = pack.seal();
        self.storage.put(&pack::key(&sealed.id), &sealed.bytes)?;
        let first = self.index.block_count();
        let footer = &sealed.footer;
        let length = sealed.bytes.len() as u64;
        self.index.add_pack(sealed.id, length, &footer.frames, &footer.lengths);
        for range in &footer.moved {
            let Some(home) = footer.homes.get(range.home as usize) else { continue };
            self.index.add_range(*home, range.first, range.count, first + range.local);
        }
        for (home, number, local) in self.also.drain(..) {
            self.index.add_range(home, number, 1, first + local);
        }
        self.count = 0;
        Ok(())
    }

    /// States that blocks are lost: their lengths and numbers. The places that they had are no
    /// longer theirs, and they come back when somebody stores the same data again.
    pub(super) fn give_up(&mut self, lost: &[(u32, Vec<Number>)]) -> Result<(), Error> {
        self.end_pack()?;
        for frame in lost.chunks(BLOCKS / 8) {
            let lengths: Vec<u32> = frame.iter().map(|(length, _)| *length).collect();
            let first = self.index.block_count();
            let record = FrameRecord {
                offset: 0,
                stored: 0,
                inflated: lengths.iter().sum(),
                first_block: 0,
                codec: Codec::Zstd,
                // Tells it from others of its kind.
                checksum: mark(frame),
            };
            self.index.add_pack(NO_PACK, 0, &[record], &lengths);
            for ((_, numbers), local) in frame.iter().zip(first..) {
                for (home, number) in numbers {
                    self.index.add_range(*home, *number, 1, local);
                }
            }
        }
        Ok(())
    }

    /// The segment that says where all of it lies.
    pub(super) fn finish(mut self) -> Result<IndexBuilder, Error> {
        self.end_pack()?;
        Ok(self.index)
    }
}

/// Tells blocks that are given up apart: by the first of their numbers.
fn mark(lost: &[(u32, Vec<Number>)]) -> u64 {
    let number = lost.iter().flat_map(|(_, numbers)| numbers).next();
    let (home, number) = number.copied().unwrap_or_default();
    xxh3_64(&[&home[..], &number.to_le_bytes()].concat())
}

fn new_pack(config: &Config) -> PackWriter {
    PackWriter::new(Id::default(), 0, config.hash, config.hash_len.into())
}

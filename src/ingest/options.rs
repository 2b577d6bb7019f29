//! How an archive is made.

use super::cut::Cutter;
use super::order::Order;
use super::pipeline::Packing;
use crate::format::{BlockHash, Codec, Cutting, MAX_FRAME};
use crate::pack::Level;
use crate::parallel::processors;

/// Longest frame, unless it is given: a few fit into each shard of a working set.
const LONGEST_FRAME: usize = MAX_FRAME / 4;
/// From this level on, small is worth more than quick to read.
const SMALL_LEVEL: u8 = 8;
/// Bytes of new blocks within which those of versions are put side by side: a larger window makes
/// archives smaller, and reading one of many versions slower.
const WINDOW: usize = 256 << 20;

/// How an archive is made.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// How files are cut into blocks.
    pub cutting: Cutting,
    /// Which hash names blocks.
    pub hash: BlockHash,
    /// Bytes of each hash that are kept, 8 to 16. Half of BLAKE3 names a block for all time; 8 do
    /// to tell whether it is what it was, where nothing is added any more.
    pub hash_len: u8,
    /// How frames are compressed.
    pub codec: Codec,
    /// How hard.
    pub level: Level,
    /// What a cold read may cost; `None`: as the level suggests.
    pub seek: Option<Seek>,
    /// Bytes of a frame before compression; `None`: as `seek` has it.
    pub frame_size: Option<usize>,
    /// Bytes of a pack before compression.
    pub pack_size: u64,
    /// In which order files are packed; `None`: as the tree suggests. A tar is packed as it comes.
    pub order: Option<Order>,
    /// Recovery shards of a hundred data shards that the archive is to have; `None`: no parity.
    pub parity: Option<u8>,
    /// Threads that read, and threads that compress.
    pub threads: usize,
    /// Whether times of access and of change of the inode are kept.
    pub all_times: bool,
    /// When the root was made, in seconds since 1970; 0: not recorded.
    pub created: i64,
    /// The id of the store, 32 hexadecimal digits; `None` derives it from what is in it.
    pub store_id: Option<String>,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            cutting: Cutting { min: 2048, average: 8192, max: 65_536 },
            hash: BlockHash::Blake3,
            hash_len: 16,
            codec: Codec::Zstd,
            level: Level::default(),
            seek: None,
            frame_size: None,
            pack_size: 16 << 20,
            order: None,
            parity: None,
            threads: processors(),
            all_times: false,
            created: 0,
            store_id: None,
        }
    }
}

/// What a cold read may cost, against size: how much is compressed as one.
///
/// A cold read inflates on average half a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// Little: frames of 1 MiB at most.
    Fast,
    /// Nine frames in a pack; three, of versions of one another, which gain more from it.
    Balanced,
    /// Packs are one frame, up to 16 MiB.
    Small,
}

impl Seek {
    /// How many frames a pack has.
    fn frames(self, pack_size: u64, versions: bool) -> u64 {
        match (self, versions) {
            (Self::Fast, _) => pack_size.div_ceil(1 << 20),
            (Self::Balanced, false) => 9,
            (Self::Balanced, true) => 3,
            (Self::Small, _) => 1,
        }
    }
}

impl CreateOptions {
    /// Bytes of a frame; `versions`: of a tree that is mostly versions of the same.
    fn frame_size(&self, versions: bool) -> usize {
        let small = self.level.number() >= SMALL_LEVEL;
        let seek = self.seek.unwrap_or(if small { Seek::Small } else { Seek::Balanced });
        let size = self.pack_size / seek.frames(self.pack_size, versions);
        let size = usize::try_from(size).unwrap_or(LONGEST_FRAME).min(LONGEST_FRAME);
        self.frame_size.unwrap_or(size)
    }

    /// How a source is packed that is mostly `versions` of the same, or not.
    #[must_use]
    pub fn packing(&self, versions: bool) -> Packing {
        Packing {
            cutter: Cutter { cutting: self.cutting, hash: self.hash },
            hash_len: usize::from(self.hash_len),
            codec: self.codec,
            level: self.level,
            frame_size: self.frame_size(versions),
            window: if versions { WINDOW } else { 0 },
            pack_size: self.pack_size,
            dense: false,
            threads: self.threads,
        }
    }
}

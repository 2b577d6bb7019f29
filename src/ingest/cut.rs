//! Cuts data into blocks and names them.

use fastcdc::v2020::FastCDC;
use xxhash_rust::xxh3::xxh3_128;

use crate::format::{BlockHash, Cutting, Id};

/// Cuts and hashes as the settings of a store say.
#[derive(Debug, Clone, Copy)]
pub struct Cutter {
    /// Lengths of blocks.
    pub cutting: Cutting,
    /// Which hash names blocks.
    pub hash: BlockHash,
}

impl Cutter {
    /// The name of a block. XXH3-128 fills the first half; the rest is zeros.
    pub fn name(&self, block: &[u8]) -> Id {
        match self.hash {
            BlockHash::Blake3 => *blake3::hash(block).as_bytes(),
            BlockHash::Xxh3 => {
                let mut id = [0; 32];
                id[..16].copy_from_slice(&xxh3_128(block).to_le_bytes());
                id
            }
        }
    }

    /// Whether data of that length is one block, uncut.
    pub fn is_one_block(&self, length: usize) -> bool {
        length <= self.cutting.average as usize
    }

    /// Calls `each` with the length and name of each block that `data` surely begins with.
    ///
    /// Returns how long these are together: all of `data` at its `end`, else the last block may
    /// go on with what follows and is left.
    pub fn cut(&self, data: &[u8], end: bool, mut each: impl FnMut(u32, Id)) -> usize {
        let Cutting { min, average, max } = self.cutting;
        let mut one = |block: &[u8]| {
            let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
            each(length, self.name(block));
        };
        if data.is_empty() {
            return 0;
        }
        let cutter = FastCDC::new(data, min as usize, average as usize, max as usize);
        let mut at = 0;
        while at < data.len() && (end || data.len() - at >= max as usize) {
            let (_, next) = cutter.cut(at, data.len() - at);
            if next <= at {
                break;
            }
            one(&data[at..next]);
            at = next;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_the_same_in_one_go_and_in_bites() {
        let cutting = Cutting { min: 2048, average: 8192, max: 65_536 };
        let cutter = Cutter { cutting, hash: BlockHash::Blake3 };
        let mut seed = 7u32;
        let data: Vec<u8> = (0..1_000_000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 27) as u8
            })
            .collect();
        let mut whole = Vec::new();
        assert_eq!(cutter.cut(&data, true, |length, _| whole.push(length)), data.len());
        assert_eq!(whole.iter().map(|length| *length as usize).sum::<usize>(), data.len());
        assert!(whole.iter().rev().skip(1).all(|length| (2048..=65_536).contains(length)));
        let mut bites = Vec::new();
        let (mut at, mut seen) = (0, 0);
        while at < data.len() {
            seen = (seen + 70_000).min(data.len());
            let end = seen == data.len();
            at += cutter.cut(&data[at..seen], end, |length, _| bites.push(length));
        }
        assert_eq!(whole, bites);
    }
}

//! One raw LZ4 block.

use super::{Encoder, Plain, Row, Started};
use crate::buffers::Buffer;
use crate::format::{Codec, Problem};
use crate::pack::Level;

pub(super) const ROW: Row = Row { codec: Codec::Lz4, encoder, inflate };

struct Lz4;

fn encoder(_: Level) -> std::io::Result<Box<dyn Encoder>> {
    Ok(Box::new(Lz4))
}

impl Encoder for Lz4 {
    fn encode(&mut self, plain: &Plain<'_>) -> Option<Vec<u8>> {
        Some(lz4_flex::block::compress(plain.bytes))
    }
}

/// LZ4 knows no stopping: it inflates all.
fn inflate(stored: Vec<u8>, mut room: Buffer, length: usize) -> Started {
    room.resize(length, 0);
    let done = lz4_flex::block::decompress_into(&stored, &mut room);
    room.truncate(done.map_err(|_| Problem::Inflate)?);
    Ok((room, None))
}

//! Bytes as they are: what does not compress.

use super::{Encoder, Plain, Row, Started};
use crate::buffers::Buffer;
use crate::format::Codec;
use crate::pack::Level;

pub(super) const ROW: Row = Row { codec: Codec::None, encoder, inflate };

struct Stored;

fn encoder(_: Level) -> std::io::Result<Box<dyn Encoder>> {
    Ok(Box::new(Stored))
}

impl Encoder for Stored {
    /// Whatever is not smaller is stored as it is.
    fn encode(&mut self, _: &Plain<'_>) -> Option<Vec<u8>> {
        None
    }
}

fn inflate(stored: Vec<u8>, _: Buffer, _: usize) -> Started {
    Ok((stored.into(), None))
}

//! One zstd frame, without its magic number, content size and checksum.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::{DParameter, FrameFormat};

use super::{Encoder, Plain, Row, Wanted};
use crate::format::{Codec, MAX_FRAME, Problem};
use crate::pack::Level;

pub(super) const ROW: Row = Row { codec: Codec::Zstd, encoder, inflate };

struct Zstd {
    level: Level,
    zstd: Compressor<'static>,
}

fn encoder(level: Level) -> std::io::Result<Box<dyn Encoder>> {
    let mut zstd = Compressor::new(0)?;
    // The frame record has the length and a checksum: no need for them twice.
    zstd.include_checksum(false)?;
    zstd.include_contentsize(false)?;
    zstd.include_magicbytes(false)?;
    Ok(Box::new(Zstd { level, zstd }))
}

impl Encoder for Zstd {
    fn encode(&mut self, plain: &Plain<'_>) -> Option<Vec<u8>> {
        for parameter in self.level.parameters(plain.bytes.len(), plain.dense, plain.hard) {
            self.zstd.set_parameter(parameter).ok()?;
        }
        self.zstd.compress(plain.bytes).ok()
    }
}

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

fn inflate(stored: Vec<u8>, wanted: Wanted<'_>) -> Result<Vec<u8>, Problem> {
    match wanted.first < wanted.length {
        true => inflate_prefix(&stored, wanted),
        false => inflate_all(&stored, wanted),
    }
}

fn inflate_all(stored: &[u8], wanted: Wanted<'_>) -> Result<Vec<u8>, Problem> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(new_decompressor().map_err(|_| Problem::Inflate)?),
        };
        let mut bytes = (wanted.buffer)(wanted.length);
        let done = decompressor.decompress_to_buffer(stored, &mut bytes);
        done.map(|_| bytes).map_err(|_| Problem::Inflate)
    })
}

fn inflate_prefix(stored: &[u8], wanted: Wanted<'_>) -> Result<Vec<u8>, Problem> {
    let mut bytes = (wanted.buffer)(wanted.first);
    DECODER.with_borrow_mut(|slot| {
        let decoder = match slot {
            Some(decoder) => decoder,
            None => slot.insert(new_decoder().map_err(|_| Problem::Inflate)?),
        };
        decoder.reinit().map_err(|_| Problem::Inflate)?;
        let (mut from, mut into) = (InBuffer::around(stored), OutBuffer::around(&mut bytes));
        while into.pos() < wanted.first {
            let before = (from.pos(), into.pos());
            decoder.run(&mut from, &mut into).map_err(|_| Problem::Inflate)?;
            if (from.pos(), into.pos()) == before {
                return Err(Problem::Inflate);
            }
        }
        Ok(())
    })?;
    Ok(bytes)
}

fn new_decoder() -> std::io::Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::Format(FrameFormat::Magicless))?;
    // No frame is longer: a larger window would only take memory.
    decoder.set_parameter(DParameter::WindowLogMax(MAX_FRAME.ilog2()))?;
    Ok(decoder)
}

fn new_decompressor() -> std::io::Result<Decompressor<'static>> {
    let mut decompressor = Decompressor::new()?;
    decompressor.include_magicbytes(false)?;
    Ok(decompressor)
}

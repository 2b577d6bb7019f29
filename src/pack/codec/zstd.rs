//! One zstd frame, without its magic number, content size and checksum.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::{DParameter, FrameFormat};

use super::{Encoder, Plain, Resume, Row, Started};
use crate::format::{Codec, MAX_FRAME, Problem};
use crate::pack::Level;

/// What the decoder wants to see first: enough for any header of a frame, in bytes.
const FIRST: usize = 2;

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
}

fn inflate(stored: Vec<u8>, room: Vec<u8>, length: usize, wanted: usize) -> Started {
    match wanted < length {
        true => Ok((room, Some(Box::new(Rest::new(stored)?)))),
        false => Ok((inflate_all(&stored, room)?, None)),
    }
}

fn inflate_all(stored: &[u8], mut room: Vec<u8>) -> Result<Vec<u8>, Problem> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(new_decompressor().map_err(|_| Problem::Inflate)?),
        };
        let done = decompressor.decompress_to_buffer(stored, &mut room);
        done.map(|_| room).map_err(|_| Problem::Inflate)
    })
}

/// A frame that is not inflated to its end.
///
/// What was inflated before is the decoder's window, so all of it goes into one buffer, which zstd
/// calls stable: nothing is copied out of a window of the decoder's own.
struct Rest {
    decoder: Decoder<'static>,
    stored: Vec<u8>,
    at: usize,
    /// How much the decoder wants to see next: so fed, it inflates one zstd block at a time.
    next: usize,
}

impl Rest {
    fn new(stored: Vec<u8>) -> Result<Self, Problem> {
        let decoder = new_decoder().map_err(|_| Problem::Inflate)?;
        Ok(Self { decoder, stored, at: 0, next: FIRST })
    }
}

impl Resume for Rest {
    fn go_on(&mut self, bytes: &mut Vec<u8>) -> Result<(), Problem> {
        let end = self.stored.len().min(self.at.saturating_add(self.next));
        let had = bytes.len();
        let mut from = InBuffer::around(self.stored.get(self.at..end).ok_or(Problem::Inflate)?);
        let mut into = OutBuffer::around_pos(bytes, had);
        let next = self.decoder.run(&mut from, &mut into).map_err(|_| Problem::Inflate)?;
        let (read, written) = (from.pos(), into.pos());
        self.at += read;
        self.next = next;
        // Neither read nor written: it will never come to more. Nothing follows: this is its end.
        match (read, written) == (0, had) || (next == 0 && self.at < self.stored.len()) {
            true => Err(Problem::Inflate),
            false => Ok(()),
        }
    }
}

fn new_decoder() -> std::io::Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::Format(FrameFormat::Magicless))?;
    decoder.set_parameter(DParameter::StableOutBuffer(true))?;
    // No frame is longer: a larger window would only take memory.
    decoder.set_parameter(DParameter::WindowLogMax(MAX_FRAME.ilog2()))?;
    Ok(decoder)
}

fn new_decompressor() -> std::io::Result<Decompressor<'static>> {
    let mut decompressor = Decompressor::new()?;
    decompressor.include_magicbytes(false)?;
    Ok(decompressor)
}

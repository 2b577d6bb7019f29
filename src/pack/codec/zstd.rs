//! One zstd frame, without its magic number, content size and checksum.

use parking_lot::Mutex;
use zstd::bulk::Compressor;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::{DParameter, FrameFormat};

use super::{Encoder, Plain, Resume, Row, Started};
use crate::buffers::Buffer;
use crate::format::{Codec, MAX_FRAME, Problem};
use crate::pack::Level;

/// What the decoder is shown first, in bytes: as much as the longest header of a frame. One that it
/// saw in two parts, it might take for shorter.
const FIRST: usize = 18;

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

fn inflate(stored: Vec<u8>, room: Buffer, _: usize) -> Started {
    Ok((room, Some(Box::new(Rest::new(stored)?))))
}

/// A frame being inflated.
///
/// What was inflated before is the decoder's window, so all of it goes into one buffer, which zstd
/// calls stable: nothing is copied out of a window of the decoder's own.
struct Rest {
    decoder: Reused,
    stored: Vec<u8>,
    at: usize,
    /// How much the decoder wants to see next: so fed, it inflates one zstd block at a time.
    next: usize,
}

impl Rest {
    fn new(stored: Vec<u8>) -> Result<Self, Problem> {
        let decoder = Reused::new().map_err(|_| Problem::Inflate)?;
        Ok(Self { decoder, stored, at: 0, next: FIRST })
    }
}

impl Resume for Rest {
    fn go_on(&mut self, bytes: &mut Vec<u8>) -> Result<bool, Problem> {
        let end = self.stored.len().min(self.at.saturating_add(self.next));
        let had = bytes.len();
        let mut from = InBuffer::around(self.stored.get(self.at..end).ok_or(Problem::Inflate)?);
        let mut into = OutBuffer::around_pos(bytes, had);
        let decoder = self.decoder.0.as_mut().ok_or(Problem::Inflate)?;
        let next = decoder.run(&mut from, &mut into).map_err(|_| Problem::Inflate)?;
        let (read, written) = (from.pos(), into.pos());
        self.at += read;
        self.next = next;
        let ended = next == 0;
        // Neither read nor written: it will never come to more. Nor may anything follow its end.
        match (read, written) == (0, had) || (ended && self.at < self.stored.len()) {
            true => Err(Problem::Inflate),
            false => Ok(ended),
        }
    }
}

/// A decoder, there until it is dropped; then it waits to be used again: to make one takes as long
/// as to inflate some tens of KiB.
struct Reused(Option<Decoder<'static>>);

/// Decoders that nobody uses now.
static IDLE: Mutex<Vec<Decoder<'static>>> = Mutex::new(Vec::new());
/// Most of them.
const MOST_IDLE: usize = 8;

impl Reused {
    fn new() -> std::io::Result<Self> {
        let idle = IDLE.lock().pop();
        idle.map_or_else(new_decoder, Ok).map(|decoder| Self(Some(decoder)))
    }
}

impl Drop for Reused {
    fn drop(&mut self) {
        // It may be halfway, or have met with nonsense: it forgets the frame, not its settings.
        let Some(mut decoder) = self.0.take().filter(|_| IDLE.lock().len() < MOST_IDLE) else {
            return;
        };
        if decoder.reinit().is_ok() {
            IDLE.lock().push(decoder);
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

//! Frames: compressed as they go in, inflated as they come out.

use std::cell::RefCell;

use zstd::bulk::Decompressor;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::{DParameter, FrameFormat};

use super::Level;
use crate::format::{Codec, MAX_FRAME, Problem};

/// zstd level that a sample is tried at, to find what does not compress.
const PROBE_LEVEL: i32 = 1;
/// Length of a sample, in bytes.
const SAMPLE: usize = 16 * 1024;
/// How many samples of a frame are tried.
const SAMPLES: usize = 8;
/// A frame is worth compressing if it shrinks by one part in so many.
const WORTH: usize = 32;

/// Compresses frames with one codec; holds its buffers, so keep one for each thread.
pub struct Compressor {
    codec: Codec,
    level: Level,
    zstd: zstd::bulk::Compressor<'static>,
    probe: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl Compressor {
    /// A compressor; `level` is for zstd.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(codec: Codec, level: Level) -> std::io::Result<Self> {
        let mut zstd = zstd::bulk::Compressor::new(0)?;
        // The frame record has the length and a checksum: no need for them twice.
        zstd.include_checksum(false)?;
        zstd.include_contentsize(false)?;
        zstd.include_magicbytes(false)?;
        Ok(Self { codec, level, zstd, probe: zstd::bulk::Compressor::new(PROBE_LEVEL)? })
    }

    /// A frame's stored form; what does not shrink is stored as it is. `dense`: most of what the
    /// frame comes from was known.
    #[must_use]
    pub fn compress(&mut self, frame: Vec<u8>, dense: bool) -> (Codec, Vec<u8>) {
        let hopeless = self.codec != Codec::None && self.hopeless(&frame);
        let small = match self.codec {
            Codec::None => None,
            _ if hopeless => None,
            Codec::Zstd => self.zstd(&frame, dense).ok(),
            Codec::Lz4 => Some(lz4_flex::block::compress(&frame)),
        };
        match small.filter(|small| small.len() + frame.len() / WORTH < frame.len()) {
            Some(small) => (self.codec, small),
            None => (Codec::None, frame),
        }
    }

    fn zstd(&mut self, frame: &[u8], dense: bool) -> std::io::Result<Vec<u8>> {
        for parameter in self.level.parameters(frame.len(), dense) {
            self.zstd.set_parameter(parameter)?;
        }
        self.zstd.compress(frame)
    }

    /// Whether no sample of a frame shrinks: then it is media, or compressed, or encrypted.
    fn hopeless(&mut self, frame: &[u8]) -> bool {
        let step = frame.len() / SAMPLES;
        if step < SAMPLE {
            return false;
        }
        let samples = (0..SAMPLES).map(|sample| &frame[sample * step..sample * step + SAMPLE]);
        samples.into_iter().all(|sample| {
            let small = self.probe.compress(sample).map_or(usize::MAX, |small| small.len());
            small > SAMPLE - SAMPLE / WORTH
        })
    }
}

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

/// Inflates a frame, which must come to exactly `length` bytes, into a `buffer` with room for
/// them, if it takes one.
///
/// # Errors
/// [`Problem::Inflate`] if it is damaged or of another length.
pub fn inflate(
    codec: Codec,
    stored: Vec<u8>,
    length: usize,
    buffer: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>, Problem> {
    let bytes = match codec {
        Codec::None => stored,
        Codec::Zstd => DECOMPRESSOR.with_borrow_mut(|slot| {
            let decompressor = match slot {
                Some(decompressor) => decompressor,
                None => slot.insert(new_decompressor()?),
            };
            let mut bytes = buffer();
            let done = decompressor.decompress_to_buffer(&stored, &mut bytes);
            done.map(|_| bytes).map_err(|_| Problem::Inflate)
        })?,
        Codec::Lz4 => lz4_flex::block::decompress(&stored, length).map_err(|_| Problem::Inflate)?,
    };
    if bytes.len() == length { Ok(bytes) } else { Err(Problem::Inflate) }
}

/// Inflates the first `wanted` bytes of a frame, at least, and stops once `buffer` is full, if its
/// codec knows stopping. As [`inflate`] for the rest.
///
/// # Errors
/// [`Problem::Inflate`] if it is damaged or shorter.
pub fn inflate_prefix(
    codec: Codec,
    stored: Vec<u8>,
    length: usize,
    wanted: usize,
    buffer: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>, Problem> {
    if codec != Codec::Zstd || wanted >= length {
        return inflate(codec, stored, length, buffer);
    }
    let mut bytes = buffer();
    DECODER.with_borrow_mut(|slot| {
        let decoder = match slot {
            Some(decoder) => decoder,
            None => slot.insert(new_decoder().map_err(|_| Problem::Inflate)?),
        };
        decoder.reinit().map_err(|_| Problem::Inflate)?;
        let (mut from, mut into) = (InBuffer::around(&stored), OutBuffer::around(&mut bytes));
        while into.pos() < wanted {
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

fn new_decompressor() -> Result<Decompressor<'static>, Problem> {
    let mut decompressor = Decompressor::new().map_err(|_| Problem::Inflate)?;
    decompressor.include_magicbytes(false).map_err(|_| Problem::Inflate)?;
    Ok(decompressor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_noise_is_stored_as_it_is() {
        let text: Vec<u8> = (0..300_000u32).flat_map(|n| (n / 50).to_le_bytes()).collect();
        let mut seed = 1u64;
        let noise: Vec<u8> = (0..300_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect();
        for codec in [Codec::Zstd, Codec::Lz4, Codec::None] {
            let mut compressor = Compressor::new(codec, Level::default()).unwrap();
            for (frame, shrinks) in [(&text, codec != Codec::None), (&noise, false)] {
                let (codec, stored) = compressor.compress(frame.clone(), shrinks);
                assert_eq!(codec != Codec::None, shrinks);
                let room = || Vec::with_capacity(frame.len() + 100);
                assert_eq!(&inflate(codec, stored.clone(), frame.len(), room).unwrap(), frame);
                assert!(inflate(codec, stored.clone(), frame.len() - 1, room).is_err());
                for wanted in [1, 200_000, frame.len()] {
                    let prefix =
                        inflate_prefix(codec, stored.clone(), frame.len(), wanted, room).unwrap();
                    assert!(prefix.len() >= wanted && frame.starts_with(&prefix));
                }
                if codec == Codec::Zstd {
                    let room = || Vec::with_capacity(1 << 17);
                    let prefix =
                        inflate_prefix(codec, stored.clone(), frame.len(), 1 << 17, room).unwrap();
                    assert_eq!(prefix, frame[..1 << 17], "it does not stop");
                    let half = stored[..stored.len() / 2].to_vec();
                    let (most, all) = (frame.len() - 1, frame.len());
                    assert!(inflate_prefix(codec, half, all, most, room).is_err());
                }
                assert!(inflate(codec, stored, frame.len() + 1, room).is_err());
            }
        }
    }
}

//! Frames: compressed as they go in, inflated as they come out.
//!
//! Each codec is a file here with a [`Row`] for the [table](TABLE). A new one needs these, and its
//! code in [`Codec`].

mod lz4;
mod none;
mod zstd;

use super::Level;
use crate::format::{Codec, Problem};

/// zstd level that a sample is tried at, to find what does not compress.
const PROBE_LEVEL: i32 = 1;
/// Length of a sample, in bytes.
const SAMPLE: usize = 16 * 1024;
/// Samples that come to more thousandths than this do not shrink.
const HOPELESS: usize = 968;
/// Samples of programs come to more thousandths than this, on average; text does not.
const HARD: usize = 380;
/// How many samples of a frame are tried.
const SAMPLES: usize = 8;
/// A frame is worth compressing if it shrinks by one part in so many.
const WORTH: usize = 32;

/// All codecs.
const TABLE: [Row; 3] = [none::ROW, zstd::ROW, lz4::ROW];

/// What a codec does.
#[derive(Clone, Copy)]
struct Row {
    codec: Codec,
    /// Makes an encoder for a level.
    encoder: fn(Level) -> std::io::Result<Box<dyn Encoder>>,
    /// Inflates as much as is wanted.
    inflate: fn(Vec<u8>, Wanted<'_>) -> Result<Vec<u8>, Problem>,
}

fn row(codec: Codec) -> Result<&'static Row, Problem> {
    TABLE.iter().find(|row| row.codec == codec).ok_or(Problem::Malformed("unknown codec"))
}

/// The compressing half of a codec, with its buffers.
trait Encoder: Send {
    /// The stored form of a frame; `None` if it has none that is of use.
    fn encode(&mut self, plain: &Plain<'_>) -> Option<Vec<u8>>;
}

/// A frame to be compressed.
struct Plain<'a> {
    bytes: &'a [u8],
    /// Most of what it comes from was known.
    dense: bool,
    /// It hardly shrinks, whatever is done.
    hard: bool,
}

/// How much of a frame is wanted.
struct Wanted<'a> {
    /// Its length, inflated.
    length: usize,
    /// So many of its first bytes: a codec that can stop there does.
    first: usize,
    /// Gives an empty buffer with room for so many bytes.
    buffer: &'a dyn Fn(usize) -> Vec<u8>,
}

/// Compresses frames with one codec; holds its buffers, so keep one for each thread.
pub struct Compressor {
    codec: Codec,
    encoder: Box<dyn Encoder>,
    probe: ::zstd::bulk::Compressor<'static>,
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
        let row = row(codec).map_err(|_| std::io::ErrorKind::Unsupported)?;
        let probe = ::zstd::bulk::Compressor::new(PROBE_LEVEL)?;
        Ok(Self { codec, encoder: (row.encoder)(level)?, probe })
    }

    /// A frame's stored form; what does not shrink is stored as it is. `dense`: most of what the
    /// frame comes from was known.
    #[must_use]
    pub fn compress(&mut self, frame: Vec<u8>, dense: bool) -> (Codec, Vec<u8>) {
        let (average, least) = match self.codec {
            Codec::None => (0, 0),
            _ => self.sample(&frame),
        };
        let plain = Plain { bytes: &frame, dense, hard: average > HARD };
        // Media, or compressed, or encrypted.
        let small = if least > HOPELESS { None } else { self.encoder.encode(&plain) };
        match small.filter(|small| small.len() + frame.len() / WORTH < frame.len()) {
            Some(small) => (self.codec, small),
            None => (Codec::None, frame),
        }
    }

    /// To how many thousandths samples of a frame shrink, on average and at the least; 0 if it is
    /// too short to tell.
    fn sample(&mut self, frame: &[u8]) -> (usize, usize) {
        let step = frame.len() / SAMPLES;
        if step < SAMPLE {
            return (0, 0);
        }
        let (mut sum, mut least) = (0, SAMPLE);
        for sample in 0..SAMPLES {
            let sample = &frame[sample * step..sample * step + SAMPLE];
            let small = self.probe.compress(sample).map_or(SAMPLE, |small| small.len());
            sum += small;
            least = least.min(small);
        }
        (sum * 1000 / SAMPLES / SAMPLE, least * 1000 / SAMPLE)
    }
}

/// Inflates the first `wanted` bytes at least of a frame that comes to exactly `length` bytes, or
/// all of it, if its codec knows no stopping. `buffer` gives room for so many bytes, if asked.
///
/// # Errors
/// [`Problem::Inflate`] if it is damaged, shorter, or (as far as was inflated) longer.
pub fn inflate(
    codec: Codec,
    stored: Vec<u8>,
    length: usize,
    wanted: usize,
    buffer: &dyn Fn(usize) -> Vec<u8>,
) -> Result<Vec<u8>, Problem> {
    let wanted = wanted.min(length);
    let bytes = (row(codec)?.inflate)(stored, Wanted { length, first: wanted, buffer })?;
    let right = bytes.len() == length || (bytes.len() < length && bytes.len() >= wanted);
    if right { Ok(bytes) } else { Err(Problem::Inflate) }
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
                let all = frame.len();
                let inflate = |length, wanted| {
                    super::inflate(codec, stored.clone(), length, wanted, &Vec::with_capacity)
                };
                assert_eq!(&inflate(all, all).unwrap(), frame);
                assert!(inflate(all - 1, all - 1).is_err());
                for wanted in [1, 200_000, all] {
                    let prefix = inflate(all, wanted).unwrap();
                    assert!(prefix.len() >= wanted && frame.starts_with(&prefix));
                }
                if codec == Codec::Zstd {
                    let prefix = inflate(all, 1 << 17).unwrap();
                    assert_eq!(prefix, frame[..1 << 17], "it does not stop");
                    let half = stored[..stored.len() / 2].to_vec();
                    let room = &Vec::with_capacity;
                    assert!(super::inflate(codec, half, all, all - 1, room).is_err());
                }
                assert!(inflate(all + 1, all + 1).is_err());
            }
        }
    }
}

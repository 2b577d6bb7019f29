//! Frames: compressed as they go in, inflated as they come out.
//!
//! Each codec is a file here with a [`Row`] for the [table](TABLE). A new one needs these, and its
//! code in [`Codec`].

mod lz4;
mod none;
mod zstd;

use std::cmp::Ordering;

use super::Level;
use crate::buffers::Buffer;
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
    /// Begins to inflate, from what is stored into an empty buffer, a frame of so many bytes.
    inflate: fn(Vec<u8>, Buffer, usize) -> Started,
}

/// What was inflated at once, and how to go on where that is not all.
type Started = Result<(Buffer, Option<Box<dyn Resume>>), Problem>;

/// A frame whose inflation stopped on its way.
trait Resume: Send {
    /// Inflates a little more, behind what it inflated before; never beyond the room there is.
    /// Tells whether that was its end.
    fn go_on(&mut self, bytes: &mut Vec<u8>) -> Result<bool, Problem>;
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

/// A frame being inflated, as far as it is wanted.
pub struct Inflation {
    bytes: Buffer,
    length: usize,
    /// How to go on, unless it is whole.
    rest: Option<Box<dyn Resume>>,
}

impl std::fmt::Debug for Inflation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflation").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Inflation {
    /// Begins to inflate a frame that comes to exactly `length` bytes: its first `wanted` ones, or
    /// all of it if its codec knows no stopping. `room` is empty, with room for them.
    ///
    /// # Errors
    /// [`Problem::Inflate`] if it is damaged, shorter or, as far as was inflated, longer.
    pub fn new(
        codec: Codec,
        stored: Vec<u8>,
        room: Buffer,
        length: usize,
        wanted: usize,
    ) -> Result<Self, Problem> {
        let (bytes, rest) = (row(codec)?.inflate)(stored, room, length)?;
        if rest.is_none() && bytes.len() != length {
            return Err(Problem::Inflate);
        }
        let mut inflation = Self { bytes, length, rest };
        while !inflation.is_whole() && inflation.bytes.len() < wanted.min(length) {
            inflation.go_on()?;
        }
        Ok(inflation)
    }

    /// What is inflated so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether that is all.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// Inflates a little more, some 100 KiB at most.
    ///
    /// # Errors
    /// As [`Inflation::new`].
    pub fn go_on(&mut self) -> Result<(), Problem> {
        let Some(rest) = &mut self.rest else { return Ok(()) };
        let mut ended = rest.go_on(&mut self.bytes)?;
        // At its length it must end: nothing may come of what is left.
        while self.bytes.len() == self.length && !ended {
            ended = rest.go_on(&mut self.bytes)?;
        }
        match (self.bytes.len().cmp(&self.length), ended) {
            (Ordering::Less, false) => Ok(()),
            (Ordering::Equal, true) => {
                self.rest = None;
                Ok(())
            }
            _ => Err(Problem::Inflate),
        }
    }

    /// Gives up its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Buffer {
        self.bytes
    }
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
                let inflate = |stored: &[u8], length, wanted| -> Result<Buffer, Problem> {
                    let room = Vec::with_capacity(length).into();
                    let frame = Inflation::new(codec, stored.to_vec(), room, length, wanted)?;
                    Ok(frame.into_bytes())
                };
                assert_eq!(*inflate(&stored, all, all).unwrap(), *frame);
                assert!(inflate(&stored, all - 1, all - 1).is_err());
                for wanted in [1, 200_000, all - 1, all] {
                    let prefix = inflate(&stored, all, wanted).unwrap();
                    assert!(prefix.len() >= wanted && frame.starts_with(&prefix));
                }
                if codec == Codec::Zstd {
                    let prefix = inflate(&stored, all, 1 << 17).unwrap();
                    assert!(prefix.len() < 2 << 17, "it does not stop: {}", prefix.len());
                    let followed = [&stored[..], b"x"].concat();
                    assert!(inflate(&followed, all, all).is_err());
                    assert!(inflate(&stored, all - 1, 1).is_ok());
                    assert!(inflate(&stored[..stored.len() / 2], all, all - 1).is_err());
                }
                assert!(inflate(&stored, all + 1, all + 1).is_err());
            }
        }
    }

    #[test]
    fn a_header_longer_than_the_shortest_is_read_as_a_whole() {
        let text: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 50).to_le_bytes()).collect();
        let mut zstd = ::zstd::bulk::Compressor::new(1).unwrap();
        zstd.include_magicbytes(false).unwrap();
        // With the length of the content in it, which packfs does not write.
        zstd.include_contentsize(true).unwrap();
        for length in [1, 300, 70_000, text.len()] {
            let stored = zstd.compress(&text[..length]).unwrap();
            for wanted in [1, length] {
                let room = Vec::with_capacity(length).into();
                let frame = Inflation::new(Codec::Zstd, stored.clone(), room, length, wanted);
                assert!(text.starts_with(frame.unwrap().bytes()), "{length}, {wanted}");
            }
        }
    }
}

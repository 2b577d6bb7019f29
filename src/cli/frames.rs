//! How frames and packs are made: what all commands that pack have in common.

use clap::{Args, ValueEnum};

use super::{Failure, size};
use crate::format::{Codec, MAX_FRAME};
use crate::ingest::{CreateOptions, Seek};
use crate::pack::Level;

#[derive(Debug, Args)]
pub(super) struct FrameArgs {
    /// How frames are compressed [default: zstd]
    #[arg(long, value_enum)]
    codec: Option<CodecArg>,
    /// How hard zstd tries, 1 (fast) to 9 (small) [default: 6]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=9))]
    level: Option<u8>,
    /// What a cold read may cost, against size; small from level 8 on, balanced below
    #[arg(long, value_enum)]
    seek: Option<SeekArg>,
    /// Length of a frame before compression: a cold read inflates half of it; as --seek has it
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    frame_size: Option<u64>,
    /// Length of a pack before compression [default: 16M]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pack_size: Option<u64>,
    /// Threads that read, and as many that compress; 0: one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CodecArg {
    Zstd,
    Lz4,
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SeekArg {
    /// Frames of 1 MiB at most
    Fast,
    /// Nine frames in a pack, or three of versions
    Balanced,
    /// Packs are one frame, up to 16M
    Small,
}

impl FrameArgs {
    /// Whether anything was asked for of how packs are made.
    pub fn are_given(&self) -> bool {
        let lengths = self.frame_size.is_some() || self.pack_size.is_some();
        lengths || self.codec.is_some() || self.level.is_some() || self.seek.is_some()
    }

    /// The options that these come to.
    pub fn options(&self) -> Result<CreateOptions, Failure> {
        let usage = |text: &str| Failure::Usage(text.to_owned());
        let default = CreateOptions::default();
        if self.frame_size.is_some_and(|size| !(4096..=MAX_FRAME as u64 / 4).contains(&size)) {
            return Err(usage("--frame-size must be from 4K to 16M"));
        }
        let pack_size = self.pack_size.unwrap_or(default.pack_size);
        if !(self.frame_size.unwrap_or(4096)..=1 << 30).contains(&pack_size) {
            return Err(usage("--pack-size must be from the length of a frame to 1G"));
        }
        Ok(CreateOptions {
            codec: match self.codec {
                Some(CodecArg::Lz4) => Codec::Lz4,
                Some(CodecArg::None) => Codec::None,
                Some(CodecArg::Zstd) | None => Codec::Zstd,
            },
            level: self.level.and_then(Level::new).unwrap_or_default(),
            seek: self.seek.map(|seek| match seek {
                SeekArg::Fast => Seek::Fast,
                SeekArg::Balanced => Seek::Balanced,
                SeekArg::Small => Seek::Small,
            }),
            frame_size: self.frame_size.map(|size| usize::try_from(size).unwrap_or(MAX_FRAME)),
            pack_size,
            threads: if self.threads == 0 { default.threads } else { self.threads.min(256) },
            ..default
        })
    }
}

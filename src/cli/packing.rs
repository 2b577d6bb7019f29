//! How data is packed: what `create` and `add` have in common.

use clap::{Args, ValueEnum};

use super::{Failure, size};
use crate::format::{Codec, MAX_FRAME};
use crate::ingest::{CreateOptions, Order, Seek};
use crate::pack::Level;

#[derive(Debug, Args)]
pub(super) struct PackingArgs {
    /// Exit with 0 even if files vanished, changed or could not be read
    #[arg(long)]
    pub ignore_errors: bool,
    /// Keep times of access and of inode change, too
    #[arg(long)]
    all_times: bool,
    /// How frames are compressed
    #[arg(long, value_enum, default_value_t = CodecArg::Zstd)]
    codec: CodecArg,
    /// How hard zstd tries, 1 (fast) to 9 (small)
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=9))]
    level: u8,
    /// What a cold read may cost, against size; small from level 8 on, balanced below
    #[arg(long, value_enum)]
    seek: Option<SeekArg>,
    /// Length of a frame before compression: a cold read inflates half of it; as --seek has it
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    frame_size: Option<u64>,
    /// Length of a pack before compression
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = size::parse)]
    pack_size: u64,
    /// Order in which files are packed; chosen by the tree unless given. A tar: as it comes
    #[arg(long, value_enum)]
    order: Option<OrderArg>,
    /// Threads that read, and as many that compress; 0: one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print nothing but failures
    #[arg(short, long)]
    pub quiet: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OrderArg {
    /// By path
    Path,
    /// Versions of a file side by side, whichever folder of their path varies
    Versions,
    /// As versions; and files of a kind side by side, a few packs at a time
    Similarity,
}

impl PackingArgs {
    /// The options that these come to.
    pub fn options(&self) -> Result<CreateOptions, Failure> {
        let usage = |text: &str| Failure::Usage(text.to_owned());
        if self.frame_size.is_some_and(|size| !(4096..=MAX_FRAME as u64 / 4).contains(&size)) {
            return Err(usage("--frame-size must be from 4K to 16M"));
        }
        if !(self.frame_size.unwrap_or(4096)..=1 << 30).contains(&self.pack_size) {
            return Err(usage("--pack-size must be from the length of a frame to 1G"));
        }
        let default = CreateOptions::default();
        Ok(CreateOptions {
            codec: match self.codec {
                CodecArg::Zstd => Codec::Zstd,
                CodecArg::Lz4 => Codec::Lz4,
                CodecArg::None => Codec::None,
            },
            level: Level::new(self.level).unwrap_or_default(),
            seek: self.seek.map(|seek| match seek {
                SeekArg::Fast => Seek::Fast,
                SeekArg::Balanced => Seek::Balanced,
                SeekArg::Small => Seek::Small,
            }),
            order: self.order.map(|order| match order {
                OrderArg::Path => Order::Path,
                OrderArg::Versions => Order::Versions,
                OrderArg::Similarity => Order::Similarity,
            }),
            frame_size: self.frame_size.map(|size| usize::try_from(size).unwrap_or(MAX_FRAME)),
            pack_size: self.pack_size,
            threads: if self.threads == 0 { default.threads } else { self.threads.min(256) },
            all_times: self.all_times,
            ..default
        })
    }
}

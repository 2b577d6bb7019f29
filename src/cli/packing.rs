//! How data is packed: what `create` and `add` have in common.

use clap::{Args, ValueEnum};

use super::Failure;
use super::frames::FrameArgs;
use crate::format::{BlockHash, Config};
use crate::ingest::{CreateOptions, Order};

#[derive(Debug, Args)]
pub(super) struct PackingArgs {
    /// Exit with 0 even if files vanished, changed or could not be read
    #[arg(long)]
    pub ignore_errors: bool,
    /// Keep times of access and of inode change, too
    #[arg(long)]
    all_times: bool,
    #[command(flatten)]
    frames: FrameArgs,
    /// Order in which files are packed; chosen by the tree unless given. A tar: as it comes
    #[arg(long, value_enum)]
    order: Option<OrderArg>,
    /// Recovery data, in percent of what it protects: fsck --repair and reading make good that much
    /// damage by it. What comes later gets as much; 0: none any more
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub parity: Option<u32>,
    /// Print nothing but failures
    #[arg(short, long)]
    pub quiet: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// How blocks are named: what `create` and `rebuild` have in common.
#[derive(Debug, Args)]
pub(super) struct NamingArgs {
    /// Hash that names blocks: xxh3-128 is for data that nobody crafts [default: blake3]
    #[arg(long, value_enum)]
    hash: Option<HashArg>,
    /// Bytes of each hash that are kept; 8 in an image, which nothing is added to, 16 in a store
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(8..=16))]
    pub hash_length: Option<u8>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HashArg {
    Blake3,
    #[value(name = "xxh3-128")]
    Xxh3,
}

impl NamingArgs {
    /// The hash that was asked for.
    pub fn hash(&self) -> Option<BlockHash> {
        self.hash.map(|hash| match hash {
            HashArg::Blake3 => BlockHash::Blake3,
            HashArg::Xxh3 => BlockHash::Xxh3,
        })
    }

    /// The hash and its length, with what was not asked for as it is; `None`: nothing was.
    pub fn instead_of(&self, config: &Config) -> Option<(BlockHash, u8)> {
        let given = self.hash.is_some() || self.hash_length.is_some();
        let hash = self.hash().unwrap_or(config.hash);
        given.then(|| (hash, self.hash_length.unwrap_or(config.hash_len)))
    }
}

/// An order of files.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum OrderArg {
    /// By path
    Path,
    /// Versions of a file side by side, whichever folder of their path varies
    Versions,
    /// As versions; and files of a kind side by side, a few packs at a time
    Similarity,
}

impl OrderArg {
    pub fn order(self) -> Order {
        match self {
            Self::Path => Order::Path,
            Self::Versions => Order::Versions,
            Self::Similarity => Order::Similarity,
        }
    }
}

impl PackingArgs {
    /// The options that these come to.
    pub fn options(&self) -> Result<CreateOptions, Failure> {
        let (order, all_times) = (self.order.map(OrderArg::order), self.all_times);
        Ok(CreateOptions { order, all_times, ..self.frames.options()? })
    }
}

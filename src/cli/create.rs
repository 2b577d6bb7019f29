//! `packfs create`: a folder or a tar goes in, an archive comes out.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};

use super::progress::{Progress, catch_interrupts};
use super::stdin::Stdin;
use super::{Failure, Outcome, size};
use crate::format::{BlockHash, Codec, MAX_BLOCK, MAX_FRAME};
use crate::ingest::{CreateOptions, Order, Seek, Source, Summary, create};
use crate::monitor::Monitor;
use crate::pack::Level;
use crate::storage::Draft;

/// What stands for the standard input.
const STDIN: &str = "-";
/// Bytes of block hashes in an image, which nothing is added to.
const IMAGE_HASH_LEN: u8 = 8;

/// Make an archive from a folder, or from a tar on the standard input
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Folder to archive; - reads a tar from the standard input
    src: PathBuf,
    /// Archive to make: an image if it ends in .pfs, else a store
    dest: PathBuf,
    /// Replace DEST if it is an archive already
    #[arg(long)]
    force: bool,
    /// Exit with 0 even if files vanished, changed or could not be read
    #[arg(long)]
    ignore_errors: bool,
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
    /// Hash that names blocks: xxh3-128 is for data that nobody crafts
    #[arg(long, value_enum, default_value_t = HashArg::Blake3)]
    hash: HashArg,
    /// Bytes of each hash that are kept; 8 in an image, which nothing is added to, 16 in a store
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(8..=16))]
    hash_length: Option<u8>,
    /// Average length of a block, 1K to 32K
    #[arg(long, value_name = "SIZE", default_value = "8K", value_parser = size::parse)]
    block_size: u64,
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
    quiet: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
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
enum HashArg {
    Blake3,
    #[value(name = "xxh3-128")]
    Xxh3,
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

pub(super) fn run(args: &CreateArgs) -> Outcome {
    let mut options = options(args)?;
    let tar = args.src.as_os_str() == STDIN;
    if tar && std::io::stdin().is_terminal() {
        return Err(Failure::Usage("SRC is - but no tar comes in; pipe one into it".to_owned()));
    }
    if !tar {
        check_source(&args.src, &args.dest)?;
    }
    catch_interrupts();
    let draft = Draft::new(&args.dest, args.force)?;
    let default = if draft.is_image() { IMAGE_HASH_LEN } else { options.hash_len };
    options.hash_len = args.hash_length.unwrap_or(default);
    if !draft.is_image() {
        options.store_id = Some(random_id());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        options.created = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0));
    }
    let progress = Progress::new(args.quiet || args.json);
    let start = Instant::now();
    let mut stdin = Stdin::new();
    let source = if tar { Source::Tar(&mut stdin) } else { Source::Folder(&args.src) };
    let summary = create(source, &*draft.storage(), &options, &progress);
    let problems = progress.finish();
    let summary = summary?;
    if progress.cancelled() {
        return Err(Failure::Interrupted);
    }
    let length = draft.publish()?;
    report(args, &summary, problems, length, start.elapsed())?;
    if problems > 0 && !args.ignore_errors {
        return Err(Failure::Failed(format!(
            "{}: made, but {problems} files were left out or changed while they were read \
             (named above); --ignore-errors takes that as success",
            args.dest.display()
        )));
    }
    Ok(ExitCode::SUCCESS)
}

fn options(args: &CreateArgs) -> Result<CreateOptions, Failure> {
    let usage = |text: &str| Failure::Usage(text.to_owned());
    let block = u32::try_from(args.block_size).unwrap_or(u32::MAX);
    if !(1024..=32 * 1024).contains(&block) || !block.is_power_of_two() {
        return Err(usage("--block-size must be 1K, 2K, 4K, 8K, 16K or 32K"));
    }
    if args.frame_size.is_some_and(|size| !(4096..=MAX_FRAME as u64 / 4).contains(&size)) {
        return Err(usage("--frame-size must be from 4K to 16M"));
    }
    if !(args.frame_size.unwrap_or(4096)..=1 << 30).contains(&args.pack_size) {
        return Err(usage("--pack-size must be from the length of a frame to 1G"));
    }
    let default = CreateOptions::default();
    let max = u32::try_from(MAX_BLOCK).unwrap_or(u32::MAX);
    Ok(CreateOptions {
        cutting: crate::format::Cutting { min: block / 4, average: block, max },
        hash: match args.hash {
            HashArg::Blake3 => BlockHash::Blake3,
            HashArg::Xxh3 => BlockHash::Xxh3,
        },
        codec: match args.codec {
            CodecArg::Zstd => Codec::Zstd,
            CodecArg::Lz4 => Codec::Lz4,
            CodecArg::None => Codec::None,
        },
        level: Level::new(args.level).unwrap_or_default(),
        seek: args.seek.map(|seek| match seek {
            SeekArg::Fast => Seek::Fast,
            SeekArg::Balanced => Seek::Balanced,
            SeekArg::Small => Seek::Small,
        }),
        order: args.order.map(|order| match order {
            OrderArg::Path => Order::Path,
            OrderArg::Versions => Order::Versions,
            OrderArg::Similarity => Order::Similarity,
        }),
        frame_size: args.frame_size.map(|size| usize::try_from(size).unwrap_or(MAX_FRAME)),
        pack_size: args.pack_size,
        threads: if args.threads == 0 { default.threads } else { args.threads.min(256) },
        all_times: args.all_times,
        ..default
    })
}

/// SRC must be a folder, and DEST not be inside it: the archive would go into itself.
fn check_source(src: &Path, dest: &Path) -> Result<(), Failure> {
    let fail = |error| Failure::Failed(format!("{}: {error}", src.display()));
    let source = src.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::Failed(format!("{}: SRC not found", src.display()))
        }
        _ => fail(error),
    })?;
    if !source.is_dir() {
        let text = format!("{}: SRC is not a folder; a tar is read from -", src.display());
        return Err(Failure::Failed(text));
    }
    let around = dest.parent().filter(|path| !path.as_os_str().is_empty());
    let around = around.unwrap_or(Path::new(".")).canonicalize().map_err(|error| {
        Failure::Failed(format!("{}: its folder cannot be used: {error}", dest.display()))
    })?;
    let name = dest.file_name().unwrap_or_default();
    if source.starts_with(around.join(name)) {
        let text = format!("{}: SRC is DEST, or inside it; put DEST elsewhere", dest.display());
        return Err(Failure::Failed(text));
    }
    if around.starts_with(&source) {
        let text = format!("{}: DEST is inside SRC; put it elsewhere", dest.display());
        return Err(Failure::Failed(text));
    }
    Ok(())
}

/// An id that no other store has.
fn random_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}

fn report(
    args: &CreateArgs,
    summary: &Summary,
    problems: usize,
    length: u64,
    took: Duration,
) -> Outcome {
    let (totals, savings) = (summary.totals, summary.savings);
    let text = if args.json {
        let json = serde_json::json!({
            "archive": args.dest.to_string_lossy(),
            "bytes": length,
            "entries": totals.entries,
            "files": totals.files,
            "source_bytes": totals.bytes,
            "unique_bytes": savings.unique,
            "duplicate_files": savings.files,
            "duplicate_bytes": savings.bytes,
            "tree_bytes": summary.tree,
            "index_bytes": summary.index,
            "problems": problems,
            "seconds": took.as_secs_f64(),
        });
        format!("{json}\n")
    } else if args.quiet {
        return Ok(ExitCode::SUCCESS);
    } else {
        let rate = u128::from(totals.bytes) * 1000 / took.as_millis().max(1);
        format!(
            "{dest}\n  \
             entries     {entries:>12}   files {files}\n  \
             source      {source:>12}\n  \
             known       {known:>12}   in {same} files known all through, and in others\n  \
             new         {new:>12}\n  \
             archive     {archive:>12}   {share} of the source; tree {tree}, index {index}\n  \
             took        {secs:>10.1} s   {rate}/s\n",
            dest = args.dest.display(),
            entries = size::count(totals.entries),
            files = size::count(totals.files),
            source = size::show(totals.bytes),
            known = size::show(savings.bytes),
            same = size::count(savings.files),
            new = size::show(savings.unique),
            archive = size::show(length),
            share = size::percent(length, totals.bytes),
            tree = size::show(summary.tree),
            index = size::show(summary.index),
            secs = took.as_secs_f64(),
            rate = size::show(u64::try_from(rate).unwrap_or(u64::MAX)),
        )
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

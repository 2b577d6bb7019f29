//! `packfs create`: a folder or a tar goes in, an archive comes out.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::packing::{NamingArgs, PackingArgs};
use super::progress::{Progress, catch_interrupts};
use super::report::Report;
use super::stdin::{STDIN, Stdin, expect_tar};
use super::{Failure, Outcome, archive, size, time};
use crate::format::{BlockHash, MAX_BLOCK};
use crate::ingest::{CreateOptions, Source, create};
use crate::maintain::protect::protect;
use crate::monitor::Monitor;
use crate::storage::{Draft, is_store};

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
    #[command(flatten)]
    naming: NamingArgs,
    /// Average length of a block, 1K to 32K
    #[arg(long, value_name = "SIZE", default_value = "8K", value_parser = size::parse)]
    block_size: u64,
    #[command(flatten)]
    packing: PackingArgs,
}

pub(super) fn run(args: &CreateArgs) -> Outcome {
    let mut options = options(args)?;
    let tar = args.src.as_os_str() == STDIN;
    match tar {
        true => expect_tar()?,
        false => check_source(&args.src, &args.dest)?,
    }
    catch_interrupts();
    if args.force && is_store(&args.dest) {
        // What was written to it and is not part of it yet would be lost.
        archive::lock(&args.dest)?;
    }
    let draft = Draft::new(&args.dest, args.force)?;
    let default = if draft.is_image() { IMAGE_HASH_LEN } else { options.hash_len };
    options.hash_len = args.naming.hash_length.unwrap_or(default);
    options.parity = args.packing.parity.and_then(|percent| u8::try_from(percent).ok());
    options.parity = options.parity.filter(|percent| *percent > 0);
    if !draft.is_image() {
        options.store_id = Some(random_id());
        options.created = time::now();
    }
    let progress = Progress::new(args.packing.quiet || args.packing.json);
    let start = Instant::now();
    let mut stdin = Stdin::new();
    let source = if tar { Source::Tar(&mut stdin) } else { Source::Folder(&args.src) };
    let summary = create(source, &*draft.storage(), &options, &progress);
    let summary = summary.map_err(Failure::from).and_then(|summary| {
        protect(&draft.storage(), None, &progress)?;
        Ok(summary)
    });
    let problems = progress.finish();
    let summary = summary?;
    if progress.cancelled() {
        return Err(Failure::Interrupted);
    }
    let length = draft.publish()?;
    let report =
        Report { archive: &args.dest, root: Some(1), length, problems, took: start.elapsed() };
    report.print(&args.packing, &summary)
}

fn options(args: &CreateArgs) -> Result<CreateOptions, Failure> {
    let usage = |text: &str| Failure::Usage(text.to_owned());
    let block = u32::try_from(args.block_size).unwrap_or(u32::MAX);
    if !(1024..=32 * 1024).contains(&block) || !block.is_power_of_two() {
        return Err(usage("--block-size must be 1K, 2K, 4K, 8K, 16K or 32K"));
    }
    let max = u32::try_from(MAX_BLOCK).unwrap_or(u32::MAX);
    Ok(CreateOptions {
        cutting: crate::format::Cutting { min: block / 4, average: block, max },
        hash: args.naming.hash().unwrap_or(BlockHash::Blake3),
        ..args.packing.options()?
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
